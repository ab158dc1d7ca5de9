"""What a drill found: whether that is a success, as it is kept, and in words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from ballot.encoding import format_time
from ops.backup import drill_loss, drill_people
from ops.backup.restore import time_or_none
from ops.backup.settings import BackupSettings

if TYPE_CHECKING:
    from ops.backup.drill import Drill

LATE_TIMES: Final = 4
"""A copy of the queue that is older than so many periods is not made any more."""


def compared(trial: Drill, living: drill_loss.Held | None, held: drill_loss.Held) -> list[str]:
    """What makes the drill fail of what the living have; that they were not asked proves nothing either."""
    if living is None:
        return [
            (
                "The living servers could not be asked, so that nothing was compared with them: see why; "
                "if there are none any more, give --no-living."
            )
        ]
    rows = drill_loss.lost(living.ballots, held.ballots)
    return [
        *drill_loss.faults(rows, trial.settled_us, trial.asked.lost_max),
        *drill_people.faults(living.people, held.people, trial.settled_us),
    ]


def queue_faults(trial: Drill, began: int, *, own: bool) -> list[str]:
    """Copies of an embedded queue that are not made, or not any more."""
    if not (own and trial.home.embedded):
        return []
    if trial.queue_us is None:
        return ["There are no copies of the queue."]
    late_us = LATE_TIMES * BackupSettings.of(os.environ).every_s * 1_000_000
    if trial.asked.wanted.at is None and began - trial.queue_us > late_us:
        return [f"The newest copy of the queue is of {format_time(trial.queue_us)}: look why."]
    return []


def of(trial: Drill, began: int, living: drill_loss.Held | None, held: drill_loss.Held) -> dict[str, Any]:
    """What is kept and shown of a drill."""
    return {
        "at": format_time(began),
        "asked": time_or_none(trial.asked.wanted.at),
        "restored": trial.restored,
        "faults": trial.faults,
        "steps": [step.as_json() for step in trial.steps.done],
        "seconds": round(trial.steps.seconds, 2),
        "checks": trial.checks,
        "differences": sum(check["differences"] for check in trial.checks),
        "lost": None if living is None else drill_loss.lost(living.ballots, held.ballots),
        "people": {"living": None if living is None else living.people, "restored": held.people},
    }


def as_text(trial: Drill, report: dict[str, Any]) -> str:
    """The report for a person."""
    lines = [trial.steps.as_text()]
    if report["lost"] is not None:
        lines.append(drill_loss.as_text(report["lost"]))
    lines += [f"userdb: {count:,} {kind}" for kind, count in sorted(report["people"]["restored"].items())]
    for check in report["checks"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(check["counts"].items()))
        lines.append(
            f"{check['ballot']}: differences: {check['differences']}" + (f" ({kinds})" if kinds else "")
        )
    if report["kept"]:
        lines.append(f"Kept in {report['kept']}, copies of the secrets included: remove it when done.")
    lines += [f"{what} came back up to {_up_to(each)}" for what, each in sorted(report["restored"].items())]
    lines += [f"FAILED: {fault}" for fault in report["faults"]]
    return "\n".join([*lines, f"differences: {report['differences']}", f"Report: {report['report']}"])


def _up_to(restored: dict[str, Any]) -> str:
    last = restored["last_transaction"] or "its base backup"
    return last if restored["reached"] else f"{last}, and nothing later is in the backups"
