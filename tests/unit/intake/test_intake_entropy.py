"""Random bytes in blocks: nobody gets a byte that somebody else got."""

import os

import pytest

from intake.entropy import BLOCK_BYTES, Entropy


def test_every_byte_is_given_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws of any length are pieces of the system's bytes, never one byte twice."""
    drawn = bytearray()

    def urandom(length: int) -> bytes:
        block = os.getrandom(length)
        drawn.extend(block)
        return block

    monkeypatch.setattr("os.urandom", urandom)
    entropy = Entropy()

    for length in [10, 12, 12] * 400 + [BLOCK_BYTES, 9, BLOCK_BYTES + 1, 9]:
        given = entropy(length)
        assert len(given) == length
        at = drawn.index(given)
        del drawn[at : at + length]
