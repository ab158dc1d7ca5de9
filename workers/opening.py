"""Opens the queue's encryption and seals each IP address anew: what leaves here still hides every choice."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ballot import limits, queue_record
from ballot.queue_record import QueueRecord
from ballot.rejection import Rejected, Rejection
from ballot.suite import AEAD_NONCE_BYTES, AeadKey, keyed_digest
from workers.entry import Entry

if TYPE_CHECKING:
    from runtime.home import Home

IP_LABEL: Final = b"strike-ballot/v1/ip"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a worker may open: the queue's wrapping and the IP addresses; and the key of the digests."""

    queue: AeadKey
    ip: AeadKey
    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, home: "Home") -> "Keys":
        """The keys in the secret files of `home`."""
        return cls(
            queue=AeadKey(home.secret("queue")),
            ip=AeadKey(home.secret("ip")),
            digest=home.secret("credential-digest"),
        )


def open_entry(keys: Keys, entry: Entry, *, ballot: str) -> QueueRecord:
    """The record in a vote's entry, its credential the one that the gate let in; else Rejected.

    (1) Every field is there, (2) the wrapping opens, here and nowhere else: UNREADABLE. (3) The
    credential inside has the digest by which the gate knew it: else NOT_IN_REGISTER, it was issued to nobody.
    """
    if not entry.whole or entry.wrapped is None or entry.digest is None or entry.reference is None:  # (1)
        raise Rejected(Rejection.UNREADABLE, "The entry lacks a field.")
    record = queue_record.unwrap(  # (2)
        keys.queue,
        entry.wrapped,
        ballot_id=ballot,
        credential_digest=entry.digest,
        reference=entry.reference,
    )
    digest = keyed_digest(keys.digest, hashlib.sha256(record.credential).digest())
    if not secrets.compare_digest(digest, entry.digest):  # (3)
        raise Rejected(Rejection.NOT_IN_REGISTER, "The credential is not the one that the gate let in.")
    return record


def seal_ip(key: AeadKey, ip: str, *, ballot: str, place: bytes, random: Callable[[int], bytes]) -> bytes:
    """An IP address under the workers' own key, at one length, bound to this ballot and place."""
    padded = ip.encode("ascii", errors="replace")[: limits.IP_BYTES_MAX].ljust(limits.IP_BYTES_MAX, b"\x00")
    return key.seal(padded, aad=_aad(ballot, place), nonce=random(AEAD_NONCE_BYTES))


def open_ip(key: AeadKey, sealed: bytes, *, ballot: str, place: bytes) -> str:
    """The IP address in a row of ip_records (place: its event) or attempts (place: `attempt_place`)."""
    return key.open(sealed, aad=_aad(ballot, place)).rstrip(b"\x00").decode("ascii", errors="replace")


def attempt_place(shard: int, entry_id: str) -> bytes:
    """Where an attempt's address is at home: its shard and stream entry."""
    return f"{shard:02d}/{entry_id}".encode()


def _aad(ballot: str, place: bytes) -> bytes:
    return b"\x00".join((IP_LABEL, ballot.encode(), place))
