"""What must hold of the deployment's list of who tried and never succeeded: what the crowd knows beside it.

The crowd knows who was refused after the close, and who went home without a receipt; the overlays know whose
codes they tried without voting. An attempt that got no answer may never have reached the gate.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadtests.judging.verdict import Judgement, not_recorded
from loadtests.report.reading import RunDirectory

REFUSED_AFTER: Final = ("late, refused", "at close, refused", "in the last second, refused")
UNCERTAIN: Final = (
    "no answer",
    "answered 408",
    "answered 429",
    "answered 503",
    "closed before it was confirmed",
)
"""Of these some may stand for somebody who tried, and some may not."""

OPEN: Final = "who tried while it was open and never succeeded is known to the crowd"
AFTER: Final = "who tried only after the close is on the deployment's list"


def judged(run: RunDirectory) -> Iterator[Judgement]:
    """Both judgements; none of several ballots, of which the deployment is asked about the first alone."""
    told = run.table("run.json")
    if int(told.get("ballots", 1)) > 1:
        return
    summary = run.table("summary.json")
    counts: Mapping[str, int] = summary.get("counts", {})
    listed = run.table("availability.json").get("attempts")
    if not isinstance(listed, dict) or "gave_up" not in summary:
        yield not_recorded(OPEN, "recorded by both")
        return
    never = listed["never_succeeded"]
    gave_up = int(summary["gave_up"])
    most = gave_up + sum(tried(each) for each in run.rows("overlays.json"))
    found = int(never["while_open"])
    yield Judgement(
        OPEN, f"at most {most:,}, who have no receipt", f"{found:,} on the list", ok=found <= most
    )
    least = sum(int(counts.get(name, 0)) for name in REFUSED_AFTER)
    most = least + gave_up + sum(int(counts.get(name, 0)) for name in UNCERTAIN)
    most += sum(too_late(each) for each in run.rows("overlays.json"))
    found = int(never["why"]["after"])
    must = f"{least:,}" if most == least else f"{least:,} to {most:,}"
    yield Judgement(AFTER, must, f"{found:,} on the list", ok=least <= found <= most)


def tried(overlay: Mapping[str, Any]) -> int:
    """With how many codes of others an overlay may have tried without a receipt."""
    told = overlay.get("told", {})
    receipts = int(told.get("receipts", 0))
    match overlay.get("name"):
        case "reissue":
            return int(told.get("asked", 0))
        case "replay":
            begun = sum(int(told.get(name, 0)) for name in ("codes", "closed_before", "cut_short"))
            return max(0, begun - receipts)
        case "guessing":
            return 1 - min(1, receipts)
        case _:
            return 0


def too_late(overlay: Mapping[str, Any]) -> int:
    """With the codes of how many people an overlay may have tried only after the close."""
    told = overlay.get("told", {})
    match overlay.get("name"):
        case "reissue":
            return int(told.get("got", {}).get("new code 409", 0))
        case "replay":
            return sum(int(told.get(name, 0)) for name in ("closed_before", "cut_short"))
        case "guessing":
            return 1 - min(1, int(told.get("receipts", 0)))
        case _:
            return 0
