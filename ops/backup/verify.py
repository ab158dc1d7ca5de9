"""Proof that a backup is what it says: every member of it, not only that it opens.

A base backup carries PostgreSQL's own list of its files with their SHA-256 (`backup_manifest`), which is
itself checked; every file of the list must be there, as listed, and all the WAL it needs. A WAL segment must
be the one its name says, a queue copy a whole one.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from ops.backup.place import BackupFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.backup.catalogue import Kind

MANIFEST: Final = "backup_manifest"
MANIFEST_BYTES_MAX: Final = 256 << 20
BLOCK_BYTES: Final = 1 << 20
SEGMENT: Final = re.compile(r"[0-9A-F]{24}")
WAL_MEMBER: Final = re.compile(rb"pg_wal/[0-9A-F]{24}")
SEGMENT_BYTES: Final = 16 << 20
"""As initdb makes it; another size is told by the files themselves."""
PAGE_ADDRESS: Final = slice(8, 16)
QUEUE_MAGIC: Final = (b"REDIS", b"VALKEY")
GZIP_MAGIC: Final = b"\x1f\x8b"
GZIP_WINDOW: Final = 31


@dataclass(frozen=True, slots=True)
class Manifest:
    """PostgreSQL's list of what a base backup holds."""

    text: bytes
    start_lsn: str
    end_lsn: str
    timeline: int
    files: dict[bytes, tuple[int, str]]


class Stream:
    """Chunks as something to read from."""

    def __init__(self, content: Iterator[bytes]) -> None:
        self._content = content
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; nothing at the end."""
        while not self._left:
            block = next(self._content, None)
            if block is None:
                return b""
            self._left = block
        found, self._left = self._left[:size], self._left[size:]
        return found


def prove_base(content: Iterator[bytes]) -> Manifest:
    """The manifest of a base backup all of whose files are as it lists them; BackupFailed otherwise."""
    seen: dict[bytes, tuple[int, str]] = {}
    text = b""
    stream = Stream(content)
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK_BYTES) as tar:  # type: ignore[call-overload]
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                if file is None:
                    continue
                if member.name == MANIFEST:
                    text = file.read(MANIFEST_BYTES_MAX)
                    continue
                digest = hashlib.sha256()
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                seen[member.name.encode("utf-8", "surrogateescape")] = (member.size, digest.hexdigest())
    except (tarfile.TarError, EOFError) as error:
        raise BackupFailed(f"The backup's content is damaged: {error}.") from error
    while stream.read(BLOCK_BYTES):  # the archive ends before the file does: its proven end is the file's
        pass
    manifest = parse_manifest(text)
    _compare(manifest, seen)
    return manifest


def parse_manifest(text: bytes) -> Manifest:
    """The list in `text`, whose own last line holds its SHA-256."""
    body, separator, _ = text.rpartition(b'"Manifest-Checksum"')
    try:
        fields: dict[str, Any] = orjson.loads(text)
        if not separator or fields["Manifest-Checksum"] != hashlib.sha256(body).hexdigest():
            raise BackupFailed("The backup's list of files is not as PostgreSQL wrote it.")
        ranges = fields["WAL-Ranges"]
        return Manifest(
            text,
            start_lsn=ranges[0]["Start-LSN"],
            end_lsn=ranges[-1]["End-LSN"],
            timeline=int(ranges[-1]["Timeline"]),
            files={_path(each): (int(each["Size"]), each["Checksum"]) for each in fields["Files"]},
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BackupFailed("The backup holds no list of its files that can be read.") from error


def prove_wal(content: Iterator[bytes], segment: str) -> str:
    """SHA-256 of a WAL segment (or timeline history) that is the one it is called; BackupFailed otherwise."""
    digest, size, head = hashlib.sha256(), 0, b""
    for block in inflated(content):
        digest.update(block)
        size += len(block)
        head = (head + block)[: PAGE_ADDRESS.stop]
    if SEGMENT.fullmatch(segment):
        address = (int(segment[8:16], 16) << 32) + int(segment[16:], 16) * size
        if size & (size - 1) or not size or int.from_bytes(head[PAGE_ADDRESS], "little") != address:
            raise BackupFailed(f"This is not the WAL segment {segment}.")
    return digest.hexdigest()


def prove_queue(content: Iterator[bytes]) -> str:
    """SHA-256 of a copy of the queue; BackupFailed if it is none."""
    digest, head = hashlib.sha256(), b""
    for block in content:
        digest.update(block)
        head = (head + block)[:8]
    if not head.startswith(QUEUE_MAGIC):
        raise BackupFailed("This is not a copy of the queue.")
    return digest.hexdigest()


def prove(kind: Kind, content: Iterator[bytes], *, segment: str | None = None) -> None:
    """Raise BackupFailed unless `content` is a whole backup of that kind."""
    if kind == "wal":
        prove_wal(content, segment or "")
    elif kind == "queue":
        prove_queue(content)
    else:
        prove_base(content)


def inflated(content: Iterator[bytes]) -> Iterator[bytes]:
    """What was compressed before it was sealed, as it was (WAL is); anything else as it is."""
    inflate = None
    for number, block in enumerate(content):
        if number == 0 and block.startswith(GZIP_MAGIC):
            inflate = zlib.decompressobj(GZIP_WINDOW)
        if inflate is None:
            yield block
            continue
        left = block
        while left and not inflate.eof:
            try:
                yield inflate.decompress(left, BLOCK_BYTES)
            except zlib.error as error:
                raise BackupFailed("The backup's content is damaged.") from error
            left = inflate.unconsumed_tail
    if inflate is not None and not inflate.eof:
        raise BackupFailed("The backup's content is cut short.")


def _compare(manifest: Manifest, seen: dict[bytes, tuple[int, str]]) -> None:
    for path, listed in manifest.files.items():
        if path not in seen:
            raise BackupFailed(f"The file {path.decode('utf-8', 'replace')} is missing in the backup.")
        if seen[path] != listed:
            raise BackupFailed(f"The file {path.decode('utf-8', 'replace')} is not as PostgreSQL listed it.")
    sizes = {size for path, (size, _) in seen.items() if WAL_MEMBER.fullmatch(path)}
    size = max(sizes, default=SEGMENT_BYTES)
    for name in wal_between(manifest, size):
        if seen.get(f"pg_wal/{name}".encode(), (0, ""))[0] != size:
            raise BackupFailed(f"The WAL segment {name}, which the backup needs, is missing in it.")


def wal_between(manifest: Manifest, size: int = SEGMENT_BYTES) -> list[str]:
    """The names of the WAL segments, of `size` bytes each, from a backup's beginning to its end."""
    first, last = place(manifest.start_lsn) // size, (place(manifest.end_lsn) - 1) // size
    in_a_log = (1 << 32) // size
    return [
        f"{manifest.timeline:08X}{number // in_a_log:08X}{number % in_a_log:08X}"
        for number in range(first, last + 1)
    ]


def place(lsn: str) -> int:
    """The position in the WAL that `lsn` names, in bytes."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _path(each: dict[str, Any]) -> bytes:
    if "Encoded-Path" in each:
        return bytes.fromhex(each["Encoded-Path"])
    return str(each["Path"]).encode()
