"""TLS: good files serve, and each bad one is said in one plain sentence before anything listens."""

from __future__ import annotations

import shutil
import ssl
from typing import TYPE_CHECKING

import click
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from intake import tls
from runtime import certificate as certificates
from runtime.certificate import OwnCertificate
from tests.certificates import DAY, NOW, Issued, issue

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_good_files_make_a_context(tmp_path: Path) -> None:
    """TLS 1.2 at least, no tickets, and the end of the certificate is known."""
    files = issue(tmp_path)

    found = tls.load(files.certificate, files.key)

    assert found.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert found.context.num_tickets == 0
    assert found.context.options & ssl.OP_NO_RENEGOTIATION
    assert found.context.options & ssl.OP_NO_COMPRESSION
    assert abs(found.ends_s - (NOW + DAY).timestamp()) < 2
    names = [cipher["name"] for cipher in found.context.get_ciphers()]
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert not [name for name in names if "CBC" in name or name.endswith("-SHA")]


def missing(files: Issued) -> None:
    """Take the certificate away."""
    files.certificate.unlink()


def no_key(files: Issued) -> None:
    """Take the key away."""
    files.key.unlink()


def open_key(files: Issued) -> None:
    """Let everybody read the key."""
    files.key.chmod(0o644)


def foreign_key(files: Issued) -> None:
    """Put another certificate's key there."""
    other = files.key.parent / "other"
    other.mkdir()
    shutil.copy(issue(other).key, files.key)


def locked_key(files: Issued) -> None:
    """Lock the key with a password, which nobody is there to type."""
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))


def nonsense(files: Issued) -> None:
    """Make the certificate a text."""
    files.certificate.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")


def empty_key(files: Issued) -> None:
    """Make the key an empty file."""
    files.key.write_bytes(b"")


def swapped(files: Issued) -> None:
    """Put the authority's certificate first."""
    files.certificate.write_bytes(files.authority.read_bytes() + files.certificate.read_bytes())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (missing, r"BALLOT_TLS_CERTIFICATE: the file \S+ cannot be read: No such file"),
        (no_key, r"BALLOT_TLS_KEY: the file \S+ cannot be read: No such file"),
        (open_key, r"BALLOT_TLS_KEY: the file \S+ can be read by others"),
        (foreign_key, r"BALLOT_TLS_KEY: the file \S+ is not the key of the certificate"),
        (locked_key, r"BALLOT_TLS_KEY: .+ a key without password"),
        (empty_key, r"BALLOT_TLS_KEY: .+ is no good"),
        (nonsense, r"BALLOT_TLS_CERTIFICATE: the file \S+ |BALLOT_TLS_KEY: .+ is no good"),
        (swapped, r"BALLOT_TLS_KEY: the file \S+ is not the key of the certificate"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, spoil: Callable[[Issued], None], told: str) -> None:
    """One sentence that names the setting and the file, never anything in it."""
    files = issue(tmp_path)
    spoil(files)

    with pytest.raises(click.ClickException, match=told) as caught:
        tls.load(files.certificate, files.key)

    assert caught.value.message.count(". ") == 0
    assert caught.value.message.endswith(".")


def test_dates_and_purpose_are_checked(tmp_path: Path) -> None:
    """An expired certificate, one of tomorrow, and one that is no server's are refused."""
    folders = [tmp_path / name for name in ("old", "new", "client")]
    for folder in folders:
        folder.mkdir()
    files = [
        issue(folders[0], starts=NOW - 2 * DAY, ends=NOW - DAY),
        issue(folders[1], starts=NOW + DAY, ends=NOW + 2 * DAY),
        issue(folders[2], usage=ExtendedKeyUsageOID.CLIENT_AUTH),
    ]

    for issued, told in zip(files, ("has expired", "is not valid yet", "is no server's"), strict=True):
        with pytest.raises(click.ClickException, match=told):
            tls.load(issued.certificate, issued.key)


def test_a_renewed_certificate_is_believed_beside_the_old(tmp_path: Path) -> None:
    """Those who call our own edges go on through a renewal, whichever certificate is served just then."""
    files = issue(tmp_path)
    own = OwnCertificate(files.certificate)
    first = certificates.leaf(files.certificate.read_text())
    issue(tmp_path)
    second = certificates.leaf(files.certificate.read_text())

    own.refresh()
    files.certificate.unlink()
    own.refresh()

    assert first != second
    assert own.context is not None
    assert own.context.cert_store_stats()["x509"] == 2
    assert OwnCertificate.from_environment({}) is None
