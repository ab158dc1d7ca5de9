"""Processes of the run's own deployment are killed in the crunch, and one worker's clock jumps by 2 s.

The parts are found below the `ballot up` that the run started, and nowhere else. The worker whose clock
jumps is one more beside the deployment's own, started here, so that nobody else's clock is touched.
"""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from loadtests.faults import hands, servers
from loadtests.faults.clock import SteppedClock, steppable
from loadtests.faults.ground import PATTERNS
from loadtests.faults.kinds import EDGE, EDGE_CHILD, VALKEY, VOTERDB, WORKER
from loadtests.overlays.judging import at_most, equal
from loadtests.overlays.reissue import environment
from loadtests.overlays.terms import Context, Judgement, Told
from loadtests.overlays.wire import Target
from loadtests.overlays.work import Impossible, Work, now_us
from loadtests.staging.stage import STOP_SECONDS_MAX, ballot_command, end

WHAT = "kill -9 of an edge process, a worker and the voter database, and a clock that jumps by 2 s"
KNOBS: Final = frozenset({"kinds", "rounds", "step_seconds"})
KILLS: Final = {
    "kill-edge": EDGE_CHILD,
    "kill-worker": WORKER,
    "kill-voterdb": VOTERDB,
    "kill-valkey": VALKEY,
}
STEP = "step-clock"
USUAL: Final = ("kill-edge", "kill-worker", STEP, "kill-voterdb")
FAULTS_MAX = 200
BACK_SECONDS_MAX = 60.0
BACK_WITHIN_S = 30.0
LOOK_SECONDS = 0.05
STEP_SECONDS = 2.0
STEP_LASTS_SECONDS = 5.0
RUNS_PATTERN = r"postgres\b.*walwriter"
"""A cluster starts it once it has recovered; others of its helpers run before that."""


@dataclass(slots=True)
class Hit:
    """One part that was hit, and when another stood in its place."""

    name: str
    from_us: int
    to_us: int
    done: bool
    expects_down: bool = False
    """Whether no vote can be accepted meanwhile."""


class Breaker:
    """Does faults to the deployment below one `ballot up`."""

    def __init__(self, up_pid: int, port: int) -> None:
        self._up_pid = up_pid
        self._port = port

    async def kill(self, name: str) -> Hit:
        """SIGKILL of one process of a part; returns when another is there, or not in time."""
        part = KILLS[name]
        if not await until(lambda: bool(self._victims(part))):
            raise Impossible(f"There is no process of {part} below the deployment that could be killed.")
        before, from_us = self._victims(part), now_us()
        hands.send(before[-1:], signal.SIGKILL)
        done = await until(lambda: self._back(part, before))
        alone = part == VALKEY or (part == EDGE_CHILD and len(before) == 1)
        return Hit(name, from_us, now_us(), done, expects_down=alone)

    def _victims(self, part: str) -> list[int]:
        """What is killed of a part: the last; an edge of one process has no children that could be."""
        found = hands.below(self._up_pid, PATTERNS[part])
        if part == EDGE_CHILD:
            return found[1:] or hands.below(self._up_pid, PATTERNS[EDGE])[:1]
        return found[:1]

    def _back(self, part: str, before: list[int]) -> bool:
        now = self._victims(part)
        if before[-1] in now or len(now) < len(before):
            return False
        if part == EDGE_CHILD:
            return servers.listens(self._port)
        if part == VOTERDB:
            return any(hands.below(pid, RUNS_PATTERN) for pid in now)
        return True


class SteppedWorker:
    """A worker beside the deployment's own, whose clock can be made to jump."""

    def __init__(self, context: Context) -> None:
        if not steppable():
            raise Impossible("A clock cannot be stepped here: libfaketime is not installed.")
        self._clock = SteppedClock(context.stage_folder / "stepped-clock")
        told = environment(context.home, context.url) | self._clock.environment
        with (context.out / "fault.worker.err").open("wb") as err:
            self._process = subprocess.Popen(
                [*ballot_command(), "worker"],
                env=told | {"BALLOT_PARENT_PID": str(os.getpid())},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=err,
                process_group=0,
            )

    @property
    def running(self) -> bool:
        """Whether it is there."""
        return self._process.poll() is None

    async def step(self, seconds: float) -> Hit:
        """Jump forwards, then back as far on the other side, then to the right time."""
        from_us, there = now_us(), self.running
        for offset in (seconds, -seconds, 0.0):
            self._clock.set(offset)
            await asyncio.sleep(STEP_LASTS_SECONDS / 2 if offset else 0)
        return Hit(STEP, from_us, now_us(), there and self.running)

    def end(self) -> None:
        """Stop it."""
        end(self._process, seconds=STOP_SECONDS_MAX)


