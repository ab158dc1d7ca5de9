"""When votes arrive: message blasts, a day and night base, and a deadline term; one curve, drawn exactly.

The share of all votes cast by time t of a ballot open for T hours is

    C(t) = sum_i w_i G(t-T_i; S)/G(T-T_i; S) + w_b I(t)/I(T) + w_d ln((D+tau)/(T-t+tau)) / ln((D+tau)/tau)

with F(x) = 1/(1+(x/2.76 h)^-0.671) the response to a message, G its mean over a send window of S, I the
integral of the day's shape, and the last term 0 before T-D. All hours here count from the opening.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from loadtests.scenario import Scenario

Hours = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Reminder:
    """A message `at_hours` after the opening that brings `weight` of all votes."""

    at_hours: float
    weight: float


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The weights and times of the curve; the weights add up to 1. The default is day and night alone."""

    launch: float = 0.0
    base: float = 1.0
    deadline: float = 0.0
    reminders: tuple[Reminder, ...] = ()
    send_minutes: float = 15.0
    tau_minutes: float = 60.0
    deadline_hours: float = 24.0


@dataclass(frozen=True, slots=True)
class Peaks:
    """Expected votes in the worst second, minute, quarter and hour, counted in whole ones from the opening.

    `last_minute` and `last_hour` end with the close; `quarter_from_s` is where the worst 15 minutes begin,
    wherever that is, and `sliding_quarter` what they hold.
    """

    second: float
    minute: float
    quarter: float
    hour: float
    last_minute: float
    last_hour: float
    quarter_from_s: float
    sliding_quarter: float


def cumulative(arrivals: Arrivals, at_hours: Hours, *, hours: float, opens_hour: float) -> Hours:
    """The share of all votes cast by each of `at_hours`, from 0 at the opening to 1 at the close."""
    raise NotImplementedError


def peaks(scenario: "Scenario") -> Peaks:
    """The expected peaks of `scenario`."""
    raise NotImplementedError


def draw(scenario: "Scenario", rng: np.random.Generator) -> NDArray[np.float64]:
    """Seconds since the opening, sorted, as many as there are votes; a Poisson process given its total."""
    raise NotImplementedError
