"""The record for a program: one JSON object, or CSV with a row each. Times are UTC."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from ballot.encoding import format_time
from ops.availability.attempts import WHILE_OPEN, WHY
from ops.availability.page import NOT_IN_THE_LOG

if TYPE_CHECKING:
    from ops.availability.attempts import Attempts
    from ops.availability.record import Record
    from ops.availability.timeline import Outage, Stretch, Timeline

US = 1_000_000


def as_json(ballot: str, record: Record, timeline: Timeline, attempts: Attempts | None) -> str:
    """Everything for a program."""
    window = record.window
    told: dict[str, Any] = {
        "ballot": ballot,
        "state": window.state,
        "opens": format_time(window.opens_us),
        "closes": format_time(window.closes_us),
        "from": format_time(timeline.from_us, decimals=6),
        "to": format_time(timeline.to_us, decimals=6),
        "available": timeline.available,
        "available_of_all": timeline.available_of_all,
        "seconds": {state.value: us / US for state, us in timeline.length_us.items()},
        "outages": [_outage(outage) for outage in timeline.outages],
        "intervals": [_stretch(stretch) for stretch in timeline.stretches],
        "monitors": [
            {
                "name": name,
                "intervals": [
                    _span(each.started_us, each.ended_us) | {"state": each.state.value, "reason": each.reason}
                    for each in lane
                ],
            }
            for name, lane in record.lanes.items()
        ],
        "service": [
            {
                "at": format_time(turn.at_us, decimals=6),
                "host": turn.host,
                "started": turn.started,
                "asked": turn.asked,
            }
            for turn in sorted(record.turns, key=lambda turn: turn.at_us)
        ],
    }
    if attempts is not None:
        told["attempts"] = _attempts_told(attempts) | {"not_confirmed": _unconfirmed(record)}
    return json.dumps(told, indent=2)


def _span(from_us: int, to_us: int) -> dict[str, Any]:
    return {
        "from": format_time(from_us, decimals=6),
        "to": format_time(to_us, decimals=6),
        "from_us": from_us,
        "to_us": to_us,
    }


def _stretch(stretch: Stretch) -> dict[str, Any]:
    rest = {"state": stretch.state.value, "reason": stretch.reason, "planned": stretch.planned}
    return _span(stretch.from_us, stretch.to_us) | rest


def _outage(outage: Outage) -> dict[str, Any]:
    rest = {
        "seconds": (outage.to_us - outage.from_us) / US,
        "planned": outage.planned,
        "reason": ", ".join(outage.reasons),
    }
    return _span(outage.from_us, outage.to_us) | rest


def _attempts_told(attempts: Attempts) -> dict[str, Any]:
    return {
        "attempts": attempts.attempts,
        "codes": attempts.codes,
        "outcomes": [
            {
                "hour": None if each.hour_us is None else format_time(each.hour_us),
                "kind": each.kind,
                "outcome": each.outcome,
                "attempts": each.attempts,
                "codes": each.codes,
            }
            for each in attempts.outcomes
        ],
        "never_succeeded": {
            "voters": attempts.voters(),
            "while_open": attempts.while_open,
            "near_outage": sum(each.near_outage for each in attempts.never),
            "why": {why: attempts.voters(why) for why in WHY},
            "by_hour": [
                {
                    "hour": format_time(each.hour_us),
                    "why": each.why,
                    "voters": each.voters,
                    "codes": each.codes,
                    "attempts": each.attempts,
                }
                for each in attempts.never
            ],
        },
        "margins": None
        if attempts.margins is None
        else [
            {
                "question": margin.question,
                "leading": margin.leading,
                "next": margin.next,
                "votes": margin.votes,
                "could_have_changed": attempts.while_open >= margin.votes,
            }
            for margin in attempts.margins
        ],
        "not_in_the_log": NOT_IN_THE_LOG,
    }


def _unconfirmed(record: Record) -> dict[str, Any]:
    return {
        "votes": sum(hour.votes for hour in record.unconfirmed),
        "access": sum(hour.access for hour in record.unconfirmed),
        "by_hour": [
            {"hour": format_time(hour.hour_us), "votes": hour.votes, "access": hour.access}
            for hour in record.unconfirmed
        ],
    }


def as_csv(record: Record, timeline: Timeline, attempts: Attempts | None) -> str:
    """The intervals a row each; with attempts these instead, by hour."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    if attempts is None:
        rows.writerow(("from", "to", "seconds", "state", "planned", "reason"))
        for each in timeline.stretches:
            span = _span(each.from_us, each.to_us)
            seconds = f"{(each.to_us - each.from_us) / US:.6f}"
            planned = "yes" if each.planned else "no"
            rows.writerow((span["from"], span["to"], seconds, each.state.value, planned, each.reason))
        return written.getvalue()
    rows.writerow(("what", "hour", "kind", "outcome", "attempts", "codes", "voters"))
    for outcome in attempts.outcomes:
        if outcome.hour_us is not None:
            counts = (outcome.attempts, outcome.codes, "")
            rows.writerow(("attempts", format_time(outcome.hour_us), outcome.kind, outcome.outcome, *counts))
    for never in attempts.never:
        who = (never.attempts, never.codes, never.voters)
        kind = "while open" if never.why in WHILE_OPEN else "outside the window"
        rows.writerow(("never succeeded", format_time(never.hour_us), kind, never.why, *who))
    for hour in record.unconfirmed:
        for kind, count in (("vote", hour.votes), ("access", hour.access)):
            rows.writerow(("all ballots", format_time(hour.hour_us), kind, "not_confirmed", count, "", ""))
    return written.getvalue()
