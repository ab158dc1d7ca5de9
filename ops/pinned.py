"""Public keys as this installation published them; a damaged file is said to be one, never guessed around."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ballot.encoding import Malformed, b64decode
from ballot.suite import VERIFY_KEY_BYTES, key_id

if TYPE_CHECKING:
    from pathlib import Path


def pinned_key(path: Path) -> bytes | None:
    """Return the public key in `path`, or None if there is no such file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
    try:
        entry = json.loads(content)
        public = b64decode(str(entry["public_key"]), length=VERIFY_KEY_BYTES)
        whole = entry["id"] == key_id(public)
    except (ValueError, KeyError, TypeError, Malformed):
        whole, public = False, b""
    if not whole:
        raise click.ClickException(f"{path} is damaged: it is not a public key as it was published")
    return public
