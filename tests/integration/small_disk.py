"""A file system of a few megabytes under the queue, to fill and to free, as root and as anybody.

A tmpfs in a namespace of its own, where the machine has those; elsewhere a limit on how large a file may
grow, with the signal that it sends ignored: the same failed write for the queue.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.integration.queue_server import QueueServer

MOUNT = 'mount -t tmpfs -o size={megabytes}m,mode=0700 small "$0" && echo mounted && exec sleep 3600'
UNSHARED = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
#: What the queue is started with so that a file that may not grow is a failed write, not a death by signal.
LIMITED = ("sh", "-c", 'trap \'\' XFSZ; exec "$0" "$@"')
BLOCK = bytes(4096)


class SmallDisk(Protocol):
    """What a test does to the disk; `inside` goes before the command of whoever writes to it.

    Without namespaces only `queue` finds the disk full.
    """

    inside: Sequence[str]

    def fill(self, queue: QueueServer | None = None) -> None:
        """Leave no room for another byte."""

    def free(self, queue: QueueServer | None = None) -> None:
        """Give the room back."""


class _Mounted:
    """A tmpfs that only processes in the keeper's namespace see under its name."""

    def __init__(self, directory: Path, keeper: int) -> None:
        target = ("--target", str(keeper), "--user", "--mount", "--preserve-credentials")
        self.inside: Sequence[str] = ("nsenter", *target)
        self._ballast = Path(f"/proc/{keeper}/root{directory}/ballast")

    def fill(self, queue: QueueServer | None = None) -> None:  # noqa: ARG002  # everybody's disk is full
        """A file takes what is left."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(BLOCK):
                pass

    def free(self, queue: QueueServer | None = None) -> None:  # noqa: ARG002  # as above
        """The file goes."""
        self._ballast.unlink()


class _Limited:
    """No namespaces here: the queue's process may write no file beyond the present size of its own."""

    inside: Sequence[str] = LIMITED

    def fill(self, queue: QueueServer | None = None) -> None:
        """No file of the queue may grow from here on."""
        if queue is None:
            pytest.skip("a disk for several servers takes a namespace with a file system of its own")
        sizes = [path.stat().st_size for path in queue.directory.rglob("*") if path.is_file()]
        queue.limit_files(max(sizes))

    def free(self, queue: QueueServer | None = None) -> None:
        """Any size again."""
        if queue is not None:
            queue.limit_files(resource.RLIM_INFINITY)


@contextmanager
def small_disk(directory: Path, *, megabytes: int) -> Iterator[SmallDisk]:
    """The disk at `directory`, which exists and stays empty outside the namespace."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        yield _Limited()
        return
    command = [*UNSHARED, MOUNT.format(megabytes=megabytes), str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        try:
            yield _Mounted(directory, keeper.pid) if keeper.stdout.readline() == "mounted\n" else _Limited()
        finally:
            keeper.kill()
