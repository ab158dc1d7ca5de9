"""The desk's key as voters know it: published, and the one that the desk signs with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ballot import complaint
from ballot.encoding import Malformed, strict_json
from ballot.limits import OBJECT_BYTES_MAX
from ballot.suite import SignatureInvalid, SigningKey, key_id
from ops.doctor.finding import Finding
from ops.pinned import pinned_key
from runtime.home import SECRET_BYTES, Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPLACE = "put the right copy back: what voters compare is in their letters"


def desk_key(home: Path) -> Iterator[Finding]:
    """The published key, beside the secret one where this is the desk's machine."""
    file = Home(home).public_key_file
    try:
        published = pinned_key(file)
        own = _own(home / "secrets" / "desk.key")
    except click.ClickException as error:
        yield Finding("desk key", error.message, REPLACE)
        return
    if published is None and own is None:
        yield Finding("desk key", "none yet; the desk's first command makes it")
    elif published is None:
        yield Finding(
            "desk key", f"{file} is not there", "put it back, or run a desk command such as `ballot status`"
        )
    elif own is not None and own != published:
        yield Finding("desk key", f"{file} is not the key in {home / 'secrets' / 'desk.key'}", REPLACE)
    else:
        held = "not held here" if own is None else "held here"
        yield Finding("desk key", f"published, its fingerprint {key_id(published)}; its secret is {held}")
    if published is not None:
        yield from _complaints_key(Home(home).complaints_key_file, published)


def _complaints_key(file: Path, desk: bytes) -> Iterator[Finding]:
    """The key that complaints are sealed to, vouched for by the desk's; without it none can be written."""
    try:
        public = complaint.verify_key(strict_json(file.read_bytes(), bytes_max=OBJECT_BYTES_MAX), desk)
    except FileNotFoundError:
        yield Finding(
            "complaints key", f"{file} is not there", "run `ballot complaints key` on the desk's machine"
        )
    except (OSError, Malformed, SignatureInvalid):
        yield Finding("complaints key", f"{file} is damaged or not signed by the desk's key", REPLACE)
    else:
        yield Finding("complaints key", f"published, its id {key_id(public)}")


def _own(path: Path) -> bytes | None:
    """The public half of the desk's key, if its secret is here."""
    try:
        seed = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        seed = b""
    if len(seed) != SECRET_BYTES:
        raise click.ClickException(f"{path} does not hold {SECRET_BYTES} bytes in hex")
    return SigningKey.from_seed(seed).public
