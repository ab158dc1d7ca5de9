"""Files that cannot be written, and a file that ends in the middle of a command."""

import resource
from contextlib import suppress
from pathlib import Path

TORN = b"*5\r\n$4\r\nHSET\r\n$11\r\ntorn:by:run\r\n$5\r\nfie"


def limit_files(pids: list[int], most: int) -> None:
    """No file of these processes, which run, may grow beyond `most` bytes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


def append_only(home: Path) -> Path:
    """The file that the queue of that home appends to."""
    folder = home / "data" / "valkey" / "appendonlydir"
    return max(folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)


def tear(path: Path) -> None:
    """End the file in a command that was never written to its end, and that nobody was told of."""
    with path.open("ab") as file:
        file.write(TORN)
