"""What is kept of drawn codes until register and gate know them: a digest and whose it is, 50 bytes each."""

import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeAlias

from ballot.handoff import CHANNEL_BYTES, CHANNELS
from scrutineer.files import disk_errors

_RECORD = struct.Struct(">32s16sBc")


#: What is kept of a drawn code: its keyed digest, UIN, shard and channel; never the code or the credential.
Drawn: TypeAlias = tuple[bytes, bytes, int, str]


def pack(rows: Iterable[Drawn]) -> bytes:
    """Write drawn codes one after the other, 50 bytes each."""
    return b"".join(
        [_RECORD.pack(digest, uin, shard, CHANNEL_BYTES[name]) for digest, uin, shard, name in rows]
    )


def unpack(records: bytes) -> list[Drawn]:
    """Read them again."""
    return [(digest, uin, shard, CHANNELS[byte]) for digest, uin, shard, byte in _RECORD.iter_unpack(records)]


class Spool:
    """Batches of drawn codes in a nameless temporary file, so that a million of them take no memory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        with disk_errors(directory):
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115  # closed by close
        self._sizes: list[int] = []

    def add(self, records: bytes) -> None:
        """Keep one batch, packed."""
        with disk_errors(self._directory):
            self._file.write(records)
        self._sizes.append(len(records))

    def batches(self) -> Iterator[list[Drawn]]:
        """Give the batches in order."""
        with disk_errors(self._directory):
            self._file.seek(0)
        for size in self._sizes:
            yield unpack(self._file.read(size))

    def close(self) -> None:
        """Let the file go, and what a full disk did not take of it."""
        with suppress(OSError):
            self._file.close()
