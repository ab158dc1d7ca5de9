"""Files that cannot be written, a file that ends in the middle of a command, a disk that is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TORN = b"*5\r\n$4\r\nHSET\r\n$11\r\ntorn:by:run\r\n$5\r\nfie"
SMALL_DISK_MEGABYTES = 700
MOUNT = f'mount -t tmpfs -o size={SMALL_DISK_MEGABYTES}m,mode=0711 small "$0" && exec "$@"'
BLOCKS = (bytes(1 << 20), bytes(1 << 12))


def on_small_disk(command: list[str], place: Path) -> list[str]:
    """The command, run where `place` is a small file system in memory that only it and its children see."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(place), *command]


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Leave no room at `place` while the block runs."""
    ballast = place / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            for block in BLOCKS:
                with suppress(OSError):
                    while file.write(block) == len(block):
                        pass
        yield
    finally:
        ballast.unlink(missing_ok=True)


def limit_files(pids: list[int], most: int) -> None:
    """No file of these processes, which run, may grow beyond `most` bytes."""
    for pid in pids:
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


def append_only(data: Path) -> Path:
    """The file that the queue with its data there appends to."""
    folder = data / "valkey" / "appendonlydir"
    return max(folder.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)


def tear(path: Path) -> None:
    """End the file in a command that was never written to its end, and that nobody was told of."""
    with path.open("ab") as file:
        file.write(TORN)
