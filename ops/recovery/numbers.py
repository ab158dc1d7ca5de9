"""Which numbers of a shard's acceptances somebody can account for; the rest is named as ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMBER_MAX: Final = 50_000_000
"""More acceptances than a shard ever has; what is beyond is no number of the gate's."""

Range = tuple[int, int]


class Numbers:
    """One shard's numbers, a byte each; `without` counts known votes that have none (of an older gate)."""

    def __init__(self) -> None:
        self._known = bytearray()
        self.largest = 0
        self.without = 0

    def add(self, number: int | None) -> None:
        """Note that a known vote has this number, or none."""
        if number is None or not 0 < number <= NUMBER_MAX:
            self.without += 1
            return
        if number > len(self._known):
            self._known.extend(bytes(max(number, 2 * len(self._known)) - len(self._known)))
        self._known[number - 1] = 1
        self.largest = max(self.largest, number)

    def reached(self, number: int) -> None:
        """Note that this number was given out, whoever has it."""
        if number <= NUMBER_MAX:
            self.largest = max(self.largest, number)

    def missing(self) -> list[Range]:
        """The numbers up to the largest that nobody has, both ends included.

        A gate that began to number late began behind the votes it had taken without: as many of the first
        numbers as there are votes without one are theirs.
        """
        known = self._known[: self.largest].ljust(self.largest, b"\0")
        found: list[Range] = []
        first = known.find(b"\0")
        theirs = self.without
        while first >= 0:
            end = known.find(b"\1", first)
            end = len(known) if end < 0 else end
            taken = min(theirs, end - first)
            theirs -= taken
            if first + taken < end:
                found.append((first + taken + 1, end))
            first = known.find(b"\0", end)
        return found


def count(ranges: Iterable[Range]) -> int:
    """How many numbers these are."""
    return sum(last - first + 1 for first, last in ranges)
