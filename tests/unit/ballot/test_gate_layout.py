"""What the gate packs is read back as it was, and both spellings of its budgets agree."""

import os
import re
from pathlib import Path

import pytest

from ballot import gate_layout
from ballot.encoding import Malformed
from ballot.gate_layout import Credential, Mark
from ballot.receipt import draw_reference

GATE = Path(__file__).parents[3] / "ops" / "valkey" / "gate.lua"
TIME_US = 1_795_311_257_079_685


@pytest.mark.parametrize("shards", [1, 16, 32])
def test_a_reference_is_ten_bytes_and_comes_back(shards: int) -> None:
    """In any spelling a person may use; what is no reference is refused."""
    reference = draw_reference(shards - 1, shards, random=os.urandom)

    field = gate_layout.reference_field(reference)

    assert len(field) == 10
    assert gate_layout.reference_text(field) == reference
    assert gate_layout.reference_field(reference.lower().replace("-", " ")) == field
    with pytest.raises(Malformed):
        gate_layout.reference_field(reference[:-1])


@pytest.mark.parametrize(
    "mark",
    [
        Mark("e", TIME_US, b"i" * 16, "0123-4567-89AB-CDEF"),
        Mark("p", TIME_US),
        Mark("w", 0),
    ],
)
def test_a_mark_comes_back(mark: Mark) -> None:
    """Each kind, from and to the packed value."""
    assert Mark.from_value(mark.to_value()) == mark


def test_nonsense_is_a_mark_of_an_unknown_method() -> None:
    """The checker meets whatever somebody wrote there, and goes on."""
    for value in (b"x", b"", b"e", b"e" + b"1" * 5, b"p", b"w" + bytes(8)):
        assert (Mark.from_value(value).method, Mark.from_value(value).reference) == ("unknown", "")


@pytest.mark.parametrize("mark", [Mark("e", TIME_US, b"i" * 16, "0123-4567-89AB-CDEF"), Mark("p", TIME_US)])
def test_a_mark_has_one_length(mark: Mark) -> None:
    """A byte more or less is no mark of that method, and no reference is read from it."""
    value = mark.to_value()

    for changed in (value[:-1], value + b"\0"):
        assert Mark.from_value(changed) == Mark("?", 0)


@pytest.mark.parametrize("field", [b"", b"\xff" * 9, b"\xff" * 11])
def test_a_reference_field_has_one_length(field: bytes) -> None:
    """Nothing else is read as some reference."""
    with pytest.raises(Malformed):
        gate_layout.reference_text(field)


def test_a_credential_says_whether_it_is_current() -> None:
    """UIN, flag and channel, as the gate writes them."""
    credential = Credential.from_value(b"u" * 16 + b"ce")

    assert (credential.uin, credential.current, credential.channel) == (b"u" * 16, True, b"e")
    assert not Credential.from_value(b"u" * 16 + b"re").current


def test_the_gate_has_the_budgets_that_the_desk_asks_memory_for() -> None:
    """The two files cannot import each other."""
    source = GATE.read_text()

    budgets = [int(number) for number in re.findall(r"_MAX = (\d+) / \w+_BYTES\b", source)]

    assert budgets == [
        gate_layout.ATTEMPTS_BYTES,
        gate_layout.UNKNOWN_TRIES_BYTES,
        gate_layout.COUNTS_BYTES,
    ]
    assert f"ENTRY_BYTES = {gate_layout.TRY_BYTES} " in source
    assert f"COUNTED_BYTES = {gate_layout.COUNTED_BYTES} " in source
    assert 1_000 <= int(source.partition("LISTED_TRIES = ")[2].split()[0]) < gate_layout.TRIES_LISTED
    assert f"DIGEST_KEPT = {gate_layout.DIGEST_KEPT} " in source
