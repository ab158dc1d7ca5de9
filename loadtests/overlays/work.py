"""What every overlay's process has: the context from the pipe, the end, the counts, and one line a second.

It ends when its seconds are over, when the pipe that it was started with closes, or when it is asked to.
"""

import asyncio
import json
import math
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from loadtests.overlays.spread import Spread
from loadtests.overlays.terms import Context, Told

CONFIG_BYTES_MAX: Final = 64 << 20
"""A million spare codes are shorter."""

TICK_SECONDS: Final = 0.02
CATCH_UP_SECONDS: Final = 0.1
CATCH_UP: Final = 20.0
"""What is due after a longer pause of ours is held back but for these few: all at once it would only make
the next pause longer."""

LAST_ANSWERS_SECONDS: Final = 20.0
HELD_BACK: Final = "held back"
FLOOD_NICENESS: Final = 10


class Impossible(Exception):  # noqa: N818  # named for what it means to the tester
    """Why the overlay cannot be tried here, in one sentence."""


def python_module(name: str) -> list[str]:
    """How to run a module of ours in the environment that runs us."""
    return [sys.executable, "-m", name]


def handles_raised() -> int:
    """How many files and connections this process may have open, once it may have as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def now_us() -> int:
    """This instant, on the clock that all files of a run use."""
    return time.time_ns() // 1000


class Work:
    """One overlay at work. All counters here are only ever added to."""

    def __init__(self, name: str, context: Context, *, knobs: frozenset[str] = frozenset()) -> None:
        self.name = name
        self.context = context
        self._knobs = knobs
        self.rng = random.Random(f"{name}/{context.seed}")
        self.over = asyncio.Event()
        self.did: Counter[str] = Counter()
        self.got: Counter[str] = Counter()
        self.spread = Spread()
        self.from_us = self.to_us = 0
        self.lag_s_max = 0.0
        self.asked = 0.0
        self.begun = 0
        self.cut_short = False
        self._told_did: Counter[str] = Counter()
        self._told_got: Counter[str] = Counter()
        self._ms_max = 0.0
        self._marks: list[dict[str, Any]] = []
        self._started = False

    def knob(self, name: str, usual: float) -> float:
        """The parameter `name` as the scenario gave it, or its usual value."""
        if name not in self._knobs:
            raise RuntimeError(f"{name} is not among the parameters of {self.name}")
        given = self.context.knobs.get(name, usual)
        if not isinstance(given, int | float) or not math.isfinite(given) or given < 0:
            raise Impossible(f"Overlay {self.name}: {name} must be a number, 0 or more.")
        return float(given)

    def check_knobs(self) -> None:
        """Refuse parameters that nothing reads."""
        if unknown := sorted(self.context.knobs.keys() - self._knobs):
            raise Impossible(
                f"Overlay {self.name} has no {unknown[0]}; it has {', '.join(sorted(self._knobs))}."
            )

    def note(self, what: str, came: str, ms: float | None = None) -> None:
        """Count one thing done and what came of it; `ms` is how long the answer took."""
        self.did[what] += 1
        self.got[came] += 1
        if ms is not None:
            self.spread.add(ms)
            self._ms_max = max(self._ms_max, ms)

    def mark(self, kind: str, name: str, from_us: int, to_us: int, **told: Any) -> None:
        """Tell of something that lasted, to be shown on the run's time axis."""
        self._marks.append({"kind": kind, "name": name, "from_us": from_us, "to_us": to_us, "told": told})

    def ready(self, **more: Any) -> None:
        """Say that the overlay could begin; `more` is for whoever started it."""
        if not self._started:
            self._started = True
            say({"ready": {"pid": os.getpid(), **more}})

    @staticmethod
    def give_way() -> None:
        """Let the deployment and the voters have the processors first: a flood comes from other machines."""
        os.nice(FLOOD_NICENESS)

    async def begin(self) -> bool:
        """Be ready, and begin when the moment has come; False when it is over before."""
        self.ready()
        await self.rest(self.context.from_s)
        self.from_us = now_us()
        asyncio.get_running_loop().call_later(self.context.seconds, self.over.set)
        return not self.over.is_set()

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until it is over."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self.over.wait()
        except TimeoutError:
            return

    def line(self) -> None:
        """Print what was done since the last line."""
        did, got = self.did - self._told_did, self.got - self._told_got
        self._told_did, self._told_got = Counter(self.did), Counter(self.got)
        told = {"at_us": now_us(), "did": dict(did), "got": dict(got), "ms": round(self._ms_max, 1)}
        self._ms_max = 0.0
        if self._marks:
            told["marks"], self._marks = self._marks, []
        say(told)

    def totals(self) -> dict[str, Any]:
        """All that was done and got."""
        return {
            "from_us": self.from_us,
            "to_us": self.to_us or now_us(),
            "did": dict(sorted(self.did.items())),
            "got": dict(sorted(self.got.items())),
            "ms": self.spread.told(),
            "lag_s_max": round(self.lag_s_max, 2),
            "paced": {"asked": round(self.asked, 1), "begun": self.begun, "cut_short": self.cut_short},
        }

    async def paced(
        self,
        rate: Callable[[float], float],
        do: Callable[[int], Awaitable[None]],
        *,
        at_once_max: int,
        last_seconds: float = LAST_ANSWERS_SECONDS,
    ) -> None:
        """Begin `do(number)` as often a second as `rate(seconds since the beginning)` says, until it is over.

        What is due is begun whether or not earlier ones were answered, up to `at_once_max` at once: beyond
        that it is counted as held back, so that an overlay is bounded whatever the system does.
        """
        loop = asyncio.get_running_loop()
        began = last = loop.time()
        due, number = 0.0, 0
        going: set[asyncio.Task[None]] = set()
        while not self.over.is_set():
            now = loop.time()
            wanted = rate(now - began)
            new = wanted * (now - last)
            most = max(CATCH_UP, wanted * CATCH_UP_SECONDS)
            self.asked += new
            due += min(new, most)
            if new > most:
                self.did[HELD_BACK] += round(new - most)
            self.lag_s_max = max(self.lag_s_max, now - last - TICK_SECONDS)
            last = now
            while due >= 1:
                due -= 1
                if len(going) >= at_once_max:
                    self.did[HELD_BACK] += 1
                    continue
                task = asyncio.ensure_future(_guarded(do, number))
                going.add(task)
                task.add_done_callback(going.discard)
                number += 1
                self.begun += 1
            await self.rest(TICK_SECONDS)
        if going:
            await asyncio.wait(going, timeout=last_seconds)
        for task in going.copy():
            task.cancel()


