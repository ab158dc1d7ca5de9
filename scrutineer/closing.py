"""Waits until a closing ballot is closed on every shard and everything in its streams is stored.

Votes, returns, and the attempts made until a shard was seen closed; later attempts are stored later, for
they may go on for ever. Believes only the queue.
"""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import click
from redis.exceptions import ResponseError

from ballot import handoff
from scrutineer.ballots import StoredBallot
from scrutineer.session import Desk

WAIT_S = 60.0
#: How long to leave it to the workers that run before starting one.
PATIENCE_S = 1.0
POLL_S = 0.1
PAGE_ENTRIES = 1_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of one shard's stream the workers have not acknowledged; an acknowledged entry is committed."""

    shard: int
    undelivered: int
    pending: int

    @property
    def entries(self) -> int:
        """All of it."""
        return self.undelivered + self.pending


@dataclass(slots=True)
class Attempts:
    """How far a closed shard's attempts are: counted, then in their stream, then stored and taken out."""

    shard: int
    last: bytes | None = None
    """The newest in the stream once no count was left; empty if there was none."""

    waiting: int = 0
    """How many are counted or in the stream."""

    latched: bool = False
    """Whether the shard has said that it is closed and stays so: one that was only read may open again."""

    async def follow(self, desk: Desk, stored: StoredBallot) -> None:
        """Move counts to the stream while there are any, then look whether the newest by then is stored."""
        key = handoff.attempts_key(stored.id, self.shard)
        counts = 0
        if self.last is None:
            self.latched, counts = await stored.gate(desk).latch(self.shard)
            if not self.latched:
                return
            if not counts:
                newest = await desk.gate.xrevrange(key, count=1)
                self.last = bytes(newest[0][0]) if newest else b""
        there = counts or (self.last and await desk.gate.xrange(key, max=self.last.decode(), count=1))
        self.waiting = counts + int(await desk.gate.xlen(key)) if there else 0


async def backlog(desk: Desk, stored: StoredBallot, shard: int) -> Backlog:
    """Count one shard's un-acknowledged entries.

    A lag the queue cannot tell is counted out, never taken for none.
    """
    key = handoff.votes_key(stored.id, shard)
    try:
        groups = await desk.gate.xinfo_groups(key)
    except ResponseError:
        # No such stream: nothing was ever accepted here.
        return Backlog(shard, 0, 0)
    mine = next((group for group in groups if group["name"] == handoff.GROUP.encode()), None)
    if mine is None:
        return Backlog(shard, int(await desk.gate.xlen(key)), 0)
    lag = mine["lag"]
    if lag is None:
        lag = await _count_after(desk, key, bytes(mine["last-delivered-id"]))
    return Backlog(shard, int(lag), int(mine["pending"]))


async def _count_after(desk: Desk, key: str, entry: bytes) -> int:
    count = 0
    while page := await desk.gate.xrange(key, min=b"(" + entry, max="+", count=PAGE_ENTRIES):
        count += len(page)
        entry = bytes(page[-1][0])
    return count


async def wait_until_stored(desk: Desk, stored: StoredBallot, *, wait_s: float = WAIT_S) -> None:
    """Return once every shard is closed and stored; say what remains if that takes longer than `wait_s`."""
    gate = stored.gate(desk)
    attempts = [Attempts(shard) for shard in range(stored.shards)]
    until = time.monotonic() + wait_s
    patient_until: float | None = None
    worker: subprocess.Popen[bytes] | None = None
    try:
        while True:
            states = await gate.states()
            closed = bool(states) and all(state.closed for state in states)
            if closed:
                for each in attempts:
                    await each.follow(desk, stored)
                closed = all(each.latched for each in attempts)
            # The backlog is read after the states: nothing enters a stream whose shard has closed.
            behind = [await backlog(desk, stored, shard) for shard in range(stored.shards)]
            entries = sum(one.entries for one in behind) + sum(each.waiting for each in attempts)
            if closed and not entries:
                return
            now = time.monotonic()
            if now >= until:
                raise click.ClickException(
                    _what_remains(stored, closed=closed, behind=behind, attempts=attempts)
                )
            patient_until = patient_until or now + PATIENCE_S
            if closed and entries and now >= patient_until and (worker is None or worker.poll() is not None):
                worker = _start_worker(desk)
                patient_until = now + PATIENCE_S
            await asyncio.sleep(POLL_S)
    finally:
        if worker is not None:
            await asyncio.to_thread(_stop, worker)


def _what_remains(
    stored: StoredBallot, *, closed: bool, behind: list[Backlog], attempts: list[Attempts]
) -> str:
    if not closed:
        return f"{stored.id} has not closed on every shard yet; run `ballot close {stored.id}` again"
    waiting = [(one.shard, one.entries + each.waiting) for one, each in zip(behind, attempts, strict=True)]
    shards = ", ".join(f"shard {shard}: {entries:,}" for shard, entries in waiting if entries)
    tried = sum(each.waiting for each in attempts)
    told = f", {tried:,} of them attempts that cast no vote" if tried else ""
    return (
        f"{stored.id} is closed, but {sum(entries for _, entries in waiting):,} entries are not stored "
        f"yet ({shards}){told}; "
        "see that a worker runs and what its log says (ops/runbooks/quarantine.md), then run this again"
    )


def _start_worker(desk: Desk) -> subprocess.Popen[bytes]:
    """Start a worker that ends when the stream is stored.

    What it says goes to its log, not between our lines.
    """
    env = {**os.environ, "BALLOT_HOME": str(desk.home.path), "BALLOT_PARENT_PID": str(os.getpid())}
    return subprocess.Popen(
        [sys.executable, "-m", "runtime.frontdoor", "worker", "--until-drained"],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Let a worker of ours end: it has nothing left to do, or has had its time."""
    try:
        worker.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        worker.terminate()
        try:
            worker.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
