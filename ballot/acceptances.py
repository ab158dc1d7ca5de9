"""One line of an edge's journal: what one call of the gate accepted, by reference and number.

Written by edges (intake/journal.py) without waiting for any disk, and read after a loss, to name the votes
that voters may have been told of. It proves nothing: a line may be missing, torn, or somebody else's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ballot.definition_check import ID
from ballot.encoding import Malformed, strict_json
from ballot.handoff import NUMBER_DIGITS_MAX
from ballot.limits import SHARDS_MAX
from ballot.receipt import parse_reference

FILES: Final = "accepted-*.jsonl"
"""What the journals' files are called: `accepted-<begun, UTC>-<process>.jsonl`."""

LINE_BYTES_MAX: Final = 65_536
"""A call has at most 1,024 votes, each of some 40 bytes here."""

VOTES_MAX: Final = 1_024
_NUMBER_MAX: Final = 10**NUMBER_DIGITS_MAX - 1
_TIME_DIGITS_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class Acceptances:
    """The votes that one call accepted at `at_us`; `numbers` go with `references`, or are not known."""

    ballot: str
    shard: int
    at_us: int
    references: Sequence[str]
    numbers: Sequence[int] = ()

    def to_line(self) -> bytes:
        """The line, with its end; numbers that follow one another, as they do, are only begun."""
        fields: dict[str, Any] = {"ballot": self.ballot, "shard": self.shard, "at": self.at_us}
        numbers = list(self.numbers)
        if numbers and numbers[0] > 0:
            if numbers == list(range(numbers[0], numbers[0] + len(numbers))):
                fields["first"] = numbers[0]
            else:
                fields["numbers"] = numbers
        fields["references"] = list(self.references)
        return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_line(cls, line: bytes) -> "Acceptances":
        """What a line says; Malformed for any other, as one that was torn when its process was killed."""
        fields = strict_json(line, bytes_max=LINE_BYTES_MAX)
        ballot: Any = fields.get("ballot")
        shard: Any = fields.get("shard")
        at_us: Any = fields.get("at")
        if not isinstance(ballot, str) or ID.fullmatch(ballot) is None:
            raise Malformed("A line of the journal names a ballot.")
        if not _whole(shard, SHARDS_MAX - 1) or not _whole(at_us, 10**_TIME_DIGITS_MAX - 1):
            raise Malformed("A line of the journal has a shard and a time.")
        references = fields.get("references")
        if not isinstance(references, list) or not 0 < len(references) <= VOTES_MAX:
            raise Malformed("A line of the journal has references.")
        for reference in references:
            if not isinstance(reference, str) or parse_reference(reference) != reference:
                raise Malformed("This is no reference as the gate keeps it.")
        return cls(ballot, shard, at_us, references, _numbers(fields, len(references)))


def _numbers(fields: dict[str, Any], count: int) -> Sequence[int]:
    """The numbers of a line's `count` references."""
    if "first" in fields:
        first = fields["first"]
        if not _whole(first, _NUMBER_MAX + 1 - count) or first == 0:
            raise Malformed("A line of the journal begins with a number.")
        return range(first, first + count)
    numbers = fields.get("numbers", [])
    if not isinstance(numbers, list) or len(numbers) not in {0, count}:
        raise Malformed("A line of the journal has a number for each reference, or none.")
    if not all(_whole(number, _NUMBER_MAX) for number in numbers):
        raise Malformed("A line of the journal has numbers.")
    return numbers


def _whole(value: object, most: int) -> bool:
    """Whether it is a whole number from 0 to `most`; JSON's true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
