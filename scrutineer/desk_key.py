"""The desk's signing key, and its public half as others pin it."""

import json
from pathlib import Path
from typing import Any

import click

from ballot.encoding import b64encode
from ballot.suite import SigningKey, key_id
from runtime.home import Home
from scrutineer.files import write_public


def desk_key(home: Home) -> SigningKey:
    """Give the desk's signing key and see that its public half is published as `public/desk.json`.

    What is published there is pinned by others: another key's file is never replaced.
    """
    key = SigningKey.from_seed(home.secret("desk"))
    entry = {"id": key_id(key.public), "use": "desk", "alg": "Ed25519", "public_key": b64encode(key.public)}
    publish_once(home.public_key_file, entry, f"the public half of {home.secrets / 'desk.key'}")
    return key


def publish_once(path: Path, entry: dict[str, Any], meaning: str) -> None:
    """Write `entry` to `path`, or see that it stands there already; `meaning` says what should."""
    if not path.exists():
        write_public(path, json.dumps(entry, indent=2).encode() + b"\n")
    elif _published(path) != entry:
        raise click.ClickException(
            f"{path} does not hold {meaning}; neither is replaced: put the right one back from a copy"
        )


def _published(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
