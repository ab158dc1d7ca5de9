"""What a load run was asked to be, how to type it again, and who then comes when."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from loadtests.published import group, schedule
from loadtests.published.scenario import Scenario
from loadtests.published.schedule import Only, Schedule, Window
from loadtests.staging.kept import US

BURST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for on the command line; `burst` is how many times the worst second, 0 for no burst.

    `speed` plays everything so many times as fast as the scenario says, its real time too.
    """

    scenario: Scenario
    report: Path
    only: Only = ""
    seed: int | None = None
    overlays: tuple[str, ...] = ()
    generators: int = 1
    processes: int | None = None
    burst: float = 0.0
    speed: float = 1.0
    keep: bool = False

    @property
    def drawn_from(self) -> int:
        """The seed of everything that is drawn."""
        return self.scenario.seed if self.seed is None else self.seed

    @property
    def spec(self) -> str:
        """SCENARIO[:VARIANT]."""
        return self.scenario.name + (f":{self.scenario.variant}" if self.scenario.variant else "")

    def command(self) -> str:
        """What to type to have the same run again."""
        words = ["ballot", "load", self.spec]
        for option, value in (
            ("--scale", self.scenario.scale if self.scenario.scale != 1 else None),
            ("--only", self.only or None),
            ("--burst", self.burst or None),
            ("--speed", self.speed if self.speed != 1 else None),
            ("--seed", self.seed),
            *(("--overlay", name) for name in self.overlays),
            ("--generators", self.generators if self.generators != 1 else None),
            ("--processes", self.processes),
        ):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)] if value else []
        return shlex.join(words)

    def drawn_up(self) -> tuple[Schedule, list[Scenario]]:
        """Who comes when, and the ballots with as many votes as are then cast."""
        ballots = group.members(self.scenario)
        if self.burst:
            planned = _burst(self.scenario, self.burst, seed=self.seed)
        else:
            planned = schedule.build(self.scenario, only=self.only, seed=self.seed)
        return quickened(planned, self.speed), group.as_scheduled(ballots, planned)


def quickened(planned: Schedule, speed: float) -> Schedule:
    """`planned` played `speed` times as fast; what is aimed at the close is so as narrowly as before."""
    if speed == 1:
        return planned
    close_run_s = planned.close_run_s / speed
    return replace(
        planned,
        run_s=planned.run_s / speed,
        late_s=close_run_s + (planned.late_s - planned.close_run_s) / speed,
        at_close_s=close_run_s + (planned.at_close_s - planned.close_run_s),
        at_first_s=planned.first_close_run_s / speed + (planned.at_first_s - planned.first_close_run_s),
        extends_s=planned.extends_s / speed,
        windows=tuple(
            replace(
                window,
                from_run_s=window.from_run_s / speed,
                to_run_s=window.to_run_s / speed,
                factor=window.factor * speed,
            )
            for window in planned.windows
        ),
        close_run_s=close_run_s,
    )


def _burst(scenario: Scenario, times: float, *, seed: int | None) -> Schedule:
    """So many times the worst second of `scenario`, for a minute; nothing closes in it."""
    run_s = schedule.worst_second_times(scenario, times, seconds=BURST_SECONDS, seed=seed)
    run_s = run_s[: scenario.online_votes]
    ballots, turns = schedule.dealt(scenario, len(run_s), seed=seed)
    none = np.zeros(0)
    return Schedule(
        run_s=run_s,
        ballot_s=run_s,
        ballots=ballots,
        turns=turns,
        late_s=none,
        at_close_s=none,
        windows=(Window("burst", 0.0, BURST_SECONDS, 0.0, BURST_SECONDS, 1.0),),
        close_run_s=BURST_SECONDS + 1,
    )


def moments_us(window: Window, start_us: int) -> tuple[int, int]:
    """When a window of the run begins and ends, with the run's clock at 0 at `start_us`."""
    return start_us + round(window.from_run_s * US), start_us + round(window.to_run_s * US)
