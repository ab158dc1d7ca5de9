"""A bug leaves its place in the log, and nothing of what it happened to."""

import json

import pytest

from intake.faults import place


def test_the_innermost_frame_of_ours() -> None:
    """Raised in a library on our behalf, it is our own line that is named."""
    with pytest.raises(AttributeError) as caught:
        place(7)  # type: ignore[arg-type]  # the bug

    file, _, line = place(caught.value).partition(":")
    assert file == "intake/faults.py"
    assert line.isdecimal()


def test_nothing_of_ours() -> None:
    """An error that never passed through our code has no place."""
    with pytest.raises(ValueError, match="Extra data") as caught:
        json.loads('"x" secret')

    assert not place(caught.value)