async def _guarded(do: Callable[[int], Awaitable[None]], number: int) -> None:
    """A mistake of ours in one of thousands ends the overlay, with its own words."""
    try:
        await do(number)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001  # told, and the process ends
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def say(told: Told) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


async def serve(work: Work, run: Callable[[Work], Awaitable[dict[str, Any]]]) -> None:
    """Run the overlay with its lines, and print what it did in all as the last one."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.over.set)
    _tether(loop, work)
    handles_raised()
    lines = asyncio.create_task(_lines(work))
    try:
        work.check_knobs()
        told = await run(work)
    except Impossible as error:
        told = {"impossible": str(error)}
    finally:
        work.to_us = now_us()
        lines.cancel()
        work.ready()
    work.line()
    say({"told": work.totals() | told})


def _tether(loop: asyncio.AbstractEventLoop, work: Work) -> None:
    """End when nothing comes through the pipe any more."""

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            work.cut_short |= not work.over.is_set()
            work.over.set()

    loop.add_reader(sys.stdin.fileno(), look)


async def _lines(work: Work) -> None:
    """A line at every full second, from the beginning on."""
    while True:
        await asyncio.sleep(1 - time.time() % 1)
        if work.from_us:
            work.line()


def read_context() -> Context:
    """The context, from the first line of stdin; the pipe is left open."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < CONFIG_BYTES_MAX:
        found = os.read(sys.stdin.fileno(), 65_536)
        if not found:
            break
        line += found
    return Context.from_json(json.loads(line))
