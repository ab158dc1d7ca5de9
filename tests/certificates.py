"""Certificates of a test's own: a private authority, and what it issued for this machine's loopback."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime.now(dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate's files, and that of the authority which signed it."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def settings(self) -> dict[str, str]:
        """Return the edge's settings that serve it."""
        return {"BALLOT_TLS_CERTIFICATE": str(self.certificate), "BALLOT_TLS_KEY": str(self.key)}


def issue(
    directory: Path,
    *,
    starts: dt.datetime = NOW - DAY,
    ends: dt.datetime = NOW + DAY,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Issued:
    """Write a new authority, and a certificate of it for 127.0.0.1 and localhost with its key."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tests' authority")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vote.example")])
    base = x509.CertificateBuilder().not_valid_before(starts).not_valid_after(ends)
    authority = (
        base.subject_name(authority_name)
        .issuer_name(authority_name)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=True,
                crl_sign=True,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        base.subject_name(name)
        .issuer_name(authority_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files = Issued(directory / "vote.pem", directory / "vote.key", directory / "authority.pem")
    chain = [certificate.public_bytes(serialization.Encoding.PEM)]
    chain.append(authority.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(b"".join(chain))
    files.authority.write_bytes(chain[1])
    files.key.touch(mode=0o600)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
