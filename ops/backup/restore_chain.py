"""Which backups together give the state at a moment: a base, what was added to it, and the WAL after it.

After a restore a cluster goes on in a new timeline: what it had written after the moment it went back to is
then no longer its past. Every moment is restored in the timeline that was the cluster's own at that moment.

What the list knows of a WAL segment is when it was sealed, which may be hours after its last commit. So the
first guess at how much WAL a moment needs is only that: the rest stands ready behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from ballot.encoding import Malformed, format_time, parse_time
from ops.backup.catalogue import BASE_KINDS, CHAIN_MAX, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEGMENT_BYTES: Final = 16 << 20
SEGMENT_SIZES: Final = tuple(1 << power for power in range(20, 31))
"""What `initdb --wal-segsize` takes."""
LOG_BYTES: Final = 1 << 32
NAME_DIGITS: Final = 24
BEYOND: Final = 2
"""Segments taken beyond the moment: PostgreSQL must see a later commit to know that it was reached."""


class Flaw(Protocol):
    """Why a listed backup cannot be used, as the end of a sentence; nothing if it can."""

    def __call__(self, entry: Entry, /) -> str | None:
        """Look at one."""


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
    """What should be enough for the moment."""
    timeline: int
    histories: Mapping[str, str]
    reaches: int
    switches: Mapping[int, int]
    """Where each earlier timeline of this one's history ended."""
    more: tuple[Entry, ...] = ()
    """The unbroken WAL after that, for a moment that turns out to be later in it."""
    gap: str | None = None
    """The first segment that cannot be used although it or a later one is listed, and why, in words."""
    segment_bytes: int = SEGMENT_BYTES

    @property
    def last(self) -> Entry:
        """The base that the WAL is added to."""
        return self.bases[-1]

    @property
    def next_segment(self) -> int:
        """The number of the segment that would go on where this ends."""
        all_wal = (*self.wal, *self.more)
        taken = [self.number(entry.segment or "") for entry in all_wal if is_segment(entry)]
        ends = _place(self.last.end_lsn or self.last.start_lsn or "0/0")
        return max([each + 1 for each in taken], default=ends // self.segment_bytes + 1)

    def number(self, segment: str) -> int:
        """The place of a segment in this WAL."""
        return segment_number(segment, self.segment_bytes)

    def is_its(self, segment: str) -> bool:
        """Whether a segment belongs to the timeline that is followed, or to one that it comes from."""
        return _belongs(segment, self.timeline, self.switches, self.segment_bytes)

    @property
    def bytes(self) -> int:
        """What will be read, unless more is needed."""
        return sum(entry.bytes for entry in (*self.bases, *self.wal))

    @property
    def room(self) -> int:
        """What the scratch place may come to hold, generously: parts, their sum, WAL and its replay."""
        parts = sum(entry.bytes for entry in self.bases)
        whole = self.bases[0].bytes if len(self.bases) > 1 else 0
        return parts + whole + 2 * (len(self.wal) + BEYOND) * self.segment_bytes


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
    flaw: Flaw = lambda _: None,
) -> Chain:
    """The chain for the moment `at`, or for the newest state; a plain sentence if something is missing.

    `base` names the backup to begin from, for whoever lacks a newer one. WAL with a flaw is not taken.
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
    segments = [entry for entry in live.values() if is_segment(entry)]
    if at is None and base is None:
        _refuse_unexplained(segments, timeline, restored)
    size = _segment_bytes(segments)
    own = [entry for entry in segments if _belongs(entry.segment or "", timeline, switches, size)]
    wal, gap = _unbroken(own, newest, timeline, size, flaw)
    reaches = max([newest.ended, *(entry.started for entry in wal)])
    enough = len(wal) if at is None else _enough(wal, at)
    histories = {f"{each.timeline:08X}.history": each.history for each in restored if each.history}
    return Chain(
        chain,
        (*(entry for entry in _histories(live.values()) if flaw(entry) is None), *wal[:enough]),
        timeline,
        histories,
        reaches,
        switches,
        more=wal[enough:],
        gap=gap,
        segment_bytes=size,
    )


def segment_number(name: str, size: int = SEGMENT_BYTES) -> int:
    """The place of a segment in the WAL, whatever its timeline."""
    return int(name[8:16], 16) * (LOG_BYTES // size) + int(name[16:24], 16)


def size_of_segments(start: str, name: str) -> int | None:
    """How large segments are, if the place `start` is in the one called `name`; nothing if unclear."""
    position, log, number = _place(start), int(name[8:16], 16), int(name[16:24], 16)
    fitting = [each for each in SEGMENT_SIZES if (position % LOG_BYTES) // each == number]
    return fitting[0] if len(fitting) == 1 and position // LOG_BYTES == log else None


def lsn_of(name: str, size: int) -> tuple[str, str]:
    """Where a segment begins and ends."""
    start = segment_number(name, size) * size
    return _lsn(start), _lsn(start + size)


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


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


def _refuse_unexplained(segments: Sequence[Entry], timeline: int, restored: Sequence[Restored]) -> None:
    """Of a later timeline nobody knows where it began: what is followed may have been given up."""
    later = max((int((entry.segment or "")[:8], 16) for entry in segments), default=timeline)
    if later > timeline and later not in {each.timeline for each in restored}:
        raise click.ClickException(
            f"There is WAL of the timeline {later}, and nothing tells where that began: name a moment with "
            f"--at, or, to follow the timeline {timeline} all the same, the backup to begin from with "
            "--base ID."
        )


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
    return [entry for entry in live if entry.kind == "wal" and not is_segment(entry)]


def is_segment(entry: Entry) -> bool:
    """Whether it is a segment of WAL, and not a timeline's history."""
    return entry.kind == "wal" and len(entry.segment or "") == NAME_DIGITS


