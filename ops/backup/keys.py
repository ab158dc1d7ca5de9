"""A key pair each for voterdb, userdb and the queue: public halves stay here, private halves never do."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import click

from ballot.encoding import Malformed, b64decode, b64encode, hex_decode, strict_json
from ballot.suite import PUBLIC_KEY_BYTES, SUITE, key_id
from ops.backup.opening import SEED_BYTES, BackupKey
from runtime import home as home_files

if TYPE_CHECKING:
    from pathlib import Path

    from runtime.home import Home

What = Literal["voterdb", "userdb", "queue"]
WHATS: Final[tuple[What, ...]] = ("voterdb", "userdb", "queue")
FILE_BYTES_MAX: Final = 16_384
_NOTE: Final = (
    "# {what}: the private half of its backup key {id}. Without it no backup of {what} opens; with it all do."
)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What backups of `what` are sealed to."""

    what: What
    id: str
    public_key: bytes


def public_file(home: Home, what: What) -> Path:
    """Where the public half is kept."""
    return home.backup / f"{what}.public.json"


def private_file(out: Path, what: What) -> Path:
    """Where `ballot backup keys` puts the private half."""
    return out / f"{what}.backup-key"


def make(home: Home, out: Path) -> tuple[PublicKey, ...]:
    """Make the three pairs, private halves into `out`; nothing that is there is ever replaced."""
    out = out.expanduser().absolute()
    if out.resolve().is_relative_to(home.path):
        raise click.ClickException(
            "The private halves are kept away from the machine: choose a directory outside BALLOT_HOME, "
            "best on a medium that is then removed."
        )
    taken = [
        path
        for what in WHATS
        for path in (public_file(home, what), private_file(out, what))
        if path.exists() or path.is_symlink()
    ]
    if taken:
        raise click.ClickException(f"{taken[0]} exists already; backup keys are never replaced.")
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for what in WHATS:  # all private halves are safe before the first public one is used
            _make_private(private_file(out, what), what)
        return tuple(_publish(home, what, read_private(private_file(out, what))) for what in WHATS)
    except OSError as error:
        raise click.ClickException(f"{out} cannot be written: {error.strerror}.") from error


def _make_private(path: Path, what: What) -> None:
    seed = secrets.token_bytes(SEED_BYTES)
    note = _NOTE.format(what=what, id=BackupKey(seed).key_id)
    home_files.create(path, f"{note}\n{seed.hex()}\n")


def _publish(home: Home, what: What, key: BackupKey) -> PublicKey:
    fields = {
        "use": "backup",
        "what": what,
        "alg": SUITE,
        "id": key.key_id,
        "public_key": b64encode(key.public_key),
    }
    home_files.write_once(public_file(home, what), json.dumps(fields, indent=1) + "\n")
    return PublicKey(what, key.key_id, key.public_key)


def read_public(home: Home, what: What) -> PublicKey:
    """The key that backups of `what` are sealed to, as published in this home."""
    path = public_file(home, what)
    try:
        return _parsed(path.read_bytes()[: FILE_BYTES_MAX + 1], what)
    except FileNotFoundError as error:
        raise click.ClickException(
            f"There is no backup key for {what} ({path}): make them with `ballot backup keys --out DIR`."
        ) from error
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}.") from error
    except (Malformed, KeyError, TypeError, AttributeError) as error:
        raise click.ClickException(
            f"{path} is not the public half of a backup key for {what}; put the right file back."
        ) from error


def _parsed(data: bytes, what: What) -> PublicKey:
    fields = strict_json(data, bytes_max=FILE_BYTES_MAX)
    if (fields["use"], fields["what"], fields["alg"]) != ("backup", what, SUITE):
        raise Malformed("This is another key.")
    public_key = b64decode(fields["public_key"], length=PUBLIC_KEY_BYTES)
    if fields["id"] != key_id(public_key):
        raise Malformed("The id is of another key.")
    return PublicKey(what, fields["id"], public_key)


def read_private(path: Path) -> BackupKey:
    """The private half in the file `path`; no message ever repeats what stands there."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX).decode("ascii")
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        (digits,) = lines
        return BackupKey(hex_decode(digits, length=SEED_BYTES))
    except OSError as error:
        raise click.ClickException(
            f"The key file {os.fspath(path)} cannot be read: {error.strerror}."
        ) from None
    except ValueError:
        raise click.ClickException(
            f"{os.fspath(path)} is not a private backup key: a line of 64 hexadecimal digits."
        ) from None
