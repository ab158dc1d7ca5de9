"""Whom we believe: keys pinned here or named on the command line, never one from the file being judged."""

import os
import re
from pathlib import Path
from typing import Any

import click

from ballot import document, limits
from ballot.document import BallotDocument
from ballot.encoding import Malformed, b64decode, strict_json
from ballot.suite import VERIFY_KEY_BYTES, SignatureInvalid, key_id

KEY_FILE_BYTES_MAX = 64 * 1024

_ID = re.compile(rf"[a-z0-9-]{{1,{limits.ID_CHARS_MAX}}}")

DESK = "desk"
RECEIPTS = "receipts"
RESULT = "result"


def public_directory() -> Path:
    """Return where this machine pins public keys and ballot documents."""
    return Path(os.environ.get("BALLOT_HOME") or "~/.ballot").expanduser() / "public"


def read_bounded(path: Path, *, bytes_max: int) -> bytes:
    """Return the whole of a file that is not expected to be longer than `bytes_max`."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as fault:
        raise click.ClickException(f"{path} cannot be read: {fault.strerror}") from None
    if len(data) > bytes_max:
        raise click.ClickException(f"{path} is longer than {bytes_max} bytes and so not what it should be")
    return data


def key_from_file(path: Path) -> tuple[str, bytes]:
    """Return (use, public key) from a key file: `{"id","use","alg","public_key"}`."""
    try:
        return _entry(
            strict_json(read_bounded(path, bytes_max=KEY_FILE_BYTES_MAX), bytes_max=KEY_FILE_BYTES_MAX)
        )
    except (Malformed, KeyError, TypeError):
        raise click.ClickException(
            f'{path} is not a public key: it must be {{"id","use","alg","public_key"}} with alg Ed25519'
        ) from None


def _entry(entry: dict[str, Any]) -> tuple[str, bytes]:
    """Return (use, public key) of one published key whose parts agree, or raise Malformed."""
    public = b64decode(str(entry["public_key"]), length=VERIFY_KEY_BYTES)
    if entry["alg"] != "Ed25519" or entry["id"] != key_id(public) or not isinstance(entry["use"], str):
        raise Malformed("the parts of the key do not agree")
    return entry["use"], public


def key_for(use: str, *, key_file: Path | None) -> bytes:
    """Return the key for `use` ("desk" or "receipts"): the one in `key_file` if named, else the pinned."""
    path = key_file or public_directory() / f"{use}.json"
    if key_file is None and not path.is_file():
        raise click.ClickException(
            f"there is no pinned {use} key at {path}: give one from a source you trust with --key"
        )
    found, public = key_from_file(path)
    if found != use:
        raise click.ClickException(f"{path} is a {found} key, and this needs the {use} key")
    return public


def ballot_id(value: object, *, file: Path) -> str:
    """Return a ballot id read from `file`, not yet believed, fit to be part of a file name."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise click.ClickException(f"{file} names no ballot")
    return value


def pinned_document(ballot: str, *, desk: bytes) -> BallotDocument | None:
    """Return the document of `ballot` published on this machine, its signature checked, or None."""
    path = public_directory() / f"{ballot}.document"
    if not path.is_file():
        return None
    return check_document(path, signature_path=Path(f"{path}.signature"), desk=desk)


def check_document(path: Path, *, signature_path: Path, desk: bytes) -> BallotDocument:
    """Return the ballot document in `path` if the desk's key signed exactly these bytes."""
    canonical = read_bounded(path, bytes_max=limits.DOCUMENT_BYTES_MAX)
    signature = read_bounded(signature_path, bytes_max=KEY_FILE_BYTES_MAX)
    try:
        return document.verify(canonical, b64decode(signature.decode("ascii", "replace").strip()), desk)
    except SignatureInvalid:
        raise click.ClickException(f"{path} is not signed by the desk key {key_id(desk)}") from None
    except Malformed as fault:
        raise click.ClickException(f"{path} is not a ballot document: {fault}") from None
