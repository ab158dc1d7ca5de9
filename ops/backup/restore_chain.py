"""Which backups together give the state at a moment: a base, what was added to it, and the WAL after it.

After a restore a cluster goes on in a new timeline: what it had written after the moment it went back to is
then no longer its past. Every moment is restored in the timeline that was the cluster's own at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ballot.encoding import Malformed, format_time, parse_time
from ops.backup.catalogue import BASE_KINDS, CHAIN_MAX, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEGMENT_BYTES: Final = 16 << 20
SEGMENTS_IN_A_LOG: Final = 256
NAME_DIGITS: Final = 24
BEYOND: Final = 2
"""Segments taken beyond the moment: PostgreSQL must see a later commit to know that it was reached."""


@dataclass(frozen=True, slots=True)
class Restored:
    """An earlier restore: when it was, the timeline that began there, and from which ones it descends."""

    at: int
    timeline: int
    history: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What to open, in order, and how far it reaches; `histories` are the timelines' own, by file name."""

    bases: tuple[Entry, ...]
    wal: tuple[Entry, ...]
    timeline: int
    histories: Mapping[str, str]
    reaches: int
    switches: Mapping[int, int]
    """Where each earlier timeline of this one's history ended."""
    whole: bool = True
    """Whether all WAL that there is was taken: the moment that was asked for is not before its end."""
    gap: str | None = None
    """The first segment that is missing although later ones are there."""

    @property
    def last(self) -> Entry:
        """The base that the WAL is added to."""
        return self.bases[-1]

    @property
    def next_segment(self) -> int:
        """The number of the segment that would go on where this ends."""
        taken = [segment_number(entry.segment or "") for entry in self.wal if _is_segment(entry)]
        ends = _place(self.last.end_lsn or self.last.start_lsn or "0/0")
        return max([each + 1 for each in taken], default=ends // SEGMENT_BYTES + 1)

    def is_its(self, segment: str) -> bool:
        """Whether a segment belongs to the timeline that is followed, or to one that it comes from."""
        return _belongs(segment, self.timeline, self.switches)

    @property
    def bytes(self) -> int:
        """What will be read."""
        return sum(entry.bytes for entry in (*self.bases, *self.wal))

    @property
    def room(self) -> int:
        """What the scratch place may come to hold, generously: parts, their sum, WAL and its replay."""
        parts = sum(entry.bytes for entry in self.bases)
        whole = self.bases[0].bytes if len(self.bases) > 1 else 0
        return parts + whole + 2 * (len(self.wal) + BEYOND) * SEGMENT_BYTES


def restores(facts: Sequence[Mapping[str, Any]]) -> tuple[Restored, ...]:
    """The earlier restores, oldest first; a line that is none is passed over."""
    found = []
    for fact in facts:
        try:
            if fact["fact"] == "restored":
                found.append(Restored(parse_time(fact["at"]), int(fact["timeline"]), str(fact["history"])))
        except (KeyError, TypeError, ValueError, Malformed):
            continue
    return tuple(sorted(found, key=lambda each: each.at))


def choose(
    entries: Sequence[Entry],
    restored: Sequence[Restored],
    *,
    what: str,
    at: int | None = None,
    base: str | None = None,
) -> Chain:
    """The chain for the moment `at`, or for the newest state; a plain sentence if something is missing.

    `base` names the backup to begin from, for whoever lacks a newer one.
    """
    live = {entry.id: entry for entry in entries if not entry.deleted}
    bases = [entry for entry in live.values() if entry.kind in BASE_KINDS]
    if not bases:
        raise click.ClickException(f"There is no backup of {what} here.")
    before = [each for each in restored if at is None or each.at <= at]
    timeline, switches = _followed(before, bases, at)
    fitting = [
        entry
        for entry in bases
        if (at is None or entry.ended <= at)
        and (base is None or entry.id == base)
        and _is_past(entry, timeline, switches)
        and (entry.verified is not False or base is not None)
    ]
    if not fitting:
        raise click.ClickException(_why_none(bases, what, at=at, base=base))
    newest = max(fitting, key=lambda entry: (entry.started, entry.id))
    chain = _parents(newest, live)
    wal, gap = _segments(live.values(), newest, timeline, switches)
    reaches = max([newest.ended, *(entry.started for entry in wal)])
    taken = wal if at is None else _enough(wal, at)
    histories = {f"{each.timeline:08X}.history": each.history for each in restored if each.history}
    return Chain(
        chain,
        (*_histories(live.values()), *taken),
        timeline,
        histories,
        reaches,
        switches,
        whole=taken == wal and gap is None,
        gap=gap,
    )


def segment_number(name: str) -> int:
    """The place of a segment in the WAL, whatever its timeline."""
    return int(name[8:16], 16) * SEGMENTS_IN_A_LOG + int(name[16:24], 16)


def _place(lsn: str) -> int:
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def _followed(
    before: Sequence[Restored], bases: Sequence[Entry], at: int | None
) -> tuple[int, dict[int, int]]:
    """The timeline that was live at the moment, and where each of its ancestors ended."""
    taken = [entry for entry in bases if entry.timeline and (at is None or entry.ended <= at)]
    newest = max(taken, key=lambda entry: entry.started, default=None)
    if before and (newest is None or newest.started <= before[-1].at):
        timeline = before[-1].timeline
    else:
        timeline = newest.timeline or 1 if newest is not None else 1
    switches = {}
    for each in before:
        if each.timeline == timeline:
            for line in each.history.splitlines():
                words = line.split("\t")
                if len(words) > 1 and words[0].strip().isdecimal() and "/" in words[1]:
                    switches[int(words[0])] = _place(words[1].strip())
    return timeline, switches


def _is_past(entry: Entry, timeline: int, switches: Mapping[int, int]) -> bool:
    """Whether a base is of the timeline, or of an ancestor and from before the timelines parted."""
    own = entry.timeline or 1
    if own == timeline:
        return True
    return own in switches and entry.end_lsn is not None and _place(entry.end_lsn) <= switches[own]


def _parents(newest: Entry, live: Mapping[str, Entry]) -> tuple[Entry, ...]:
    chain = [newest]
    while chain[-1].kind != "full":
        parent = live.get(chain[-1].parent or "")
        if parent is None or len(chain) == CHAIN_MAX:
            raise click.ClickException(
                f"The backup {newest.id} adds to {chain[-1].parent}, which is missing. Put its file back, or "
                "begin from an older backup with --base ID: the WAL after it is replayed."
            )
        chain.append(parent)
    return tuple(reversed(chain))


def _histories(live: Any) -> list[Entry]:
    return [entry for entry in live if entry.kind == "wal" and not _is_segment(entry)]


def _is_segment(entry: Entry) -> bool:
    return entry.kind == "wal" and len(entry.segment or "") == NAME_DIGITS


def _belongs(segment: str, timeline: int, switches: Mapping[int, int]) -> bool:
    own = int(segment[:8], 16)
    return own == timeline or (own in switches and segment_number(segment) <= switches[own] // SEGMENT_BYTES)


def _segments(
    live: Any, newest: Entry, timeline: int, switches: Mapping[int, int]
) -> tuple[tuple[Entry, ...], str | None]:
    """The WAL after the base, in one unbroken line, and the first segment that is missing from it."""
    chosen: dict[int, Entry] = {}
    for entry in live:
        name = entry.segment or ""
        if not _is_segment(entry) or not _belongs(name, timeline, switches):
            continue
        own, number = int(name[:8], 16), segment_number(name)
        known = chosen.get(number)
        if known is None or own >= int((known.segment or "0")[:8], 16):
            chosen[number] = entry
    first = _place(newest.start_lsn or "0/0") // SEGMENT_BYTES
    end = _place(newest.end_lsn or newest.start_lsn or "0/0") // SEGMENT_BYTES
    wanted = {number: entry for number, entry in chosen.items() if number >= first}
    for number in range(end + 1, max(wanted, default=0) + 1):
        if number not in wanted:  # what comes before the end is in the base itself
            name = f"{timeline:08X}{number // SEGMENTS_IN_A_LOG:08X}{number % SEGMENTS_IN_A_LOG:08X}"
            return tuple(wanted[each] for each in sorted(wanted) if each < number), name
    return tuple(wanted[number] for number in sorted(wanted)), None


def _enough(wal: tuple[Entry, ...], at: int) -> tuple[Entry, ...]:
    for index, entry in enumerate(wal):
        if entry.started > at:
            return wal[: index + 1 + BEYOND]
    return wal


def _why_none(bases: Sequence[Entry], what: str, *, at: int | None, base: str | None) -> str:
    if base is not None and base not in {entry.id for entry in bases}:
        return f"There is no full or incremental backup of {what} called {base}."
    oldest = min(entry.ended for entry in bases)
    if at is not None and at < oldest:
        return f"The oldest backup of {what} is of {format_time(oldest)}; nothing earlier can be restored."
    if all(entry.verified is False for entry in bases):
        return f"Every backup of {what} has failed its verification; name one with --base ID to try it."
    return f"No backup of {what} leads to that moment: choose another --at, or none."
