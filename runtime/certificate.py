"""Who answers on our own address: a client that trusts one certificate, the one this installation serves."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

CERTIFICATE_VARIABLE = "BALLOT_TLS_CERTIFICATE"
_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def leaf(pem: str) -> bytes | None:
    """Return the first certificate of a PEM text, the server's own; None if there is none."""
    found = _BLOCK.search(pem)
    if found is None:
        return None
    try:
        return ssl.PEM_cert_to_DER_cert(found[0])
    except ValueError:
        return None


def trusting(certificate: bytes) -> ssl.SSLContext:
    """Return a client's context that believes this one certificate, whatever name it was reached by."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # only the holder of this very certificate's key can answer
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=certificate)
    return context


class OwnCertificate:
    """The certificate file that our edges serve, as seen by those who call them on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[bytes] = set()
        self.context: ssl.SSLContext | None = None
        self.refresh()

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> OwnCertificate | None:
        """Return the one that is configured, or None when our edges do not speak TLS."""
        named = env.get(CERTIFICATE_VARIABLE)
        return cls(Path(named)) if named else None

    def refresh(self) -> None:
        """Believe a renewed certificate too; the old one stays good until the edges have the new."""
        try:
            certificate = leaf(self._path.read_text("latin-1"))
        except OSError:
            return  # the edge says what is wrong with the file; what was known stays good
        if certificate is None or certificate in self._known:
            return
        try:
            if self.context is None:
                self.context = trusting(certificate)
            else:
                self.context.load_verify_locations(cadata=certificate)
        except ssl.SSLError:
            return
        self._known.add(certificate)
