"""Who tried and was never counted, by the deployment's own log, and against what margin: rows of a table."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from loadtests.report import saying
from loadtests.report.reading import whole

WHY: Final = {
    "ready": "were told that their code is good, and no vote came",
    "revoked": "used only a code that had been replaced",
    "before": "tried only before it opened",
    "after": "tried only after it closed",
    "put_aside": "sent a vote that is in quarantine",
    "other": "were refused for another reason",
}
QUESTIONS_MAX: Final = 20


def kept(value: Any) -> dict[str, Any]:
    """What the report keeps of the record: numbers by reason, and the margins; empty when there is none."""
    never = value.get("never_succeeded") if isinstance(value, dict) else None
    if not isinstance(never, dict) or whole(never.get("voters")) is None:
        return {}
    why = never.get("why")
    margins = value.get("margins")
    return {
        "attempts": whole(value.get("attempts")),
        "voters": whole(never["voters"]),
        "while_open": whole(never.get("while_open")),
        "near_outage": whole(never.get("near_outage")),
        "why": {name: whole(why.get(name)) or 0 for name in WHY} if isinstance(why, dict) else {},
        "margins": [
            {
                "question": str(each.get("question"))[:80],
                "leading": str(each.get("leading"))[:80],
                "next": str(each.get("next"))[:80],
                "votes": whole(each.get("votes")),
            }
            for each in (margins if isinstance(margins, list) else [])[:QUESTIONS_MAX]
            if isinstance(each, dict)
        ],
    }


def rows(record: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The same in words: what, and how many."""
    if not record:
        return []
    found = [
        ("attempts on record beside accepted votes", saying.count(record["attempts"])),
        ("voters who tried, and from whom nothing was counted", saying.count(record["voters"])),
    ]
    found += [(f"… who {WHY[why]}", saying.count(voters)) for why, voters in record["why"].items() if voters]
    if record["near_outage"]:
        found.append(
            ("… who tried last in an outage, or just before one", saying.count(record["near_outage"]))
        )
    for margin in record["margins"]:
        what = f"votes by which {margin['leading']} is before {margin['next']} in {margin['question']}"
        found.append((what, saying.count(margin["votes"])))
    return found
