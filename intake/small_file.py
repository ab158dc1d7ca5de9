"""A file that hardly ever changes, read again only when it did."""

from pathlib import Path


class SmallFile:
    """The content of `path`: while neither its time nor its size changes, always the same object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._data = b""

    @property
    def name(self) -> str:
        """The file's name alone."""
        return self._path.name

    def read(self) -> bytes:
        """What is in it now; OSError when that cannot be said."""
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen != self._seen:
            self._data = self._path.read_bytes()
            self._seen = seen
        return self._data
