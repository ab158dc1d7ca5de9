"""Whether this machine's clock is set by others, and the servers' clocks agree with it."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import TYPE_CHECKING

from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked, queue
from runtime.addresses import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runtime.addresses import Cluster

SKEW_US_MAX = 50_000
"""As far as primaries may be apart before edges take no vote (runbook queue, item 11)."""

UNSYNCHRONISED = 0x40
STRUCT_BYTES = 208
STATUS_OFFSET = 40
SET_BY = "start a time service (chrony, systemd-timesyncd) on this machine or on its host"
SET = "set both machines' clocks by the same time service"


def clock(home: Path) -> Iterator[Finding]:
    """The kernel's word for our clock, then each server's time beside ours."""
    yield ours(_status())

    async def of_queue() -> list[Finding]:
        async with queue(home) as client:
            await client.ping()
            before = time.time_ns() // 1000
            seconds, microseconds = await client.time()
            return [beside("the queue", seconds * 1_000_000 + microseconds, before, time.time_ns() // 1000)]

    yield from looked("clock of the queue", of_queue)
    for cluster in CLUSTERS:
        yield from _of_cluster(home, cluster)


def _of_cluster(home: Path, cluster: Cluster) -> list[Finding]:
    async def of_cluster() -> list[Finding]:
        async with database(home, cluster) as connection:
            asked = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            await connection.fetchval(asked)
            before = time.time_ns() // 1000
            there = await connection.fetchval(asked)
            return [beside(cluster, there, before, time.time_ns() // 1000)]

    return looked(f"clock of {cluster}", of_cluster)


def _status() -> int | None:
    """The kernel's status of the clock, read and not set; None where it may not be asked."""
    asked = ctypes.create_string_buffer(STRUCT_BYTES)  # all zero: modes 0 changes nothing
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(asked) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return int.from_bytes(asked.raw[STATUS_OFFSET : STATUS_OFFSET + 4], sys.byteorder)


def ours(status: int | None) -> Finding:
    """Say what the kernel's status means."""
    if status is None:
        return Finding("clock", "the kernel does not say here whether it is synchronised; look on the host")
    if status & UNSYNCHRONISED:
        return Finding("clock", "not synchronised: nothing on this machine sets it", SET_BY)
    return Finding("clock", "synchronised")


def beside(server: str, there_us: int, before_us: int, after_us: int) -> Finding:
    """Compare a server's time with ours just before it was asked and just after it answered."""
    off = max(before_us - there_us, there_us - after_us, 0)
    if off > SKEW_US_MAX:
        return Finding("clock", f"{server} is {off / 1e6:.3f} s away from this machine", SET)
    return Finding("clock", f"{server} agrees with this machine")
