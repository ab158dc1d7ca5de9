"""The second monitor: outside the stack, in a process of its own, on a ballot of its own, in every run.

It knows the public address, the desk's public key and its own access codes, and nothing else: it shares
neither code nor home nor database with the monitor inside, so that what breaks one does not silence both.
`prepare` (in `outpost.py`) needs the desk; `start` and `Watch.stop` are for whoever conducts the run.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Self

import click

from loadtests.outside.observed import Interval, Look, from_looks
from loadtests.outside.outpost import (
    DEADLINE_SECONDS,
    DEFINITION,
    OUTSIDE,
    PERIOD_SECONDS,
    STORE_DEADLINE_SECONDS,
    Post,
    prepare,
    wait_for_inside,
)
from loadtests.outside.prober import Pace, Prober
from loadtests.staging.stage import end
from loadtests.voting.desk import DeskFileFault, dispatched_codes, pinned_key
from loadtests.voting.door import HttpDoor, verifying

__all__ = [
    "DEADLINE_SECONDS",
    "DEFINITION",
    "OUTSIDE",
    "PERIOD_SECONDS",
    "Post",
    "Watch",
    "pace_of",
    "prepare",
    "seen",
    "start",
    "wait_for_inside",
    "watch",
]

REQUESTS_BEFORE_STORING = 5
STOP_SECONDS_MAX = 45.0
LOOKS_FILE = "outside.jsonl"
PACE_FILE = "outside.json"
US = 1_000_000


def start(post: Post, out: Path) -> "Watch":
    """Begin to look, in a process that ends with this one; what it sees goes to `outside.jsonl` in `out`."""
    return Watch(post, out)


class Watch:
    """The running outside monitor; a context manager."""

    def __init__(self, post: Post, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._post = post
        self._looks = out / LOOKS_FILE
        (out / PACE_FILE).write_text(json.dumps(asdict(post.pace)) + "\n", encoding="utf-8")
        with (out / "outside.err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.outside.watch", post.to_json(), str(self._looks)],
                stdin=subprocess.PIPE,  # it ends when this does, however this process ends
                stdout=subprocess.DEVNULL,
                stderr=err,
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is looking."""
        return self._process.poll() is None

    def stop(self) -> list[Interval]:
        """Let the looks under way finish, and return what was seen; also when it died before."""
        self._end()
        return seen(self._looks, period_s=self._post.period_s)

    def _end(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_SECONDS_MAX)
        end(self._process, seconds=STOP_SECONDS_MAX)


def pace_of(out: Path) -> Pace:
    """How often the outside monitor of that run looked; the usual pace where it did not say."""
    try:
        told = json.loads((out / PACE_FILE).read_text(encoding="utf-8"))
        return Pace(*(float(told[name]) for name in ("period_s", "deadline_s", "store_deadline_s")))
    except (OSError, ValueError, KeyError, TypeError):
        return Pace(PERIOD_SECONDS, DEADLINE_SECONDS, STORE_DEADLINE_SECONDS)


def seen(path: Path, *, period_s: float) -> list[Interval]:
    """The intervals of a file of looks; a line torn by a kill is left out."""
    looks = []
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    look = Look(int(told["started_us"]), int(told["ended_us"]), told["state"], told["reason"])
                    looks.append(look)
    return from_looks(looks, period_us=round(period_s * US))


def watch(prober: Prober, pace: Pace, looks: Path, stop: threading.Event, *, seconds_max: float) -> None:
    """Look every period until told to stop; a look never waits for an earlier one."""
    at_once_max = math.ceil(
        (REQUESTS_BEFORE_STORING * pace.deadline_s + pace.store_deadline_s) / pace.period_s
    )
    at_once = threading.BoundedSemaphore(at_once_max + 2)
    writing = threading.Lock()
    with looks.open("a", encoding="utf-8") as file, ThreadPoolExecutor(at_once_max + 2) as pool:

        def look() -> None:
            try:
                told = prober.look()
                with writing:
                    file.write(json.dumps(asdict(told)) + "\n")
                    file.flush()
            finally:
                at_once.release()

        due = time.monotonic()
        until = due + seconds_max
        while not stop.is_set() and due < until:
            # When all are under way the service outlives every deadline: the missed looks become `unknown`.
            if at_once.acquire(blocking=False):
                pool.submit(look)
            due = max(due + pace.period_s, time.monotonic())
            stop.wait(due - time.monotonic())


@click.command()
@click.argument("post")
@click.argument("looks", type=click.Path(dir_okay=False, path_type=Path))
def main(post: str, looks: Path) -> None:
    """Look as POST says, into the file LOOKS, until standard input ends."""
    told = Post.from_json(post)
    tls = told.ca  # checked once here, not at each look
    try:
        if tls is not None:
            verifying(tls)
        codes = list(dispatched_codes(told.codes).values())
        desk_public = pinned_key(told.desk_key)
    except (DeskFileFault, ValueError) as error:
        raise click.ClickException(str(error)) from error
    prober = Prober(
        partial(HttpDoor, told.url, seconds=told.deadline_s, ca=tls),
        ballot=OUTSIDE,
        desk_public=desk_public,
        codes=codes,
        pace=told.pace,
    )
    stop = threading.Event()

    def until_it_ends() -> None:
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
        stop.set()

    threading.Thread(target=until_it_ends, daemon=True).start()
    watch(prober, told.pace, looks, stop, seconds_max=told.seconds_max)


if __name__ == "__main__":
    main()
