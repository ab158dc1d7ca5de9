"""`availability.json`: a run as seen by the monitor inside, the monitor outside and the voters, side by side.

`record` is for the conductor, while the deployment still runs. `python -m loadtests.outside.agreement RUN`
judges a run again from what it left, without one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from loadtests.outside.observed import Interval, fewer, shares, within
from loadtests.outside.observers import Mark, Observer, differences, outages, unplanned_us
from loadtests.outside.voters import voters_saw
from loadtests.outside.watch import DEADLINE_SECONDS, LOOKS_FILE, pace_of, seen
from loadtests.staging.stage import Stage, StageFault

FILE = "availability.json"
INSIDE, OUTSIDE, VOTERS = "inside", "outside", "voters"
INSIDE_PERIOD_SECONDS = 5.0
INSIDE_DEADLINE_SECONDS = 3.0
#: Voters are seen by whole seconds of the moments for which they were planned.
VOTERS_BLIND_SECONDS = 2.0
#: What lies between the voters and the deployment, where a monitor does not go.
ON_THE_LINE = frozenset({"cap"})
#: What presses on the deployment so that a vote may wait; no other overlay is a reason for an outage.
FLOODS = frozenset({"botnet", "handshakes", "reloaders"})
#: The window in which a run offers more votes than can be taken: to be refused then is no riddle.
BURST = "burst"
INTERVALS_MAX = 5_000
DIFFERENCES_MAX = 100
LINES_MAX = 1_000_000
HOURS_MAX = 1_000
WHAT, MUST = "the availability record agrees", "inside, outside, voters and faults within one probe period"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = 1_000_000


def record(
    run: Path,
    stage: Stage,
    ballot: str,
    *,
    from_us: int,
    to_us: int,
    outside: Sequence[Interval] | None = None,
) -> dict[str, Any]:
    """Ask the deployment for its own record of that time, compare, and write `availability.json`.

    Before the deployment ends and after the outside monitor has; without `outside` its file in `run` is read.
    """
    inside = inside_record(stage, ballot, from_us=from_us, to_us=to_us)
    outside_period_s = pace_of(run).period_s
    if outside is None:
        outside = seen(run / LOOKS_FILE, period_s=outside_period_s)
    told = compared(
        run,
        ballot=ballot,
        window_us=(from_us, to_us),
        inside=inside,
        outside=outside,
        outside_period_s=outside_period_s,
    )
    _write(run, told)
    told["attempts"] = attempts_record(stage, ballot, result=run / "result.json")
    _write(run, told)
    return told


def inside_record(stage: Stage, ballot: str, *, from_us: int, to_us: int) -> list[Interval]:
    """The record of the monitor inside, as `ballot availability` tells it."""
    window = ("--from", rfc3339(from_us), "--to", rfc3339(to_us))
    try:
        told = json.loads(stage.run("availability", ballot, *window, "--json"))
        return [Interval.from_json(each) for each in told["intervals"]]
    except (ValueError, KeyError, TypeError) as error:
        raise StageFault(f"`ballot availability` told what cannot be read: {error}.") from error


def attempts_record(stage: Stage, ballot: str, *, result: Path) -> dict[str, Any]:
    """Who tried and never succeeded, by the deployment's own log; against the margin, if it is known."""
    margin = ("--result", str(result)) if result.exists() else ()
    try:
        told = dict(
            json.loads(stage.run("availability", ballot, "--attempts", *margin, "--json"))["attempts"]
        )
        whole = [each for each in told["outcomes"] if each["hour"] is None]
        never = dict(told["never_succeeded"])
        by_hour = list(never["by_hour"])[:HOURS_MAX]
    except (ValueError, KeyError, TypeError) as error:
        raise StageFault(f"`ballot availability --attempts` told what cannot be read: {error}.") from error
    return told | {"outcomes": whole, "never_succeeded": never | {"by_hour": by_hour}}


