"""TLS ended by the edge itself: one certificate, its key, and nothing that a hostile client can turn.

Everything that could be wrong with the files is found at start, by a handshake with ourselves in memory: an
edge that could not serve TLS refuses to start, in one sentence.
"""

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from runtime import certificate as certificates

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, forward secret and authenticated only; those of TLS 1.3 all are."""

PROTOCOLS: Final = ("http/1.1",)
FLIGHTS_MAX: Final = 8
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_EXPIRED: Final = 10
_NOT_YET_VALID: Final = 9
_VERIFY_FAULTS: Final = {
    _EXPIRED: "has expired; renew it",
    _NOT_YET_VALID: "is not valid yet; check its dates and this machine's clock",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """What connections are wrapped with, and when the certificate ends (seconds since 1970)."""

    context: ssl.SSLContext
    ends_s: float


def configured(certificate: Path | None, key: Path | None) -> Tls | None:
    """What `load` gives, or nothing when the edge is to speak plain HTTP."""
    return None if certificate is None or key is None else load(certificate, key)


def load(certificate: Path, key: Path) -> Tls:
    """The context that serves `certificate` (with its chain) and `key`, or one plain sentence why not."""
    leaf = certificates.leaf(_read(certificate, "BALLOT_TLS_CERTIFICATE"))
    if leaf is None:
        raise _fault("BALLOT_TLS_CERTIFICATE", certificate, "holds no certificate in PEM form")
    _read(key, "BALLOT_TLS_KEY")
    if key.stat().st_mode & OTHERS:
        raise _fault("BALLOT_TLS_KEY", key, "can be read by others; make its mode 0600")
    context = _context()
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _fault("BALLOT_TLS_KEY", key, f"is not the key of the certificate {certificate}") from None
        raise _fault(
            "BALLOT_TLS_KEY", key, "or the certificate is no good: PEM, a key without password, not too short"
        ) from None
    return Tls(context, _ends(_shaken(context, certificate, leaf)))


def _context() -> ssl.SSLContext:
    """A server's context: TLS 1.2 or 1.3, no compression, no renegotiation, nothing kept for resumption."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(list(PROTOCOLS))
    context.options |= (
        ssl.OP_NO_COMPRESSION
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_TICKET
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
    )
    context.num_tickets = 0
    return context


def _shaken(context: ssl.SSLContext, certificate: Path, leaf: bytes) -> dict[str, Any]:
    """What a client that trusts just this certificate is shown, after a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = certificates.trusting(leaf).wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    try:
        for _ in range(FLIGHTS_MAX):
            waiting = [side for side in waiting if not _done(side)]
    except ssl.SSLCertVerificationError as error:
        fault = _VERIFY_FAULTS.get(error.verify_code, f"is no server's certificate ({error.verify_message})")
        raise _fault("BALLOT_TLS_CERTIFICATE", certificate, fault) from None
    except ssl.SSLError as error:
        raise _fault("BALLOT_TLS_CERTIFICATE", certificate, f"serves no TLS ({error.reason})") from None
    shown = client.getpeercert()
    if waiting or not shown:
        raise _fault("BALLOT_TLS_CERTIFICATE", certificate, "serves no TLS")
    return dict(shown)


def _done(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _ends(shown: dict[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(shown["notAfter"]))


def _no_password() -> bytes:
    """Never asked at a terminal: a key with a password is refused."""
    return b""


def _read(path: Path, variable: str) -> str:
    try:
        return path.read_bytes().decode("latin-1")  # text may stand around the blocks
    except OSError as error:
        raise _fault(variable, path, f"cannot be read: {error.strerror}") from None


def _fault(variable: str, path: Path, what: str) -> click.ClickException:
    return click.ClickException(f"{variable}: the file {path} {what}.")