async def until(holds: Callable[[], bool]) -> bool:
    """Whether it `holds()` in time."""
    deadline = time.monotonic() + BACK_SECONDS_MAX
    while not await asyncio.to_thread(holds):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True


def planned(knobs: Mapping[str, Any], seconds: float, *, rounds: int) -> list[tuple[float, str]]:
    """What comes when: the kinds named, as often as said, evenly over the time."""
    asked = knobs.get("kinds")
    kinds = [kind.strip() for kind in str(asked).split(",")] if asked else [*USUAL]
    if unknown := [kind for kind in kinds if kind not in {*KILLS, STEP}]:
        raise Impossible(f"There is no fault '{unknown[0]}'; there are {', '.join([*KILLS, STEP])}.")
    order = (kinds * rounds)[:FAULTS_MAX]
    return [((number + 0.5) * seconds / len(order), kind) for number, kind in enumerate(order)]


async def run(work: Work) -> dict[str, Any]:
    """One fault after the other, each when its time has come and the one before is over."""
    context = work.context
    if context.up_pid is None:
        raise Impossible("Nobody said which `ballot up` is the run's own.")
    breaker = Breaker(context.up_pid, Target.of(context).port)
    faults = planned(context.knobs, context.seconds, rounds=max(1, int(work.knob("rounds", 1))))
    skipped = 0 if steppable() else sum(kind == STEP for _, kind in faults)
    if skipped:
        faults = [fault for fault in faults if fault[1] != STEP]
    stepped: SteppedWorker | None = None
    hits: list[Hit] = []
    try:
        if await work.begin():
            if any(kind == STEP for _, kind in faults):
                stepped = SteppedWorker(context)
            hits = await _all(work, breaker, stepped, faults)
    finally:
        if stepped is not None:
            stepped.end()
    return {
        "planned": len(faults),
        "hits": [
            {"name": hit.name, "from_us": hit.from_us, "to_us": hit.to_us, "done": hit.done} for hit in hits
        ],
        "clock_steps_not_possible_here": skipped,
    }


async def _all(
    work: Work, breaker: Breaker, stepped: SteppedWorker | None, faults: list[tuple[float, str]]
) -> list[Hit]:
    hits: list[Hit] = []
    began = time.monotonic()
    for at_s, kind in faults:
        await work.rest(began + at_s - time.monotonic())
        if work.over.is_set():
            break
        if kind == STEP and stepped is not None:
            hit = await stepped.step(work.knob("step_seconds", STEP_SECONDS))
        else:
            hit = await breaker.kill(kind)
        hits.append(hit)
        work.note(kind, "over" if hit.done else "not over", (hit.to_us - hit.from_us) / 1000)
        work.mark("fault", hit.name, hit.from_us, hit.to_us, expects_down=hit.expects_down)
    return hits


def judge(told: Told) -> list[Judgement]:
    """Every fault that was planned was done, and each part was there again in time."""
    hits = told["hits"]
    kills = [(hit["to_us"] - hit["from_us"]) / 1e6 for hit in hits if hit["name"] in KILLS]
    not_steppable = int(told.get("clock_steps_not_possible_here", 0))
    stepped = Judgement(
        "clock steps that are not possible here (libfaketime)",
        "0",
        f"{not_steppable:,}",
        ok=not not_steppable,
        void=bool(not_steppable),
    )
    return [
        stepped,
        equal("faults that were done and got over", int(told["planned"]), sum(hit["done"] for hit in hits)),
        at_most("longest until what was killed was there again", BACK_WITHIN_S, max(kills, default=0.0), "s"),
    ]