def rfc3339(moment_us: int) -> str:
    """A moment as commands read it, to the microsecond."""
    moment = EPOCH + timedelta(microseconds=moment_us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def compared(
    run: Path,
    *,
    ballot: str,
    window_us: tuple[int, int],
    inside: Sequence[Interval],
    outside: Sequence[Interval],
    outside_period_s: float,
) -> dict[str, Any]:
    """Everything that goes to `availability.json`; voters and marks are read from `run`."""
    from_us, to_us = window_us
    marks = list(_marks(run))
    voters = voters_saw(_seconds(run), [mark for mark in marks if mark.presses])
    blind_s = {
        INSIDE: INSIDE_PERIOD_SECONDS + INSIDE_DEADLINE_SECONDS,
        OUTSIDE: outside_period_s + DEADLINE_SECONDS,
        VOTERS: VOTERS_BLIND_SECONDS,
    }
    observers = [
        Observer(name, within(intervals, from_us, to_us), round(blind_s[name] * US), monitor=name != VOTERS)
        for name, intervals in ((INSIDE, inside), (OUTSIDE, outside), (VOTERS, voters))
    ]
    found = outages(observers, marks)
    told = differences(observers, marks, found, from_us=from_us)
    return {
        "ballot": ballot,
        "from_us": from_us,
        "to_us": to_us,
        "period_s": outside_period_s,
        "periods_s": {INSIDE: INSIDE_PERIOD_SECONDS, OUTSIDE: outside_period_s},
        **{each.name: [one.as_json() for one in fewer(each.intervals, INTERVALS_MAX)] for each in observers},
        "left_off": sum(max(0, len(each.intervals) - INTERVALS_MAX) for each in observers),
        "unplanned_s": round(unplanned_us(found, marks) / US, 3),
        "outages": [outage.as_json() for outage in found[:INTERVALS_MAX]],
        "available": {each.name: shares(each.intervals)[0] for each in observers},
        "looked": {each.name: shares(each.intervals)[1] for each in observers},
        "agree": not told,
        "differences": told[:DIFFERENCES_MAX],
        "differences_count": len(told),
    }


def judgement(availability: Mapping[str, Any]) -> tuple[str, str, str, bool]:
    """What was judged, what must hold, what was found, and whether it holds."""
    if "agree" not in availability:
        return WHAT, MUST, "not recorded", False
    if availability["agree"]:
        outages_seen = len(availability["outages"])
        return WHAT, MUST, f"agrees; {outages_seen} outages" if outages_seen else "agrees; no outage", True
    return WHAT, MUST, str(availability["differences"][0]), False


def _seconds(run: Path) -> Iterator[Mapping[str, Any]]:
    """The lines of `seconds.jsonl` that are whole."""
    for line in _lines(run / "seconds.jsonl"):
        if isinstance(line.get("outcomes"), dict) and isinstance(line.get("s"), int):
            yield line


def _marks(run: Path) -> Iterator[Mark]:
    """The faults and overlays of `marks.jsonl`, and those that an overlay's own lines tell of."""
    for path in (run / "marks.jsonl", *sorted((run / "overlays").glob("*.jsonl"))):
        for line in _lines(path):
            inner = line.get("marks")
            for mark in inner if isinstance(inner, list) else [line]:
                if isinstance(mark, dict) and _may_stop(mark):
                    with suppress(KeyError, TypeError, ValueError):
                        yield _mark(mark)


def _may_stop(fields: Mapping[str, Any]) -> bool:
    """Whether it is something that may keep votes from being taken: a fault, a capped line, a flood."""
    kind, name = fields.get("kind"), fields.get("name")
    return kind == "fault" or name == BURST or (kind == "overlay" and name in ON_THE_LINE | FLOODS)


def _mark(fields: Mapping[str, Any]) -> Mark:
    told = fields.get("told")
    from_us = int(fields["from_us"])
    to_us = from_us if fields.get("to_us") is None else max(from_us, int(fields["to_us"]))
    expects_down = isinstance(told, dict) and told.get("expects_down") is True
    name = str(fields["name"])[:80]
    return Mark(
        name,
        from_us,
        to_us,
        expects_down=expects_down,
        on_the_line=name in ON_THE_LINE,
        flood=name in FLOODS,
        overload=name == BURST,
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON objects of a file, a line each; what a kill tore is left out, and nothing is read for ever."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number >= LINES_MAX:
                return
            with suppress(ValueError):
                told = json.loads(line)
                if isinstance(told, dict):
                    yield told


def _write(run: Path, told: Mapping[str, Any]) -> None:
    draft = run / (FILE + ".draft")
    draft.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    draft.replace(run / FILE)


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(run: Path) -> None:
    """Judge the availability record of RUN again from its files, and write it anew."""
    try:
        before = json.loads((run / FILE).read_text(encoding="utf-8"))
        told = compared(
            run,
            ballot=str(before["ballot"]),
            window_us=(int(before["from_us"]), int(before["to_us"])),
            inside=[Interval.from_json(each) for each in before[INSIDE]],
            outside=[Interval.from_json(each) for each in before[OUTSIDE]],
            outside_period_s=float(before["period_s"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{run} has no availability record that can be read: {error}") from error
    if "attempts" in before:
        told["attempts"] = before["attempts"]
    _write(run, told)
    click.echo(judgement(told)[2])
    for difference in told["differences"]:
        click.echo(difference)
    raise SystemExit(0 if told["agree"] else 1)


if __name__ == "__main__":
    main()
