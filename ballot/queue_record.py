"""The queue's encryption: what the edge hides from the queue, bound to the one place where it may be opened.

Inside: credential, nonce, signature, sealed vote, IP address, receive time. Every record of a ballot has the
same length.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from ballot import limits
from ballot.rejection import Rejected, Rejection
from ballot.suite import AEAD_NONCE_BYTES, SIGNATURE_BYTES, VERIFY_KEY_BYTES, AeadKey, Unreadable
from ballot.vote import NONCE_BYTES

RECORD_LABEL: Final = b"strike-ballot/v1/queue-record"
IP_LABEL: Final = b"strike-ballot/v1/queue-ip"

_LENGTHS: Final = (VERIFY_KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES)
_HEAD: Final = struct.Struct(">{}s{}s{}sQ{}s".format(*_LENGTHS, limits.IP_BYTES_MAX))


@dataclass(slots=True)
class QueueRecord:
    """One accepted vote as the edge received it. `ip` is text; `received_us` is the edge's clock.

    Never changed; frozen would cost each vote more than its encryption does.
    """

    credential: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    ip: str = field(repr=False)
    received_us: int


def wrap(
    key: AeadKey,
    record: QueueRecord,
    *,
    ballot_id: str,
    credential_digest: bytes,
    reference: str,
    random: Callable[[int], bytes],
) -> bytes:
    """`record` encrypted, to be opened only for this ballot, credential digest and reference."""
    lengths = (len(record.credential), len(record.nonce), len(record.signature))
    if lengths != _LENGTHS:  # struct would cut or fill them without a word
        raise ValueError(f"A queued vote's fields have the lengths {_LENGTHS}, not {lengths}.")
    head = _HEAD.pack(
        record.credential, record.nonce, record.signature, record.received_us, _ip_bytes(record.ip)
    )
    aad = _aad(RECORD_LABEL, ballot_id, credential_digest, reference)
    return key.seal(head + record.sealed, aad=aad, nonce=random(AEAD_NONCE_BYTES))


def unwrap(
    key: AeadKey, blob: bytes, *, ballot_id: str, credential_digest: bytes, reference: str
) -> QueueRecord:
    """The record in `blob`; Rejected(UNREADABLE) if its place or any bit differs from how it was wrapped."""
    try:
        data = key.open(blob, aad=_aad(RECORD_LABEL, ballot_id, credential_digest, reference))
    except Unreadable as error:
        raise Rejected(Rejection.UNREADABLE, str(error)) from error
    if len(data) < _HEAD.size:
        raise Rejected(Rejection.UNREADABLE, "This record is too short.")
    credential, nonce, signature, received_us, ip = _HEAD.unpack_from(data)
    return QueueRecord(credential, nonce, data[_HEAD.size :], signature, _ip_text(ip), received_us)


def wrap_ip(
    key: AeadKey, ip: str, *, ballot_id: str, credential_digest: bytes, random: Callable[[int], bytes]
) -> bytes:
    """The IP address of an attempt, encrypted at one length, bound to ballot and credential digest."""
    aad = _aad(IP_LABEL, ballot_id, credential_digest, "")
    return key.seal(_ip_bytes(ip), aad=aad, nonce=random(AEAD_NONCE_BYTES))


def unwrap_ip(key: AeadKey, blob: bytes, *, ballot_id: str, credential_digest: bytes) -> str:
    """The IP address in `blob`; Rejected(UNREADABLE) as `unwrap`."""
    try:
        return _ip_text(key.open(blob, aad=_aad(IP_LABEL, ballot_id, credential_digest, "")))
    except Unreadable as error:
        raise Rejected(Rejection.UNREADABLE, str(error)) from error


def _aad(label: bytes, ballot_id: str, credential_digest: bytes, reference: str) -> bytes:
    """Label ‖ 0x00 ‖ ballot id ‖ 0x00 ‖ digest ‖ reference; ids hold no zero byte, so no two are equal."""
    return _aad_head(label, ballot_id) + credential_digest + reference.encode()


@lru_cache(maxsize=256)
def _aad_head(label: bytes, ballot_id: str) -> bytes:
    return b"%b\x00%b\x00" % (label, ballot_id.encode())


@lru_cache(maxsize=4_096)
def _ip_bytes(ip: str) -> bytes:
    """`ip` at the one length; a longer one (a scope name) is cut: an odd never costs a vote."""
    return ip.encode("ascii", errors="replace")[: limits.IP_BYTES_MAX].ljust(limits.IP_BYTES_MAX, b"\x00")


def _ip_text(data: bytes) -> str:
    return data.rstrip(b"\x00").decode("ascii", errors="replace")
