"""When each vote is sent on the run's clock: weeks compressed, the peaks and the close in real time.

The same scenario and seed give the same schedule. Run seconds count from the run's opening of the poll,
ballot seconds from the published one.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from loadtests.published import arrivals
from loadtests.published.arrivals import HOUR_S, QUARTER_S
from loadtests.published.group import members
from loadtests.published.scenario import Scenario, random_of

Seconds = NDArray[np.float64]
Only = Literal["", "peak", "close"]
VOTES_A_SECOND_MAX = 800.0
FACTOR_MAX = 600.0
# How finely the factor follows the curve, in ballot seconds.
GRANULE_S = 300.0
# Real time from the last minute on; so long after the close are late votes still sent.
LAST_S, AFTER_CLOSE_S = 60.0, 30.0
CLOSE_ONLY_S = 600.0
AT_CLOSE_S, LATE_FROM_S = 0.05, 0.1


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the run and of the ballot that it plays, `factor` times as fast as it was."""

    name: str
    from_run_s: float
    to_run_s: float
    from_ballot_s: float
    to_ballot_s: float
    factor: float


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Arrival i is sent at `run_s[i]` and stands for a vote at `ballot_s[i]`, in ballot `ballots[i]`.

    It is voter `turns[i]` of that ballot's plan: for one ballot alone, voter i. `windows` cover the run
    without a gap; `close_run_s` is the close, after which `late_s` are sent; `at_close_s` are aimed at it.
    Where the close is put off it was to be `extends_s` earlier at first, and `at_first_s` are aimed at that.
    """

    run_s: Seconds
    ballot_s: Seconds
    ballots: NDArray[np.int32]
    turns: NDArray[np.int32]
    late_s: Seconds
    at_close_s: Seconds
    windows: tuple[Window, ...]
    close_run_s: float
    extends_s: float = 0.0
    at_first_s: Seconds = field(default_factory=lambda: np.zeros(0))

    @property
    def first_close_run_s(self) -> float:
        """The close as everybody knows it until it is put off: what rushes and sieges go by."""
        return self.close_run_s - self.extends_s

    @property
    def real(self) -> list[Window]:
        """The windows played in real time."""
        return [window for window in self.windows if window.factor == 1]

    @property
    def votes(self) -> int:
        """How many votes are cast."""
        return len(self.run_s)

    def save(self, path: Path) -> None:
        """Write the whole schedule as `schedule.npz`; it appears there whole or not at all."""
        draft = path.with_name(path.name + ".draft")
        windows = json.dumps([asdict(window) for window in self.windows])
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ARRAYS}
        with draft.open("wb") as file:
            arrays |= {"close_run_s": np.array(self.close_run_s), "extends_s": np.array(self.extends_s)}
            np.savez(file, **arrays, windows=np.array(windows))
        draft.replace(path)


ARRAYS = ("run_s", "ballot_s", "ballots", "turns", "late_s", "at_close_s", "at_first_s")


def load(path: Path) -> Schedule:
    """The schedule that `save` wrote, windows and all."""
    with np.load(path, allow_pickle=False) as kept:
        return Schedule(
            **{name: kept[name] for name in ARRAYS},
            windows=tuple(Window(**window) for window in json.loads(str(kept["windows"]))),
            close_run_s=float(kept["close_run_s"]),
            extends_s=float(kept["extends_s"]),
        )


def build(
    scenario: Scenario,
    *,
    only: Only = "",
    seed: int | None = None,
    votes_a_second_max: float = VOTES_A_SECOND_MAX,
    factor_max: float = FACTOR_MAX,
) -> Schedule:
    """The schedule of `scenario`; another `seed` than its own draws other moments from the same curve.

    With `only`, the votes outside that stretch are not cast, and `shrunk` makes the scenario that remains.
    """
    rng = random_of(scenario, "schedule", seed)
    every_s = arrivals.draw(scenario, rng)
    belongs = _ballots(scenario, rng)
    close_s = scenario.hours * HOUR_S
    compressed, real = _stretches(scenario, only)
    cut = sorted([*compressed, *real], key=lambda stretch: stretch.from_s)
    chosen = (every_s >= cut[0].from_s) & (every_s < cut[-1].to_s)
    ballot_s, belongs = every_s[chosen], belongs[chosen]
    pieces: list[Window] = []
    for stretch in cut:
        start_s = pieces[-1].to_run_s if pieces else 0.0
        if stretch in real:
            pieces.append(_piece(stretch.name, stretch.from_s, stretch.to_s, 1.0, start_s))
        else:
            pieces += _compressed(stretch, ballot_s, votes_a_second_max, factor_max, start_s)
    played_close = pieces[-1].to_ballot_s > close_s
    windows = tuple(pieces)
    first_s, close_run_s = (
        _on_run_clock(windows, np.array([scenario.first_close_hours * HOUR_S, close_s])).tolist()
        if played_close
        else [windows[-1].to_run_s] * 2
    )
    late, aimed = (scenario.late_casts, scenario.at_close_casts) if played_close else (0, 0)
    at_first = aimed // 2 if close_run_s > first_s else 0
    return Schedule(
        run_s=_on_run_clock(windows, ballot_s),
        ballot_s=ballot_s,
        ballots=belongs,
        turns=_turns(belongs),
        late_s=np.sort(close_run_s + rng.uniform(LATE_FROM_S, AFTER_CLOSE_S, late)),
        at_close_s=np.sort(close_run_s + rng.uniform(-AT_CLOSE_S, AT_CLOSE_S, aimed - at_first)),
        windows=windows,
        close_run_s=close_run_s,
        extends_s=close_run_s - first_s,
        at_first_s=np.sort(first_s + rng.uniform(-AT_CLOSE_S, AT_CLOSE_S, at_first)),
    )


def worst_second_times(
    scenario: Scenario, times: float, *, seconds: float = 60.0, seed: int | None = None
) -> Seconds:
    """Sorted run seconds of `times` the expected worst second's votes, for so many `seconds`."""
    rng = random_of(scenario, "worst second", seed)
    votes = round(arrivals.peaks(scenario).second * times * seconds)
    return np.sort(rng.uniform(0.0, seconds, votes))


