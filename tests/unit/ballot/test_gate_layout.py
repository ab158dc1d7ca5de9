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
    assert Mark.from_value(b"x").method == "unknown"
    assert Mark.from_value(b"").method == "unknown"
    assert Mark.from_value(b"e").method == "electronic"


def test_a_credential_says_whether_it_is_current() -> None:
    """UIN, flag and channel, as the gate writes them."""
    credential = Credential.from_value(b"u" * 16 + b"ce")

    assert (credential.uin, credential.current, credential.channel) == (b"u" * 16, True, b"e")
    assert not Credential.from_value(b"u" * 16 + b"re").current


def test_the_gate_has_the_budgets_that_the_desk_asks_memory_for() -> None:
    """The two files cannot import each other."""
    source = GATE.read_text()

    budgets = [int(number) for number in re.findall(r"_MAX = (\d+) / \w+_BYTES\b", source)]

    assert len(budgets) == 3
    assert sum(budgets) == gate_layout.TRIES_BYTES
    assert f"DIGEST_KEPT = {gate_layout.DIGEST_KEPT} " in source
