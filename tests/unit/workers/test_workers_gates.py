"""What an edge may have written into a gate ends no worker."""

from __future__ import annotations

from typing import Any

import pytest

from workers.gates import DIGITS_MAX, Gates


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (None, 0),
        (b"12", 12),
        (b"-1", -1),
        (b"x", -1),
        (b"9" * DIGITS_MAX, 10**DIGITS_MAX - 1),
        (b"9" * 5000, -1),
    ],
)
async def test_what_is_no_number_of_ours_is_less_than_any(value: bytes | None, number: int) -> None:
    """Python refuses to read one of more than 4,300 digits: an exception that nobody foresaw."""

    class Answering(Gates):
        async def each(self, keys: Any, _command: Any) -> dict[str, Any]:
            return {key: [value] for key in keys}

    nodes: Any = None
    assert await Answering(nodes).accepted([("b", 0)]) == {("b", 0): number}
