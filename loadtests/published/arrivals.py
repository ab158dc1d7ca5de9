"""When votes arrive: message blasts, a day and night base, and a deadline term; one curve, drawn exactly.

The share of all votes cast by time t of a ballot open for T hours is

    C(t) = sum_i w_i G(t-T_i; S)/G(T-T_i; S) + w_b I(t)/I(T) + w_d ln((D+tau)/(T-t+tau)) / ln((D+tau)/tau)

with F(x) = 1/(1+(x/2.76 h)^-0.671) the response to a message, G its mean over a send window of S, I the
integral of the day's shape, and the last term 0 before T-D. All hours here count from the opening. Where the
close is put off, T in the last term is the close as it was announced: the rush is to that one.
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from loadtests.published.scenario import Scenario

Hours = NDArray[np.float64]
Seconds = NDArray[np.float64]
MINUTE_S, QUARTER_S, HOUR_S = 60, 900, 3_600
HOURS_A_DAY = 24
# The response to a message: log-logistic, through the three points of a published click curve.
RESPONSE_MEDIAN_HOURS, RESPONSE_SHAPE = 2.76, 0.671
RESPONSE_HOURS_MIN, RESPONSE_HOURS_MAX, RESPONSE_GRID = 1e-7, 24.0 * 366, 100_000
# How busy each hour of the day is, from midnight on; the shape is ours, its mean is 1.
# fmt: off
_SHAPE = (
    .25, .12, .05, .03, .03, .06, .25, .7, 1.2, 1.7, 1.6, 1.4,
    1.3, 1.2, 1.15, 1.15, 1.2, 1.3, 1.4, 1.6, 1.7, 1.6, 1.2, .6,
)
# fmt: on
DIURNAL = np.array(_SHAPE) * (HOURS_A_DAY / sum(_SHAPE))
# A second's rate is looked for in the busiest minutes only; the curve's points are seconds near its bends.
WORST_MINUTES = 5
FINE_SECONDS = 2 * HOUR_S


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

    `last_minute` and `last_hour` end with the close, the first where it is put off; `quarter_from_s` is where
    the worst 15 minutes begin, wherever that is, and `sliding_quarter` what they hold.
    """

    second: float
    minute: float
    quarter: float
    hour: float
    last_minute: float
    last_hour: float
    quarter_from_s: float
    sliding_quarter: float


def cumulative(
    arrivals: Arrivals, at_hours: Hours, *, hours: float, opens_hour: float, rush_hours: float | None = None
) -> Hours:
    """The share of all votes cast by each of `at_hours`, from 0 at the opening to 1 at the close.

    The rush is to `rush_hours`, the close that people know of while they hurry; by default the close.
    """
    rush_hours = hours if rush_hours is None else rush_hours
    at = np.clip(np.asarray(at_hours, dtype=np.float64), 0.0, hours)
    cast = arrivals.base * _day_and_night(opens_hour, at) / _day_and_night(opens_hour, np.array(hours))
    for message in (Reminder(0.0, arrivals.launch), *arrivals.reminders):
        if message.weight:
            cast = cast + message.weight * _response(
                at - message.at_hours, hours - message.at_hours, window_hours=arrivals.send_minutes / 60
            )
    if arrivals.deadline:
        last, tau = arrivals.deadline_hours, arrivals.tau_minutes / 60
        left = np.clip(rush_hours - at, 0.0, last)
        cast = cast + arrivals.deadline * np.log((last + tau) / (left + tau)) / np.log((last + tau) / tau)
    return np.asarray(cast, dtype=np.float64)


def _response(since_hours: Hours, until_hours: float, *, window_hours: float) -> Hours:
    """The part of those whom a message brings before the close, by hours since it went out."""

    def brought(since: Hours) -> Hours:
        if not window_hours:
            return _followed(since)
        within = _follow_integral(since) - _follow_integral(since - window_hours)
        return np.asarray(within / window_hours, dtype=np.float64)

    return np.asarray(brought(since_hours) / brought(np.array(until_hours)), dtype=np.float64)


def _followed(since_hours: Hours) -> Hours:
    """F: the part of those who react to a message that have done so; 0 before it."""
    since = np.maximum(since_hours, RESPONSE_HOURS_MIN)
    return np.where(since_hours > 0, 1 / (1 + (since / RESPONSE_MEDIAN_HOURS) ** -RESPONSE_SHAPE), 0.0)


