"""The journal's files on one host: none beyond 4 MiB, all together within 256 MiB, the oldest go first."""

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ballot.acceptances import FILES
from runtime.clock import Clock

MIB: Final = 1 << 20
FILE_BYTES_MAX: Final = 4 * MIB
"""A file is ended before it has more: small, so that little goes with the oldest."""

HOME_BYTES_MAX: Final = 256 * MIB
FILES_MAX: Final = 512
LOOK_BYTES: Final = MIB // 2
"""After so many bytes of ours we look again at how much all processes of this host have written."""

PROCESSES_MAX: Final = 64
LEFT_BYTES: Final = HOME_BYTES_MAX - 2 * PROCESSES_MAX * LOOK_BYTES
"""What is left after such a look: each process may write on until its own next one, and a little beyond."""


class JournalFiles:
    """The files of this process in `folder`, one at a time. For one thread; every failure is an OSError."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._file: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._unlooked = LOOK_BYTES

    def append(self, lines: bytes) -> None:
        """Write whole lines, or nothing of them as far as that can be had."""
        if self._file is not None and self._size + len(lines) > FILE_BYTES_MAX:
            self.close()
        if self._file is not None and os.fstat(self._file).st_nlink == 0:
            self.close()  # it was taken away, by another process that made room or by somebody
        if self._unlooked >= LOOK_BYTES:
            self._make_room()
            self._unlooked = 0
        file = self._begin() if self._file is None else self._file
        written = 0
        try:
            while written < len(lines):
                written += os.write(file, lines[written:])
        except OSError:
            try:
                os.ftruncate(file, self._size)
            except OSError:
                self.close()  # what is torn stays at the end of its file, where a reader expects it
            raise
        self._size += written
        self._unlooked += written

    def close(self) -> None:
        """End the file; the next lines begin another."""
        file, self._file, self._path = self._file, None, None
        if file is not None:
            os.close(file)

    def _begin(self) -> int:
        begun = datetime.fromtimestamp(self._clock.now_us() / 1_000_000, UTC).strftime("%Y%m%dT%H%M%S%fZ")
        path = self._folder / f"accepted-{begun}-{os.getpid()}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(path, flags, 0o600)
        self._file, self._path, self._size = file, path, 0
        return file

    def _make_room(self) -> None:
        """Take the longest unchanged files away until the rest, of all processes, is small and few enough."""
        found = sorted(self._found())
        total, count = sum(size for _, size, _ in found), len(found)
        for _, size, path in found:
            if total <= LEFT_BYTES and count < FILES_MAX:
                break
            if path != self._path:
                path.unlink(missing_ok=True)
            total, count = total - size, count - 1

    def _found(self) -> list[tuple[int, int, Path]]:
        """Of every file: when it was last written, the room it takes, and its path."""
        found = []
        for path in self._folder.glob(FILES):
            with suppress(FileNotFoundError):
                about = path.lstat()
                if stat.S_ISREG(about.st_mode):
                    found.append((about.st_mtime_ns, max(about.st_size, 512 * about.st_blocks), path))
        return found
