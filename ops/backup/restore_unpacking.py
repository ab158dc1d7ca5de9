"""An opened backup becomes a directory: files and directories below it, and nothing else a tar can hold."""

from __future__ import annotations

import os
import tarfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from ops.backup.sealed_file import DoesNotOpen
from runtime.home import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 1 << 20
LABEL: Final = "backup_label"
LABEL_BYTES_MAX: Final = 8192


class Stream:
    """The content of a sealed file as something to read from; `finish` reads up to its proven end."""

    def __init__(self, content: Iterator[bytes], advance: Callable[[int], object] = lambda _: None) -> None:
        self._content = content
        self._advance = advance
        self._waiting = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; nothing at the end."""
        while not self._waiting:
            block = next(self._content, None)
            if block is None:
                return b""
            self._advance(len(block))
            self._waiting = block
        found, self._waiting = self._waiting[:size], self._waiting[size:]
        return found

    def finish(self) -> None:
        """Read what is left: only then is the file known to be whole."""
        while self.read(BLOCK_BYTES):
            pass


def unpack(stream: Stream, into: Path) -> int:
    """Write the members of a base backup below `into`, which is made; how many bytes they have."""
    into.mkdir(mode=0o700, parents=True)
    written = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as tar:  # type: ignore[call-overload]
            for member in tar:
                written += _member(tar, member, into)
    except tarfile.TarError as error:
        raise DoesNotOpen(f"This backup opens, but its content is damaged: {error}.") from error
    stream.finish()
    return written


def copy(stream: Stream, into: Path, *, durable: bool = False) -> int:
    """Write a content that is one file, such as a WAL segment, whole to `into`; its bytes.

    With `durable` it is on disk, under its name, when this returns.
    """
    written = 0
    draft = into.with_name(f"{into.name}.opening")
    try:
        with os.fdopen(_made(draft), "wb") as file:
            while data := stream.read(BLOCK_BYTES):
                written += file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.rename(into)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(into.parent)
    return written


def label(stream: Stream) -> dict[str, str]:
    """What the base backup says of itself, in its first member; the rest of the file is not looked at."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as tar:  # type: ignore[call-overload]
            first = tar.next()
            file = tar.extractfile(first) if first is not None and first.name == LABEL else None
            text = file.read(LABEL_BYTES_MAX).decode("utf-8", "replace") if file is not None else ""
    except tarfile.TarError as error:
        raise DoesNotOpen(f"This backup opens, but its content is damaged: {error}.") from error
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> int:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise DoesNotOpen("This backup holds a file outside its own directory; it is not one of ours.")
    path = into / name
    if member.isdir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return 0
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:  # links: tablespaces, which we do not make
        raise DoesNotOpen(
            "This backup holds something else than files and directories; it is not one of ours."
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(_made(path), "wb") as out:
        while data := file.read(BLOCK_BYTES):
            out.write(data)
    return member.size


def _made(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
