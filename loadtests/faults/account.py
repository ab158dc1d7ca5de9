"""How a run reads: a table by kind, a line a run in a history file, and the sum of such a file."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from loadtests.faults.events import Account, Event

HEADING = (
    *("fault", "times", "votes", "resumed", "slowest", "pause", "later", "no answer"),
    *("lost", "doubled"),
)
LEGEND = (
    "resumed, slowest: seconds to the first accepted vote, median and longest, from the death of a part",
    "that others stand in for, else from the return of what was away. pause: the longest time without one,",
    "fault included. later: answers 503 and 429, safe to try again. no answer: the connection broke, or",
    "nothing came in time.",
)


class HistoryFault(ValueError):  # noqa: N818  # a fault in a file
    """What is wrong with a history file, in one sentence."""


def table(events: Sequence[Event]) -> str:
    """One line a kind of fault, and the sums."""
    kinds = sorted({event.kind for event in events})
    rows = [_row(kind, [event for event in events if event.kind == kind]) for kind in kinds]
    return _aligned([HEADING, *rows, _row("all", events)])


def _row(name: str, events: Sequence[Event]) -> tuple[str, ...]:
    resumed = [event.resumed_s for event in events if event.resumed_s >= 0]
    never = len(resumed) < len(events)
    return (
        name,
        f"{len(events):,}",
        f"{sum(event.votes for event in events):,}",
        f"{median(resumed):.2f} s" if resumed else "never",
        "never" if never else f"{max(resumed, default=0):.2f} s",
        f"{max((event.pause_s for event in events), default=0):.2f} s",
        f"{sum(event.asked_later for event in events):,}",
        f"{sum(event.unanswered for event in events):,}",
        f"{sum(event.lost for event in events):,}",
        f"{sum(event.doubled for event in events):,}",
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row: tuple[str, ...]) -> str:
        first, *numbers = (text.rjust(width) for text, width in zip(row, widths, strict=True))
        return "  ".join((first.strip().ljust(widths[0]), *numbers))

    heading, *others, last = map(line, rows)
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([heading, rule, *others, rule, last])


def keep(account: Account, history: Path) -> None:
    """Append the run to a history."""
    with history.open("a", encoding="utf-8") as file:
        file.write(json.dumps(account.to_dict()) + "\n")


def summed(history: Path) -> tuple[str, bool]:
    """What all runs in a history come to, and whether nothing was wrong in any."""
    runs = _runs(history)
    faults: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    for run in runs:
        faults.update(run["faults"])
        kills.update(run["kills_by_kind"])
        for kind, seconds in run["slowest_s"].items():
            slowest[kind] = max(seconds, slowest.get(kind, 0.0))
    rows = [
        (kind, f"{times:,}", f"{kills[kind]:,}", f"{slowest.get(kind, 0.0):.2f} s")
        for kind, times in sorted(faults.items())
    ]
    total = ("all", f"{faults.total():,}", f"{kills.total():,}", f"{max(slowest.values(), default=0):.2f} s")
    wrong = [f"seed {run['seed']}: {what}" for run in runs for what in run["wrong"]]
    sums = {name: sum(run[name] for run in runs) for name in ("votes", "lost", "doubled")}
    seeds = ", ".join(str(run["seed"]) for run in runs)
    losses = f"lost {sums['lost']:,}, doubled {sums['doubled']:,}"
    lines = [
        _aligned([("fault", "times", "kills", "slowest"), *rows, total]),
        "",
        f"runs {len(runs):,}, seeds {seeds}",
        f"votes {sums['votes']:,}, kills {kills.total():,}, {losses}",
        *wrong,
    ]
    return "\n".join(lines), not wrong and not sums["lost"] and not sums["doubled"]


def _runs(history: Path) -> list[Mapping[str, Any]]:
    wanted = {"seed", "faults", "kills_by_kind", "slowest_s", "votes", "lost", "doubled", "wrong"}
    try:
        runs = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise HistoryFault(f"The history {history} cannot be read: {error}.") from error
    if not all(isinstance(run, dict) and run.keys() >= wanted for run in runs):
        raise HistoryFault(f"{history} is not a history of fault runs, or a line of it is cut off.")
    return runs
