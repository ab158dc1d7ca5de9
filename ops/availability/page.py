"""The record as text for a person; times are UTC."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from ballot.encoding import format_time
from ops.availability.attempts import WHY
from ops.availability.strip import LEGEND, strip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ops.availability.attempts import Attempts
    from ops.availability.record import Record
    from ops.availability.timeline import Timeline

US = 1_000_000
OUTAGES_SHOWN_MAX = 40
HOURS_SHOWN_MAX = 48
NOT_IN_THE_LOG = (
    "An attempt that never reached the queue is not in the log of attempts, nor whose it was. Edges count"
    " those of all ballots together, monitors' own votes included; one voter who tried ten times is ten."
)


def as_text(ballot: str, record: Record, timeline: Timeline, attempts: Attempts | None) -> str:
    """The whole record for a terminal."""
    window = record.window
    opens, closes = format_time(window.opens_us), format_time(window.closes_us)
    lines = [
        f"ballot {ballot}: {window.state}, open from {opens} to {closes}",
        f"shown from {format_time(timeline.from_us)} to {format_time(timeline.to_us)}",
        "",
        *_summary(timeline),
        "",
        *strip(timeline),
        f"  {LEGEND}",
        "",
        *_outages(timeline),
    ]
    if attempts is not None:
        lines += ["", *_attempts(attempts), *_unconfirmed(record)]
    return "\n".join(lines)


def percent(share: float | None) -> str:
    """A share rounded down, so that an outage never reads as 100 %; `unknown` without one."""
    return "unknown" if share is None else f"{math.floor(share * 1_000_000) / 10_000:.4f} %"


def duration(us: int) -> str:
    """A length as days, hours, minutes and seconds; under a minute with tenths."""
    if us < 60 * US:
        return f"{us / US:.1f} s"
    seconds = us // US
    days, rest = divmod(seconds, 86_400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def _summary(timeline: Timeline) -> Iterator[str]:
    total_us = timeline.to_us - timeline.from_us
    yield (
        f"votes were taken {percent(timeline.available)} of the time on record,"
        f" which is {percent(timeline.looked_us / total_us)} of all this time"
    )
    parts = [f"{state.value} {duration(us)}" for state, us in timeline.length_us.items() if us]
    yield f"in all {duration(total_us)}: " + ", ".join(parts)


def _outages(timeline: Timeline) -> Iterator[str]:
    if not timeline.outages:
        yield "outages: none on record"
        return
    planned = sum(outage.planned for outage in timeline.outages)
    longest = max(outage.to_us - outage.from_us for outage in timeline.outages)
    yield (
        f"outages: {len(timeline.outages):,}, {planned:,} of them planned, the longest {duration(longest)}"
    )
    for outage in timeline.outages[:OUTAGES_SHOWN_MAX]:
        kind = "planned" if outage.planned else "not planned"
        span = f"{format_time(outage.from_us)}  {format_time(outage.to_us)}"
        yield f"  {span}  {duration(outage.to_us - outage.from_us):>11}  {kind}: {', '.join(outage.reasons)}"
    left_off = len(timeline.outages) - OUTAGES_SHOWN_MAX
    if left_off > 0:
        yield f"  and {left_off:,} more; --json and --csv have them all"


def _attempts(attempts: Attempts) -> Iterator[str]:
    yield f"attempts on record beside accepted votes: {attempts.attempts:,} with {attempts.codes:,} codes"
    for each in attempts.outcomes:
        if each.hour_us is None:
            yield f"  {each.kind:7} {each.outcome:14} {each.attempts:>11,} attempts {each.codes:>11,} codes"
    yield f"voters who tried, and from whom nothing was counted: {attempts.voters():,}"
    by_why = Counter[str]()
    by_hour = Counter[int]()
    for never in attempts.never:
        by_why[never.why] += never.voters
        by_hour[never.hour_us] += never.voters
    for why, text in WHY.items():
        if by_why[why]:
            yield f"  {by_why[why]:>9,} {text}"
    near = sum(never.near_outage for never in attempts.never)
    if near:
        yield f"  {near:>9,} of them tried last in an outage, or in the quarter of an hour before one"
    if by_hour:
        yield "  by the hour of their last attempt:"
    for hour_us, voters in sorted(by_hour.items())[:HOURS_SHOWN_MAX]:
        yield f"    {format_time(hour_us)}  {voters:>9,}"
    if len(by_hour) > HOURS_SHOWN_MAX:
        yield f"    and {len(by_hour) - HOURS_SHOWN_MAX:,} hours more; --json and --csv have them all"
    yield from _margins(attempts)
    yield NOT_IN_THE_LOG


def _unconfirmed(record: Record) -> Iterator[str]:
    votes = sum(hour.votes for hour in record.unconfirmed)
    access = sum(hour.access for hour in record.unconfirmed)
    yield f"could not be confirmed: {votes:,} votes, {access:,} questions of the page"
    for hour in record.unconfirmed[:HOURS_SHOWN_MAX]:
        yield f"    {format_time(hour.hour_us)}  {hour.votes:>9,} votes {hour.access:>9,} questions"
    if len(record.unconfirmed) > HOURS_SHOWN_MAX:
        left_off = len(record.unconfirmed) - HOURS_SHOWN_MAX
        yield f"    and {left_off:,} hours more; --json and --csv have them all"


def _margins(attempts: Attempts) -> Iterator[str]:
    for margin in attempts.margins or ():
        could = "could not have changed" if attempts.while_open < margin.votes else "could have changed"
        yield (
            f"{margin.question}: {margin.leading} before {margin.next} by {margin.votes:,} votes;"
            f" the {attempts.while_open:,} who tried while it was open {could} which leads"
        )
