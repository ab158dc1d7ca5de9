"""The dispatch file, where alone codes exist: CSV for its owner, or sealed to the dispatch house."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import click

from ballot.encoding import Malformed, b64decode
from ballot.suite import PUBLIC_KEY_BYTES, check_public_key, hpke_seal
from scrutineer.files import disk_errors, open_new, read_bounded, sync_directory

KEY_FILE_BYTES_MAX = 8 * 1024


def info(ballot: str) -> bytes:
    """Give the HPKE `info` of a sealed dispatch file; the dispatch house opens it with the same."""
    return f"strike-ballot/v1/dispatch/{ballot}".encode()


def read_key(path: Path) -> bytes:
    """Read the dispatch house's public key: its bytes, or their base64url."""
    raw = read_bounded(path, bytes_max=KEY_FILE_BYTES_MAX)
    try:
        key = raw if len(raw) == PUBLIC_KEY_BYTES else b64decode(raw.decode("ascii").strip())
        check_public_key(key)
    except (Malformed, UnicodeDecodeError):
        raise click.ClickException(f"{path} does not hold a public key of the suite we seal with") from None
    return key


class DispatchFile:
    """A new dispatch file, there before anything depends on it; gone again unless its codes are issued.

    A file of codes that never worked looks like one of codes that do, so none is left behind: leaving the
    block removes the file, and says so if it had codes in it, unless `keep` was called.
    """

    def __init__(self, out: Path, *, ballot: str, to: bytes | None) -> None:
        self.out = out
        self._ballot = ballot
        self._to = to
        self._file: IO[bytes] | None = None
        self._written = False
        self._kept = False

    def __enter__(self) -> Self:
        self._file = open_new(self.out)
        return self

    @contextmanager
    def rows(self) -> Iterator[IO[bytes]]:
        """Take the rows; on leaving the file is on disk, name and all.

        Sealed, only ciphertext meets the disk, and until then all rows are in memory: the suite seals a
        message whole.
        """
        if self._file is None:
            raise AssertionError("rows are written inside the file's own block, once")
        self._written = True
        with disk_errors(self.out):
            if self._to is None:
                yield self._file
            else:
                rows = io.BytesIO()
                yield rows
                self._file.write(hpke_seal(self._to, rows.getvalue(), info=info(self._ballot)))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            sync_directory(self.out.parent)
        self._file = None

    @property
    def kept(self) -> bool:
        """Whether the codes in it count, so that it stays whatever happens next."""
        return self._kept

    def keep(self) -> None:
        """From here its codes may be in the register, so the file stays whatever happens."""
        self._kept = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            # What a full disk did not take is not wanted any more.
            with suppress(OSError, ValueError):
                self._file.close()
        if self._kept:
            return
        self.out.unlink(missing_ok=True)
        if self._written:
            click.echo(f"{self.out} is removed: its codes were not issued and never worked", err=True)
