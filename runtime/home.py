"""The one directory a deployment lives in: data, logs and every secret file, for its owner's eyes only."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET_BYTES = 32
DIRECTORIES = (
    "secrets",
    "data",
    "run",
    "logs",
    "public",
    "page",
    "desk",
    "monitor",
    "journal",
    "backup",
    "recovery",
)
NAME = re.compile(r"[a-zA-Z0-9_-]{1,80}")
URL_VARIABLES = ("BALLOT_VALKEY_URL", "BALLOT_VOTERDB_URL", "BALLOT_USERDB_URL")


class Redacted:
    """A secret text whose repr and str never show it; `reveal()` is the one way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "<redacted>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a secret is not pickled")

    def reveal(self) -> str:
        """Return the secret itself, for the line that hands it to a driver."""
        return self._text


@dataclass(frozen=True, slots=True)
class Home:
    """BALLOT_HOME. With `embedded` false (servers are configured) no secret is ever made up here.

    A key is made up once: its name is kept with the data it belongs to, and once it is there a missing key
    file is an error, because another key would fit neither the data nor what was signed.
    """

    path: Path
    embedded: bool = True

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Home:
        """Return the home that BALLOT_HOME names (default `~/.ballot`), its directories made."""
        named = env.get("BALLOT_HOME") or "~/.ballot"
        embedded = not any(env.get(name) for name in URL_VARIABLES)
        home = cls(Path(named).expanduser().resolve(), embedded=embedded)
        home.make()
        return home

    def make(self) -> None:
        """Make the directories, mode 0700; what exists is left as it is."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in DIRECTORIES:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise click.ClickException(
                f"BALLOT_HOME {self.path} cannot be used: {error.strerror}."
            ) from error

    @property
    def secrets(self) -> Path:
        """Keys and passwords, one a file."""
        return self.path / "secrets"

    @property
    def data(self) -> Path:
        """The embedded servers' data."""
        return self.path / "data"

    @property
    def keys_made(self) -> Path:
        """The file names of the keys that were made here, one a line."""
        return self.data / "keys-made"

    @property
    def run(self) -> Path:
        """Locks, ports, process records."""
        return self.path / "run"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def public(self) -> Path:
        """What anyone may read: ballot documents and public keys."""
        return self.path / "public"

    @property
    def page(self) -> Path:
        """The voter's page as this host serves it: its last versions."""
        return self.path / "page"

    @property
    def desk(self) -> Path:
        """The scrutineer's own files, kept outside both databases."""
        return self.path / "desk"

    @property
    def monitor(self) -> Path:
        """The availability monitor's journal."""
        return self.path / "monitor"

    @property
    def journal(self) -> Path:
        """What the edges of this host remember of the votes they confirmed: numbers and references."""
        return self.path / "journal"

    @property
    def backup(self) -> Path:
        """Public keys of the backups and the list of those that were made; never the backups themselves."""
        return self.path / "backup"

    @property
    def recovery(self) -> Path:
        """A report of each recovery and restore."""
        return self.path / "recovery"

    @property
    def public_key_file(self) -> Path:
        """The desk's public key."""
        return self.public / "desk.json"

    @property
    def complaints_key_file(self) -> Path:
        """The key that complaints are sealed to, vouched for by the desk's."""
        return self.public / "complaints.json"

    def secret(self, name: str) -> bytes:
        """Return the 32-byte secret in `secrets/<name>.key`; an embedded home makes it once, on first use."""
        filename = f"{_checked(name)}.key"
        known = self.embedded and self._was_made(filename)
        if known and not (self.secrets / filename).exists():
            raise click.ClickException(
                f"The secret file {self.secrets / filename} is missing, and this home holds data made with "
                "it: put it back from a copy; it is not made anew."
            )
        text = self._read_or_make(filename)
        if self.embedded and not known:
            self._note_made(filename)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(value) != SECRET_BYTES:
            path = self.secrets / f"{name}.key"
            raise click.ClickException(f"The secret file {path} does not hold {SECRET_BYTES} bytes in hex.")
        return value

    def password(self, name: str) -> Redacted:
        """Return the password in `secrets/<name>.password`; an embedded home makes it on first use."""
        return Redacted(self._read_or_make(f"{_checked(name)}.password"))

    def has_password(self, name: str) -> bool:
        """Say whether that password file is there."""
        return (self.secrets / f"{_checked(name)}.password").is_file()

    def expect_key(self, name: str) -> None:
        """Remember that data here was made with the key `name`: if its file is missing none is made anew."""
        filename = f"{_checked(name)}.key"
        if not self._was_made(filename):
            self._note_made(filename)

    def _was_made(self, filename: str) -> bool:
        try:
            return filename in self.keys_made.read_text("ascii").splitlines()
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"The file {self.keys_made} cannot be read.") from error

    def _note_made(self, filename: str) -> None:
        """Add a name. A crash between the key and this line is mended when the key is next read."""
        try:
            descriptor = os.open(self.keys_made, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(filename.encode("ascii") + b"\n")
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self.data)
        except OSError as error:
            raise click.ClickException(f"{self.keys_made} cannot be written: {error.strerror}.") from error

    def _read_or_make(self, filename: str) -> str:
        path = self.secrets / filename
        if not path.exists():
            if not self.embedded:
                raise click.ClickException(f"The secret file {path} is missing.")
            write_once(path, secrets.token_hex(SECRET_BYTES) + "\n")
        try:
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"The secret file {path} cannot be read.") from error
        if not text:
            raise click.ClickException(f"The secret file {path} is empty.")
        return text


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"not a secret's name: {name!r}")
    return name


def write_once(path: Path, text: str) -> None:
    """Write `path`, mode 0600, whole or not at all, never over an existing file (the first writer wins)."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    _write_synced(draft, text)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    sync_directory(path.parent)


def create(path: Path, text: str) -> None:
    """Write `path`, mode 0600, which is not there yet; what could not be written whole is removed.

    Unlike `write_once` it needs no second name for a file: memory sticks know none.
    """
    try:
        _write_synced(path, text)
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def replace(path: Path, text: str) -> None:
    """Write `path`, mode 0600, in one step: a reader sees the old text or the new."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    _write_synced(draft, text)
    draft.replace(path)
    sync_directory(path.parent)


def digest(*parts: bytes) -> str:
    """Return one SHA-256 over `parts`, each with its length, to tell whether anything changed."""
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    return state.hexdigest()


def _write_synced(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
