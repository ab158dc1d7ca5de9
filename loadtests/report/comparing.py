"""The page that shows two runs side by side, with the curves of both on one clock."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from loadtests.report import saying
from loadtests.report.axis import Values, add, keep_most, mean
from loadtests.report.drawing import Backdrop, Line, Panel, Reduce
from loadtests.report.page import environment, style
from loadtests.report.plotting import Plot, plotted
from loadtests.report.rows import Comparison
from loadtests.report.words import SIGNS, WORDS, heading

NAME: Final = "compare.html"
Told = Mapping[str, Any]


def render(compared: Comparison, runs: Sequence[Told]) -> str:
    """The page."""
    sides = [
        {
            "letter": letter,
            "name": name,
            "heading": heading(told),
            "verdict": told["verdict"]["verdict"],
            "word": WORDS[told["verdict"]["verdict"]],
            "sign": SIGNS[told["verdict"]["verdict"]],
            "command": told["run"].get("command"),
        }
        for letter, name, told in zip("AB", compared.names, runs, strict=True)
    ]
    return (
        environment()
        .get_template(NAME)
        .render(
            css=style(),
            sides=sides,
            cautions=compared.cautions,
            groups=[(name, list(rows)) for name, rows in groupby(compared.rows, key=lambda row: row.group)],
            plot=curves(runs),
        )
    )


def curves(runs: Sequence[Told]) -> Plot | None:
    """Votes accepted, waiting and queue of both, counted from each one's first vote."""
    axes = [told["axis"] for told in runs]
    if not all(axes):
        return None
    step = max(axis["step_s"] for axis in axes)
    steps = max(-(-axis["steps"] * axis["step_s"] // step) for axis in axes)

    def both(values: Sequence[Values | None], reduce: Reduce) -> tuple[Line, ...]:
        return tuple(
            Line(f"run {letter}", on_steps(of or [], axis["step_s"], step, steps, reduce), reduce)
            for letter, of, axis in zip("AB", values, axes, strict=True)
        )

    told = [run["curves"] for run in runs]
    panels = (
        Panel(
            "votes accepted a second",
            both([one.get("rates", {}).get("accepted") for one in told], mean),
            saying.rate,
        ),
        Panel(
            "99 of 100 had their receipt within",
            both([one.get("latency_ms", {}).get("p99") for one in told], max),
            saying.milliseconds,
            log=True,
        ),
        Panel(
            "votes in the queue", both([one.get("queue_depth") for one in told], max), saying.rate, height=110
        ),
    )
    label = "Votes accepted a second, waiting time and queue of both runs, each counted from its first vote."
    return plotted("both", label, panels, Backdrop(float(steps * step)))


def on_steps(values: Values, step_s: int, wider_s: int, steps: int, reduce: Reduce) -> Values:
    """A curve of steps of `step_s` seconds on steps of `wider_s`."""
    told: Values = [None] * steps
    counts: Values = [None] * steps
    for at, value in enumerate(values):
        into = at * step_s // wider_s
        if into >= steps or value is None:
            continue
        if reduce is mean:
            add(told, into, value)
            add(counts, into, 1)
        else:
            keep_most(told, into, value)
    if reduce is not mean:
        return told
    return [
        None if value is None or not many else value / many for value, many in zip(told, counts, strict=True)
    ]