def dealt(
    scenario: Scenario, votes: int, *, seed: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each of so many arrivals of `scenario`, which ballot of a group it is for and whose turn it is."""
    ballots = _ballots(scenario, random_of(scenario, "dealt", seed))[:votes]
    return ballots, _turns(ballots)


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A part of the ballot, in ballot seconds."""

    name: str
    from_s: float
    to_s: float


def _stretches(scenario: Scenario, only: Only) -> tuple[list[_Stretch], list[_Stretch]]:
    """What is compressed and what is played in real time; together without a gap from first to last."""
    close_s, rush_s = scenario.hours * HOUR_S, scenario.first_close_hours * HOUR_S
    first_s = max(0.0, rush_s - scenario.last_minutes * 60) if scenario.last_minutes else 0.0
    from_s = max(first_s, min(arrivals.peaks(scenario).quarter_from_s, rush_s - QUARTER_S))
    peak = _Stretch("peak", from_s, min(rush_s, from_s + QUARTER_S))
    if only == "peak":
        return [], [peak]
    if only == "close":
        first_s = max(first_s, rush_s - CLOSE_ONLY_S)
    if only == "close" or scenario.last_minutes:
        real = [_Stretch("close", first_s, rush_s)]
    else:
        real = [peak, _Stretch("close", max(first_s, rush_s - LAST_S), rush_s)]
        if peak.to_s >= real[1].from_s:
            real = [_Stretch("peak and close", peak.from_s, rush_s)]
    last_s = max(rush_s, close_s - LAST_S)  # so long after the first close, too, where there is another
    until_s = rush_s + LAST_S
    if until_s >= last_s:
        real[-1] = replace(real[-1], to_s=close_s + AFTER_CLOSE_S)
    else:
        real[-1] = replace(real[-1], to_s=until_s)
        real.append(_Stretch("last close", last_s, close_s + AFTER_CLOSE_S))
    compressed, at_s = [], first_s
    for stretch in real:
        if stretch.from_s > at_s:
            compressed.append(_Stretch("compressed", at_s, stretch.from_s))
        at_s = stretch.to_s
    return compressed, real


def _compressed(
    stretch: _Stretch, ballot_s: Seconds, votes_a_second_max: float, factor_max: float, start_run_s: float
) -> list[Window]:
    """`stretch` in windows, each as fast as keeps every run second below the limit; equal neighbours are one.

    If so many arrivals and one more are never closer than `factor` ballot seconds, then at that factor no
    run second holds more. A window answers for all such runs of arrivals that touch it.
    """
    limit = max(1, int(votes_a_second_max))
    inside = max(1, math.ceil((stretch.to_s - stretch.from_s) / GRANULE_S))
    edges = np.linspace(stretch.from_s, stretch.to_s, inside + 1)
    spans = ballot_s[limit:] - ballot_s[:-limit]
    starts, ends = ballot_s[: len(spans)], ballot_s[limit:]
    pieces: list[Window] = []
    for index in range(inside):
        low = int(np.searchsorted(ends, edges[index]))
        high = int(np.searchsorted(starts, edges[index + 1]))
        closest = float(spans[low:high].min()) if high > low else math.inf
        factor = _step(closest, factor_max)
        run_s = pieces[-1].to_run_s if pieces else start_run_s
        if pieces and pieces[-1].factor == factor:
            last = pieces.pop()
            pieces.append(
                _piece(stretch.name, last.from_ballot_s, float(edges[index + 1]), factor, last.from_run_s)
            )
        else:
            pieces.append(_piece(stretch.name, float(edges[index]), float(edges[index + 1]), factor, run_s))
    return pieces


def _step(factor: float, factor_max: float) -> float:
    """The largest of `factor_max`, its half, its quarter and so on that is no more than `factor`, or 1."""
    step = factor_max
    while step > factor and step > 1:
        step /= 2
    return max(1.0, step)


def _piece(name: str, from_s: float, to_s: float, factor: float, from_run_s: float) -> Window:
    return Window(name, from_run_s, from_run_s + (to_s - from_s) / factor, from_s, to_s, factor)


def _on_run_clock(windows: Sequence[Window], ballot_s: Seconds) -> Seconds:
    """Ballot seconds as run seconds."""
    ballot = [windows[0].from_ballot_s, *(window.to_ballot_s for window in windows)]
    run = [windows[0].from_run_s, *(window.to_run_s for window in windows)]
    return np.asarray(np.interp(ballot_s, ballot, run), dtype=np.float64)


def _ballots(scenario: Scenario, rng: np.random.Generator) -> NDArray[np.int32]:
    """Which ballot of a group each arrival is for: as many as it has votes, mixed; 0 where there is one."""
    ballots = members(scenario)
    sizes = [ballot.online_votes for ballot in ballots]
    mixed = np.repeat(np.arange(len(ballots), dtype=np.int32), sizes)
    if len(ballots) > 1:
        rng.shuffle(mixed)
    return mixed


def _turns(ballots: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each arrival, how many came before it in the same ballot."""
    order = np.argsort(ballots, kind="stable")
    counts = np.bincount(ballots) if len(ballots) else np.zeros(0, dtype=np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    turns = np.empty(len(ballots), dtype=np.int32)
    turns[order] = np.arange(len(ballots)) - starts
    return turns
