"""File locks that die with their holder: how several commands share one home without a server to ask."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_WAIT_S = 180.0  # longer than the slowest honest start, which is bounded in `runtime.starting`
LOCK_POLL_S = 0.02
WHY_BYTES_MAX = 300


@contextmanager
def exclusive(path: Path, *, wait_s: float = LOCK_WAIT_S, why: str = "") -> Iterator[None]:
    """Hold `path` alone while the block runs; wait for others, at most `wait_s`.

    `why` is what those who wait in vain are told.
    """
    descriptor = opened(path)
    deadline = time.monotonic() + wait_s
    try:
        while not try_alone(descriptor):
            if time.monotonic() > deadline:
                said = os.pread(descriptor, WHY_BYTES_MAX, 0).decode("utf-8", "replace")
                raise click.ClickException(
                    f"{said}; wait for it, then try again."
                    if said
                    else f"Another command has held {path} for {wait_s:.0f} s; end it and try again."
                )
            time.sleep(LOCK_POLL_S)
        os.ftruncate(descriptor, 0)  # what a holder that died had said
        if why:
            with suppress(OSError):  # a full disk: then others are told less
                os.pwrite(descriptor, why.encode()[:WHY_BYTES_MAX], 0)
        try:
            yield
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def opened(path: Path) -> int:
    """Return a descriptor to lock; no program we start inherits it."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_alone(descriptor: int) -> bool:
    """Take the lock alone if nobody else holds or shares it; say whether we got it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share(descriptor: int) -> None:
    """Share the lock. The caller holds the start lock, so nobody can be holding this one alone for long."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)
