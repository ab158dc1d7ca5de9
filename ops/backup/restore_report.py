"""What a restore did, in words: what there is again, where the old is, and what must be done next."""

from __future__ import annotations

from typing import Any, Final, get_args

from ballot.encoding import format_time
from ops.backup.keys import What


def as_text(report: dict[str, Any]) -> str:
    """The report for a person: what was done, where the old is, and what to do next."""
    what = report["what"]
    lines = [
        f"{step['step']:<34} {step['seconds']:8.1f} s  {step['note']}".rstrip() for step in report["steps"]
    ]
    last = report["last_transaction"]
    lines.append(f"{what} is restored from {report['backups'][-1]}" + (f", up to {last}." if last else "."))
    if not report.get("reached", True):
        lines.append(
            f"Nothing later is in the backups, all of whose WAL was replayed to come to {report['asked']}. "
            f"The newest of it came at {report['reaches']}: what was committed after that is not here."
        )
    lines += [f"  {name}: {_held(value)}" for name, value in sorted(report["holds"].items())]
    if "directory" in report:
        return "\n".join([*lines, f"It is in {report['directory']}; nothing else was changed."])
    if report["aside"]:
        lines.append(
            f"What was there before is in {report['aside']}: remove it when nobody needs it any more."
        )
    if report["missing_keys"]:
        names = ", ".join(f"{name}.key" for name in report["missing_keys"])
        lines.append(f"This home lacks {names}: put them into secrets/ from their copy, or nothing starts.")
    if not report["event"]:
        lines.append("The restore could not be written into the audit log; this report is its only trace.")
    if not report["noted"]:
        lines.append(NOT_NOTED)
    lines.append(NEXT[what])
    if what == "voterdb" and report["asked"] is not None:
        lines.append(NOT_IN_THE_QUEUE)
    return "\n".join([*lines, f"Report: {report['report']}"])


NOT_NOTED: Final = (
    "The restore could not be written into the list of backups: make a full backup (`ballot backup now "
    "--full`) before anything is restored again, or that may go back to the time that was given up now."
)
NOT_IN_THE_QUEUE: Final = (
    "Votes stored after that moment come back as far as the queue still holds them; it lets go of what later "
    "backups cover. `ballot check` names any that are missing: restore without --at to have them."
)
NEXT: Final[dict[str, str]] = {
    "voterdb": (
        "Next: `ballot up`; the workers store again what the queue still holds. Then `ballot check` on every "
        "ballot: differences must be 0; if they are not, `ballot recover`. The next backup is a full one."
    ),
    "userdb": "Next: `ballot up`. The next backup is a full one.",
    "queue": (
        "Next: `ballot recover`; no vote is taken before. Then `ballot up`, and `ballot check` on every "
        "ballot."
    ),
}
assert NEXT.keys() == set(get_args(What))  # noqa: S101  # fixed here, for whoever adds a fourth


def _held(value: Any) -> str:
    if isinstance(value, dict):
        newest = value.get("newest_us")
        return f"{value.get('stored')} votes" + (f", the newest of {format_time(newest)}" if newest else "")
    return ", ".join(value) if isinstance(value, list) else str(value)
