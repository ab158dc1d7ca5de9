"""Steps of a group's ballots that one command does for all: a process a ballot costs more than its votes.

Each gives what it could not do as a StageFault, and does the rest.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ballot.encoding import format_time, parse_time
from loadtests.lifetime.life import THRESHOLD
from loadtests.lifetime.poll import (
    CLOSE_SECONDS_MAX,
    CLOSE_TRIES,
    KEPT_OPEN_US,
    LONG_SECONDS_MAX,
    RUNS_OUT_US,
    Poll,
)
from loadtests.staging.kept import now_us
from loadtests.staging.progress import Told
from loadtests.staging.stage import Stage, StageFault

TOLD_CHARS_MAX = 600


def set_up(polls: Sequence[Poll], window_us: tuple[int, int], told: Told) -> None:
    """From the definitions to open ballots, with one window for all.

    A key is made by a process of its own: no other ever has its secret. So are codes reissued.
    """
    stage, names = stage_of(polls), [poll.ballot for poll in polls]
    done = itertools.count(1)
    steps = 2 * len(polls)

    def each(step: Callable[[Poll], None]) -> None:
        def once(poll: Poll) -> None:
            step(poll)
            told(next(done), steps)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for _ in pool.map(once, polls):
                pass

    _run(stage, "create", *[poll.define(window_us) for poll in polls])
    each(Poll.keys)
    _run(stage, "roll", "import", *[word for poll in polls for word in (poll.ballot, poll.write_roll())])
    codes = stage.files / "codes"
    codes.mkdir(mode=0o700, exist_ok=True)
    _run(stage, "codes", "issue", *names, "--out", codes)
    for poll in polls:
        (codes / f"{poll.ballot}.csv").rename(poll.codes)
    _run(stage, "open", *names)
    each(Poll.reissue)


def stage_of(polls: Sequence[Poll]) -> Stage:
    """The deployment that all of them are on."""
    return polls[0].stage


def extend(polls: Sequence[Poll], until_us: int) -> None:
    """Move the closing time of all that close earlier to a later one."""
    earlier = [poll for poll in polls if poll.closes and poll.closes_us < until_us]
    if not earlier:
        return
    until = format_time(until_us, decimals=6)
    _run(stage_of(polls), "extend", *[poll.ballot for poll in earlier], "--until", until)
    for poll in earlier:
        poll.closes_us = until_us


def stay_open(polls: Sequence[Poll]) -> None:
    """See that no ballot closes while the votes are sealed; to be called often."""
    late_us = now_us() + RUNS_OUT_US
    late = [poll for poll in polls if poll.closes and poll.closes_us and poll.closes_us < late_us]
    extend(late, now_us() + KEPT_OPEN_US)


def close(polls: Sequence[Poll]) -> None:
    """Close all whose time has not come, and wait until all is stored, for minutes if need be."""
    left = {poll.ballot: poll for poll in polls}
    for attempt in range(CLOSE_TRIES):
        done = stage_of(polls).attempt("close", *left, seconds=CLOSE_SECONDS_MAX)
        for line in done.stdout.splitlines():
            name, closed, time = line.partition(" closed at ")
            if closed and name in left:
                left.pop(name).closes_us = parse_time(time)
        if not left and done.returncode == 0:
            return
        if "not stored yet" not in done.stderr.replace("\n", " ") or attempt == CLOSE_TRIES - 1:
            raise StageFault(f"`ballot close` of {len(left):,} ballots failed: {_tail(done.stderr)}")


def tally(polls: Sequence[Poll]) -> None:
    """Count and sign all, each with as many shares as are needed; those with papers by themselves."""
    online = [poll for poll in polls if poll.papers() is None]
    if online:
        stage, out = stage_of(polls), stage_of(polls).files / "results"
        out.mkdir(mode=0o700, exist_ok=True)
        shares = [share for poll in online for share in poll.shares()[:THRESHOLD]]
        given = [word for share in shares for word in ("--share", str(share))]
        done = stage.attempt(
            "tally", *[poll.ballot for poll in online], *given, "--out", out, seconds=LONG_SECONDS_MAX
        )
        for poll in online:
            made = out / f"{poll.ballot}.json"
            if made.exists():
                made.rename(poll.result)
        if done.returncode != 0:
            raise StageFault(f"`ballot tally` of {len(online):,} ballots failed: {_tail(done.stderr)}")
    for poll in polls:
        if poll not in online:
            poll.tally()


def verify(polls: Sequence[Poll]) -> None:
    """The signature of every result."""
    results = [poll.result for poll in polls if poll.result.exists()]
    if results:
        done = stage_of(polls).attempt("verify", *results, seconds=LONG_SECONDS_MAX)
        if done.returncode != 0:
            raise StageFault(f"`ballot verify` of {len(results):,} results failed: {_tail(done.stderr)}")
    if len(results) < len(polls):
        raise StageFault(f"{len(polls) - len(results):,} of {len(polls):,} ballots have no result to verify.")


def _run(stage: Stage, *arguments: str | Path) -> None:
    """Run one command; what it is about is too long to be said again."""
    done = stage.attempt(*arguments, seconds=LONG_SECONDS_MAX)
    if done.returncode != 0:
        raise StageFault(f"`ballot {arguments[0]}` of many ballots failed: {_tail(done.stderr)}")


def _tail(said: str) -> str:
    return said.strip()[-TOLD_CHARS_MAX:]