@cache
def _follow_table() -> tuple[Hours, Hours]:
    """F integrated from the message on, on a grid that is fine where F is steep."""
    grid = np.concatenate([[0.0], np.geomspace(RESPONSE_HOURS_MIN, RESPONSE_HOURS_MAX, RESPONSE_GRID)])
    followed = _followed(grid)
    steps = (followed[1:] + followed[:-1]) / 2 * np.diff(grid)
    return grid, np.concatenate([[0.0], np.cumsum(steps)])


def _follow_integral(since_hours: Hours) -> Hours:
    """The integral of F from the message to `since_hours` after it."""
    return np.asarray(np.interp(np.maximum(since_hours, 0.0), *_follow_table()), dtype=np.float64)


def _day_and_night(opens_hour: float, at_hours: Hours) -> Hours:
    """I: the integral of the day's shape from the opening, in hours of mean activity."""
    whole_days = np.concatenate([[0.0], np.cumsum(DIURNAL)])
    hour = np.arange(HOURS_A_DAY + 1)

    def integral(clock: Hours) -> Hours:
        days, rest = np.divmod(clock, HOURS_A_DAY)
        return np.asarray(days * HOURS_A_DAY + np.interp(rest, hour, whole_days), dtype=np.float64)

    return integral(opens_hour + at_hours) - integral(np.array(opens_hour))


def curve(scenario: "Scenario") -> tuple[Seconds, Seconds]:
    """The curve as points: seconds since the opening, and the share cast by then; fine where it is steep."""
    hours, arrivals = scenario.hours, scenario.arrivals
    end_s, rush_s = hours * HOUR_S, scenario.first_close_hours * HOUR_S
    starts_s = [0.0, *(reminder.at_hours * HOUR_S for reminder in arrivals.reminders)]
    fine_s = arrivals.send_minutes * 60 + FINE_SECONDS
    grid = np.concatenate(
        [
            np.arange(0.0, end_s, MINUTE_S),
            *(np.arange(start, start + fine_s) for start in starts_s),
            *(start + np.geomspace(1e-3, 10.0, 200) for start in starts_s),
            np.arange(max(0.0, rush_s - FINE_SECONDS), rush_s),
            [rush_s, end_s],
        ]
    )
    at_s = np.unique(grid[(grid >= 0) & (grid <= end_s)])
    cast = _cast(scenario, at_s)
    return at_s, np.maximum.accumulate(cast / cast[-1])


def _cast(scenario: "Scenario", at_s: Seconds) -> Seconds:
    """The share of the votes of `scenario` that are cast by each second."""
    return cumulative(
        scenario.arrivals,
        at_s / HOUR_S,
        hours=scenario.hours,
        opens_hour=scenario.opens_hour,
        rush_hours=scenario.first_close_hours,
    )


def peaks(scenario: "Scenario") -> Peaks:
    """The expected peaks of the votes that are cast online."""
    end_s, votes = scenario.hours * HOUR_S, scenario.online_votes

    def by(at_s: Seconds) -> Seconds:
        return np.asarray(_cast(scenario, at_s) * votes, dtype=np.float64)

    def most(block_s: float) -> float:
        return float(np.diff(by(np.arange(0.0, end_s + 0.5, block_s))).max(initial=0.0))

    minutes = by(np.arange(0.0, end_s + 0.5, MINUTE_S))
    worst_minutes = np.argsort(np.diff(minutes))[-WORST_MINUTES:]
    quarter = min(QUARTER_S // MINUTE_S, len(minutes) - 1)
    sliding = minutes[quarter:] - minutes[:-quarter]
    last = by(scenario.first_close_hours * HOUR_S - np.array([HOUR_S, MINUTE_S, 0.0]))
    return Peaks(
        second=max(
            float(np.diff(by(minute * MINUTE_S + np.arange(MINUTE_S + 1.0))).max())
            for minute in worst_minutes
        ),
        minute=most(MINUTE_S),
        quarter=most(QUARTER_S),
        hour=most(HOUR_S),
        last_minute=float(last[2] - last[1]),
        last_hour=float(last[2] - last[0]),
        quarter_from_s=float(sliding.argmax()) * MINUTE_S,
        sliding_quarter=float(sliding.max()),
    )


def draw(scenario: "Scenario", rng: np.random.Generator) -> Seconds:
    """Seconds since the opening, sorted, one for each vote cast online: a Poisson process given its total."""
    at_s, cast = curve(scenario)
    return np.asarray(np.interp(np.sort(rng.random(scenario.online_votes)), cast, at_s), dtype=np.float64)
