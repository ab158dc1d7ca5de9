"""Up to where a votes stream may be trimmed, as far as that is known outside the queue: pure rules.

An entry is needed until it is stored, counted in the turnout, in a verified backup where there are backups,
and was seen for long enough. Whatever is not known counts as needed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ballot.encoding import Malformed, strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

SIDES: Final = frozenset({"stored", "turnout"})
COVERED_BYTES_MAX: Final = 16 * 1024 * 1024
DIGITS_MAX: Final = 20
SEEN_MAX: Final = 64
"""Looks remembered of a stream: at one a minute more than an hour."""

LOOKS_MAX: Final = 4_096
"""The same where backups are waited for: more than two days in which votes come every minute."""

Shard = tuple[str, int]


def order(entry: str) -> tuple[int, int]:
    """What entries are ordered by; Malformed for what is no entry's id."""
    milliseconds, hyphen, sequence = entry.partition("-")
    if not (hyphen and _digits(milliseconds) and _digits(sequence)):
        raise Malformed("This is no id of an entry.")
    return int(milliseconds), int(sequence)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one side has come in a shard's stream."""

    ballot: str
    shard: int
    side: str
    entry: str


def reached(marks: Iterable[Mark]) -> dict[Shard, str]:
    """Up to where each shard's stream is both stored and counted; one that lacks either is left out."""
    sides: dict[Shard, dict[str, str]] = {}
    for mark in marks:
        if mark.side in SIDES:
            sides.setdefault((mark.ballot, mark.shard), {})[mark.side] = mark.entry
    return {shard: min(found.values(), key=order) for shard, found in sides.items() if found.keys() == SIDES}


def covered(note: Path) -> dict[Shard, str]:
    """Up to where each shard's stream is in the last verified backup, as `note` says; nothing without it.

    Malformed when the note says something else.
    """
    try:
        data = note.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Malformed(f"{note} cannot be read: {error.strerror}.") from error
    found = _flat(strict_json(data, bytes_max=COVERED_BYTES_MAX).get("marks"))
    for mark in found:
        order(mark.entry)
    return reached(found)


def _flat(marks: Any) -> list[Mark]:
    if not isinstance(marks, list):
        raise Malformed("A note of what is backed up has marks.")
    found = []
    for each in marks:
        fields: Mapping[str, Any] = each if isinstance(each, dict) else {}
        ballot, shard, side, entry = (fields.get(name) for name in ("ballot", "shard", "side", "entry"))
        if not (isinstance(ballot, str) and isinstance(side, str) and isinstance(entry, str)):
            raise Malformed("A mark has a ballot, a side and an entry.")
        if not isinstance(shard, int) or isinstance(shard, bool):
            raise Malformed("A mark has a shard.")
        found.append(Mark(ballot, shard, side, entry))
    return found


class Acknowledged:
    """Up to where each stream was acknowledged when it ended where: only that is certain to be in a backup.

    A backup's mark is the last entry that is stored in it, and not the end of all that are: an entry before
    it may have been with a worker that had died, and was stored after the backup had begun. What was
    acknowledged while the stream ended before the mark was so before the marked entry was even accepted, and
    the backup began later still. The queue's own order says it; no clock is asked.

    That holds for a database that has all that was acknowledged. One that was put back, and was brought
    forward again before the next look, need not have had it in between: nothing is known any more.
    """

    def __init__(self) -> None:
        self._looks: dict[Shard, deque[tuple[str, str]]] = {}
        self._missing: dict[Shard, int | None] = {}
        self._since = ""

    def of(self, since: str) -> None:
        """The database has run since then: another one than at the look before may be one of yesterday."""
        if since != self._since:
            self._looks.clear()
            self._missing.clear()
            self._since = since

    def look(self, shard: Shard, entry: str, *, last: str, missing: int | None = 0) -> None:
        """Note that everything before `entry` was acknowledged, and that `last` came last when asked later.

        `missing` of what was acknowledged the database had not, when asked last; None if nobody knows. A
        stream that is given out again, or ends earlier than it did, or of which more or less is missing, may
        be so because database or queue was put back: what was known counts no more.
        """
        looks = self._looks.setdefault(shard, deque(maxlen=LOOKS_MAX))
        if looks and (
            order(entry) < order(looks[-1][1])
            or order(last) < order(looks[-1][0])
            or missing != self._missing.get(shard)
        ):
            looks.clear()
        self._missing[shard] = missing
        if looks and looks[-1][0] == last:
            looks.pop()
        looks.append((last, entry))

    def before(self, shard: Shard, mark: str) -> str | None:
        """Up to where it was acknowledged while it ended before `mark`; None if nobody looked then."""
        looks = self._looks.get(shard, ())
        return next((entry for last, entry in reversed(looks) if order(last) < order(mark)), None)

    def forget(self, but: Iterable[Shard]) -> None:
        """Remember nothing of streams that are no longer there."""
        for gone in self._looks.keys() - set(but):
            del self._looks[gone]
            self._missing.pop(gone, None)


class Seen:
    """Which entry was each stream's last one how long ago, by a clock that nobody can step.

    An entry's id is a time by the queue's clock: when that is set forward, every entry looks old at once.
    """

    def __init__(self, least_age_s: float) -> None:
        self._least_age_s = least_age_s
        self._looks: dict[Shard, deque[tuple[float, str]]] = {}

    def look(self, shard: Shard, last: str, *, now_s: float) -> str | None:
        """Note the stream's last entry as of now; the one that it had long enough ago, None if not known.

        A stream that ends earlier than it did was put back: what was seen of it before counts no more.
        """
        looks = self._looks.setdefault(shard, deque(maxlen=SEEN_MAX))
        if looks and order(last) < order(looks[-1][1]):
            looks.clear()
        looks.append((now_s, last))
        aged = None
        while looks and looks[0][0] <= now_s - self._least_age_s:
            aged = looks.popleft()
        if aged is None:
            return None
        looks.appendleft(aged)
        return aged[1]

    def forget(self, but: Iterable[Shard]) -> None:
        """Remember nothing of streams that are no longer there."""
        for gone in self._looks.keys() - set(but):
            del self._looks[gone]
