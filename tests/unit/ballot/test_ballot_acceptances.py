"""A line of the edges' journal says what it was made from, and any other line is refused."""

from __future__ import annotations

import os

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.acceptances import LINE_BYTES_MAX, VOTES_MAX, Acceptances
from ballot.encoding import Malformed
from ballot.receipt import draw_reference

REFERENCES = ["F34J-C6C5-0PSG-3NFQ", "E8CB-F8H3-PSP0-KVSY", "E66N-GGZ7-YB24-RP4S"]
GOOD = {"ballot": "b-1", "shard": 3, "at": 1_750_000_000_000_000, "first": 7, "references": REFERENCES}


@pytest.mark.parametrize("numbers", [(), (7, 8, 9), (7, 9, 12), (10**15 - 1,)])
def test_a_line_gives_back_what_it_was_made_from(numbers: tuple[int, ...]) -> None:
    """With numbers that follow one another, with others, and with none."""
    references = REFERENCES[: len(numbers) or 3]
    line = Acceptances("b-1", 3, 1_750_000_000_000_000, references, numbers).to_line()

    read = Acceptances.from_line(line)

    assert (read.ballot, read.shard, read.at_us) == ("b-1", 3, 1_750_000_000_000_000)
    assert list(read.references) == references
    assert list(read.numbers) == list(numbers)
    assert ("first" in orjson.loads(line)) == (numbers not in {(), (7, 9, 12)})


def test_a_gate_that_does_not_number_leaves_no_numbers() -> None:
    """Zero stands for an unknown number and is not written as one."""
    line = Acceptances("b-1", 0, 1, REFERENCES, [0, 0, 0]).to_line()

    assert list(Acceptances.from_line(line).numbers) == []


def test_the_longest_line_is_read() -> None:
    """As many votes as the gate takes in one call, each with a number of its own."""
    references = [draw_reference(0, 1, random=os.urandom) for _ in range(VOTES_MAX)]
    numbers = [10**15 - 3 * (VOTES_MAX - place) for place in range(VOTES_MAX)]
    line = Acceptances("b" * 40, 31, 10**16 - 1, references, numbers).to_line()

    assert len(line) <= LINE_BYTES_MAX
    assert list(Acceptances.from_line(line).numbers) == numbers


@pytest.mark.parametrize(
    "changed",
    [
        {"ballot": "B"},
        {"ballot": None},
        {"shard": 32},
        {"shard": True},
        {"shard": -1},
        {"at": "now"},
        {"at": 10**16},
        {"first": 0},
        {"first": "7"},
        {"first": 10**15},
        {"references": []},
        {"references": "0000-0000-0000-0000"},
        {"references": [1]},
        {"references": ["0000-0000-0000-000u"]},
        {"references": REFERENCES * 400},
        {"first": None},
    ],
    ids=lambda changed: str(changed)[:60],
)
def test_an_odd_line_is_refused(changed: dict[str, object]) -> None:
    """Whatever is in a field: Malformed."""
    with pytest.raises(Malformed):
        Acceptances.from_line(orjson.dumps(GOOD | changed))


@pytest.mark.parametrize("numbers", [[1], [1, 2, "3"], "123", [1, 2, -3], [1.5, 2, 3]], ids=str)
def test_numbers_go_with_the_references(numbers: object) -> None:
    """One each, and each a number."""
    fields: dict[str, object] = {**GOOD, "numbers": numbers}
    del fields["first"]
    with pytest.raises(Malformed):
        Acceptances.from_line(orjson.dumps(fields))


@given(st.binary(max_size=200), st.integers(0, 200))
def test_a_torn_line_is_refused_or_read(junk: bytes, cut: int) -> None:
    """What a killed process left behind costs that line and nothing else."""
    whole = orjson.dumps(GOOD)
    for line in (junk, whole[:cut], whole[:cut] + junk):
        try:
            assert Acceptances.from_line(line).references
        except Malformed:
            continue