def _belongs(segment: str, timeline: int, switches: Mapping[int, int], size: int) -> bool:
    own = int(segment[:8], 16)
    return own == timeline or (own in switches and segment_number(segment, size) <= switches[own] // size)


def _segment_bytes(segments: Sequence[Entry]) -> int:
    """How large this cluster's segments are, as the list says; it may be one of another's making."""
    for entry in segments:
        if entry.start_lsn and entry.end_lsn:
            size = _place(entry.end_lsn) - _place(entry.start_lsn)
            if size in SEGMENT_SIZES:
                return size
    return SEGMENT_BYTES


def _unbroken(
    segments: Sequence[Entry], newest: Entry, timeline: int, size: int, flaw: Flaw
) -> tuple[tuple[Entry, ...], str | None]:
    """The WAL after the base, in one unbroken line; and what breaks it, in words.

    Of copies of one segment that of the latest timeline is taken, of those one that was proven.
    """
    first = _place(newest.start_lsn or "0/0") // size
    end = _place(newest.end_lsn or newest.start_lsn or "0/0") // size
    copies: dict[int, list[Entry]] = {}
    for entry in segments:
        number = segment_number(entry.segment or "", size)
        if number >= first:
            copies.setdefault(number, []).append(entry)
    wanted: list[Entry] = []
    for number in range(first, max(copies, default=-1) + 1):
        there = sorted(copies.get(number, ()), key=_merit, reverse=True)
        found = next((entry for entry in there if flaw(entry) is None), None)
        if found is not None:
            wanted.append(found)
        elif number > end:  # what comes before the end is in the base itself
            log, rest = divmod(number, LOG_BYTES // size)
            name = there[0].segment if there else f"{timeline:08X}{log:08X}{rest:08X}"
            why = f"({there[0].file}) {flaw(there[0])}" if there else "is missing"
            return tuple(wanted), f"The WAL segment {name} {why}"
    return tuple(wanted), None


def _merit(entry: Entry) -> tuple[str, bool, bool, int]:
    return (entry.segment or "")[:8], entry.verified is True, entry.verified is None, entry.started


def _enough(wal: tuple[Entry, ...], at: int) -> int:
    """How many segments to begin with: none sealed by then has anything later in it."""
    beyond = next((index for index, entry in enumerate(wal) if entry.started > at), len(wal))
    return beyond + 1 + BEYOND


def _why_none(bases: Sequence[Entry], what: str, *, at: int | None, base: str | None) -> str:
    if base is not None and base not in {entry.id for entry in bases}:
        return f"There is no full or incremental backup of {what} called {base}."
    oldest = min(entry.ended for entry in bases)
    if at is not None and at < oldest:
        return f"The oldest backup of {what} is of {format_time(oldest)}; nothing earlier can be restored."
    if all(entry.verified is False for entry in bases):
        return f"Every backup of {what} has failed its verification; name one with --base ID to try it."
    return f"No backup of {what} leads to that moment: choose another --at, or none."
