"""Puts lines in a uniformly random order on disk, with flat memory.

Each line goes to one of 64 files at random, each file is shuffled in memory, and the files are joined.
Every order is equally likely: a line's bucket is independent of all others', and within a bucket the
shuffle is uniform.
"""

import hashlib
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

BUCKETS = 64


class Shuffler:
    """Takes lines in, gives them back in random order. Its files are nameless and hold ciphertext only."""

    def __init__(self, directory: Path) -> None:
        self._random = secrets.SystemRandom()
        self._buckets: list[IO[bytes]] = []
        for _ in range(BUCKETS):
            self._buckets.append(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115  # closed by __exit__
        self.lines = 0

    def add(self, line: bytes) -> None:
        """Take one line, its end included."""
        self._buckets[self._random.randrange(BUCKETS)].write(line)
        self.lines += 1

    def shuffle(self) -> bytes:
        """Shuffle every bucket in place; gives the SHA-256 of all of them joined."""
        digest = hashlib.sha256()
        for bucket in self._buckets:
            bucket.seek(0)
            lines = bucket.read().splitlines(keepends=True)
            self._random.shuffle(lines)
            bucket.seek(0)
            for line in lines:
                bucket.write(line)
                digest.update(line)
        return digest.digest()

    def copy_to(self, file: IO[bytes]) -> None:
        """Write everything to `file`, bucket after bucket."""
        for bucket in self._buckets:
            bucket.seek(0)
            shutil.copyfileobj(bucket, file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for bucket in self._buckets:
            # What is still unwritten is not wanted any more, so a full disk is no error here.
            with suppress(OSError):
                bucket.close()
