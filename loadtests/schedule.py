"""When each vote is sent on the run's clock: weeks compressed, the peaks and the close in real time.

The same scenario and seed give the same schedule. Run seconds count from the run's opening of the poll,
ballot seconds from the published one.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.scenario import Scenario

Seconds = NDArray[np.float64]
Only = Literal["", "peak", "close"]
VOTES_A_SECOND_MAX = 800.0
FACTOR_MAX = 600.0


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
    """

    run_s: Seconds
    ballot_s: Seconds
    ballots: NDArray[np.int32]
    turns: NDArray[np.int32]
    late_s: Seconds
    at_close_s: Seconds
    windows: tuple[Window, ...]
    close_run_s: float

    @property
    def real(self) -> list[Window]:
        """The windows played in real time."""
        return [window for window in self.windows if window.factor == 1]

    @property
    def votes(self) -> int:
        """How many votes are cast."""
        return len(self.run_s)

    def save(self, path: "Path") -> None:
        """Write the arrays as `schedule.npz`, whole or not at all."""
        raise NotImplementedError


def build(
    scenario: "Scenario",
    *,
    only: Only = "",
    seed: int | None = None,
    votes_a_second_max: float = VOTES_A_SECOND_MAX,
    factor_max: float = FACTOR_MAX,
) -> Schedule:
    """The schedule of `scenario`; another `seed` than its own draws other moments from the same curve."""
    raise NotImplementedError


def load(path: "Path") -> Schedule:
    """The schedule that `save` wrote, windows and all."""
    raise NotImplementedError


def worst_second_times(
    scenario: "Scenario", times: float, *, seconds: float = 60.0, seed: int | None = None
) -> Seconds:
    """Sorted run seconds of `times` the expected worst second's votes, for so many `seconds`."""
    raise NotImplementedError
