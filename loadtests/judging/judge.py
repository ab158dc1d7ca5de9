"""Everything that must hold of a run, put together; `python -m loadtests.judging DIR` judges it again."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from loadtests.judging import (
    judged_extension,
    judged_openings,
    judged_times,
    judged_tried,
    judged_turnout,
    judged_voters,
    judged_votes,
)
from loadtests.judging.verdict import Judgement, Verdict, Weight, not_recorded
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import BUGS


def judge(folder: Path) -> Verdict:
    """The verdict on the run in `folder`; whatever is missing there speaks against it."""
    run = RunDirectory(folder)
    parts = (
        judged_votes.judged,
        judged_voters.judged,
        judged_times.judged,
        judged_turnout.judged,
        judged_tried.judged,
        judged_openings.judged,
        judged_extension.judged,
        overlays,
    )
    return Verdict(tuple(judgement for part in parts for judgement in _of(part, run)))


def _of(part: Callable[[RunDirectory], Iterator[Judgement]], run: RunDirectory) -> Iterator[Judgement]:
    """What that part judges; a file of a form that nobody foresaw speaks against the run, not for it."""
    try:
        yield from part(run)
    except Exception as error:  # noqa: BLE001  # a verdict comes out all the same
        what = part.__module__.rpartition(".")[2].removeprefix("judged_")
        with (run.folder / BUGS).open("a", encoding="utf-8") as told:
            told.write(traceback.format_exc())
        yield Judgement(
            f"all of the run's {what} can be judged", "every file of it can be read", repr(error), ok=False
        )


def overlays(run: RunDirectory) -> Iterator[Judgement]:
    """What each overlay expected of the system, as it was judged when it ended; none may be forgotten."""
    asked = run.table("run.json").get("overlays", [])
    judged = run.rows("overlays.json") if asked else []
    for name in sorted({*asked} - {told.get("name") for told in judged}):
        yield not_recorded(f"{name}: what it got", "told and judged")
    for told in judged:
        for each in told.get("judgements", ()):
            weight = Weight.VOIDS if each.get("void") else Weight.FAILS
            what = f"{told['name']}: {each['what']}"
            yield Judgement(what, each["must"], each["found"], ok=bool(each["ok"]), weight=weight)
