"""`report.html`: the report as one page that needs nothing else, made from what is in report.json."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loadtests.report import plots, saying, tables, tried, words
from loadtests.report.days import days
from loadtests.report.drawing import Backdrop
from loadtests.report.plotting import Plot, backdrop

FOLDER: Final = Path(__file__).resolve().parent
NAME: Final = "report.html"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page around one plot."""

    anchor: str
    title: str
    intro: str
    make: Callable[[Mapping[str, Any], Backdrop], Plot | None]


MEASURED: Final = (
    Section(
        "arrivals",
        "Votes due, sent and accepted",
        "Whether the votes came as planned, and were taken as they came.",
        plots.arrivals,
    ),
    Section(
        "answers",
        "How long voters waited",
        "From the moment when a vote was due until its receipt was there.",
        plots.answers,
    ),
    Section(
        "refusals",
        "Answers other than a receipt",
        "Whoever is turned away must be told whether it is safe to try again. Wrong, used and foreign codes"
        " are tried on purpose.",
        plots.refusals,
    ),
    Section(
        "queue",
        "The queue and storing",
        "An accepted vote is on disk in the queue, and goes to the voter database from there.",
        plots.queue,
    ),
    Section(
        "availability",
        "When votes could be cast",
        "Two monitors that cast votes of their own, one inside and one outside, beside what the voters met."
        " A line is time in which votes could be cast, a hatched block time in which they could not.",
        plots.availability,
    ),
    Section(
        "resources",
        "Processors and memory",
        "What each kind of process used. One core is one processor in full use.",
        plots.resources,
    ),
    Section(
        "lateness",
        "Whether the load was the planned one",
        "A generator that falls behind its own schedule tests less than it says; so its delay is measured.",
        plots.lateness,
    ),
)


def render(told: Mapping[str, Any]) -> str:
    """The page for a report."""
    return environment().get_template(NAME).render(**view(told))


@cache
def environment() -> Environment:
    """The templates beside this file; a name that is missing in one is an error."""
    made = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["cells"] = lambda row: (row.what, row.first, row.second, row.change)
    made.filters["first_up"] = lambda text: f"{str(text)[:1].upper()}{str(text)[1:]}"
    return made


def style() -> str:
    """The style sheet, to stand in the page."""
    return (FOLDER / "report.css").read_text(encoding="utf-8")


def view(told: Mapping[str, Any]) -> dict[str, Any]:
    """Every name in the template."""
    verdict = told["verdict"]["verdict"]
    back = backdrop(told)
    measured = [
        (part.anchor, part.title, part.intro, None if back is None else part.make(told, back))
        for part in MEASURED
    ]
    described = sorted(told["verdict"]["judgements"], key=lambda row: (row["ok"] is True, row["void"]))
    return {
        "css": style(),
        "word": words.WORDS[verdict],
        "sign": words.SIGNS[verdict],
        "verdict": verdict,
        "heading": words.heading(told),
        "began": saying.moment(told["run"].get("started_at")),
        "lead": words.lead(told),
        "broken": words.broken(told),
        "wrong": words.wrong(told),
        "facts": words.facts(told),
        "scaled": words.scaled(told),
        "judgements": described,
        "plots": _plots(told, back),
        "measured": measured,
        "windows": tables.windows(told),
        "all_real": all(window["real"] for window in told["schedule"].get("windows", [])),
        "real_time": any(window["real"] for window in told["schedule"].get("windows", [])),
        "marks_there": bool(told["marks"]),
        "done": tables.done(told),
        "phases": tables.phases(told),
        "intervals": tables.intervals(told),
        "disagreements": told["availability"].get("differences", []),
        "tried": tried.rows(told["availability"].get("attempts", {})),
        "processes": tables.processes(told),
        "quiet": tables.quiet(told),
        "voters": tables.voters(told),
        "command": told["run"].get("command"),
        "machine": tables.machine(told),
        "missing": told["not_recorded"],
        "faults": told["faults"],
        "sections": [
            ("judgements", "What had to hold"),
            ("figures", "Published and counted"),
            ("books", "The books"),
            ("days", "How the ballot's days were played"),
            ("happened", "What was done to it, and when"),
            *((anchor, title) for anchor, title, _, _ in measured),
            ("repeat", "How to repeat it"),
            ("limits", "What this run does not show"),
        ],
        **tables.books(told),
        **tables.figures(told),
    }


def _plots(told: Mapping[str, Any], back: Backdrop | None) -> dict[str, Plot | None]:
    return {
        "days": days(told),
        "happened": None if back is None else plots.happened(told, back),
    }
