"""Which numbers of a shard's acceptances somebody can account for; the rest is named as ranges."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from ballot.handoff import NUMBER_DIGITS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NUMBER_MAX: Final = 10**NUMBER_DIGITS_MAX - 1
"""The largest that entries and journals can name: room for a thousand million recoveries of a large shard."""

Range = tuple[int, int]


class Numbers:
    """One shard's numbers: as many as there are votes, however large; beyond `limit` is none of this gate's.

    `without` is how many stored votes have none because an older gate took them in; `unnumbered` how many
    known votes have none, for whatever reason.
    """

    def __init__(self, limit: int = NUMBER_MAX) -> None:
        self._known = array("Q")
        self.limit = limit
        self.largest = 0
        self.without = 0
        self.unnumbered = 0

    def add(self, number: int | None, *, proves: bool = True) -> None:
        """Note that a known vote has this number, or none.

        Only a stored vote's proves that those before it were given: an entry says what its writer liked.
        """
        if number is None or not 0 < number <= self.limit:
            self.unnumbered += 1
            return
        self._known.append(number)
        if proves:
            self.largest = max(self.largest, number)

    def reached(self, number: int) -> None:
        """Note that the numbers up to this one were given out, whoever has them, as far as there can be."""
        self.largest = max(self.largest, min(number, self.limit))

    @property
    def unproved(self) -> int:
        """How many numbers of known votes are beyond the largest that is proved."""
        return len({number for number in self._known if number > self.largest})

    def missing(self, skipped: Sequence[Range] = ()) -> list[Range]:
        """The numbers up to the largest that nobody has and that were not jumped over, both ends included.

        A gate that began to number late began behind the votes it had taken without: as many of the first
        numbers as there are votes without one are theirs, if nobody has number 1.
        """
        found: list[Range] = []
        next_ = 1
        for number in sorted(self._known):
            if number > self.largest:
                break
            if number > next_:
                found.append((next_, number - 1))
            next_ = number + 1
        if next_ <= self.largest:
            found.append((next_, self.largest))
        found = less(found, skipped)
        if found and found[0][0] == 1:
            first, last = 1 + self.without, found[0][1]
            found[:1] = [(first, last)] if first <= last else []
        return found


def count(ranges: Iterable[Range]) -> int:
    """How many numbers these are."""
    return sum(last - first + 1 for first, last in ranges)


def joined(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges in order, what touches as one."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def less(ranges: Iterable[Range], others: Iterable[Range]) -> list[Range]:
    """Return what of these ranges is in none of the others."""
    found: list[Range] = []
    taken = joined(others)
    at = 0
    for start, last in joined(ranges):
        first = start
        while at < len(taken) and taken[at][1] < first:
            at += 1
        next_ = at
        while next_ < len(taken) and taken[next_][0] <= last:
            if first < taken[next_][0]:
                found.append((first, taken[next_][0] - 1))
            first = taken[next_][1] + 1
            next_ += 1
        if first <= last:
            found.append((first, last))
    return found
