"""The plot of the ballot's own days: when votes were due, and which stretches were played in real time."""

from collections.abc import Mapping
from typing import Any

from loadtests.report import lanes, saying
from loadtests.report.drawing import ROOMS
from loadtests.report.plotting import ROWS_MAX, Plot


def days(told: Mapping[str, Any]) -> Plot | None:
    """Votes due over the ballot's own days."""
    planned = told["schedule"]
    counts = planned.get("ballot_votes")
    if not counts:
        return None
    step, begins = planned["ballot_step_s"], planned["ballot_from_s"]
    real = [
        (window["from_ballot_s"], window["to_ballot_s"]) for window in planned["windows"] if window["real"]
    ]
    label = (
        f"Votes due in every {saying.seconds(step)} of the ballot's own time, {saying.count(sum(counts))} in"
        " all; the stretches that the run played in real time are marked."
    )
    wide, narrow = (
        lanes.ballot_days(counts, from_s=begins, step_s=step, real=real, room=room, label=label, key="days")
        for room in ROOMS
    )
    size = max(1, -(-len(counts) // ROWS_MAX))
    rows = tuple(
        (_day(begins + at * step), saying.count(sum(counts[at : at + size])))
        for at in range(0, len(counts), size)
    )
    return Plot(
        "days", label, wide, narrow, (), ("from (day, hour)", "votes due"), rows, saying.seconds(size * step)
    )


def _day(at_s: float) -> str:
    return f"day {int(at_s // 86_400) + 1}, {int(at_s % 86_400 // 3600):02}:{int(at_s % 3600 // 60):02}"
