"""Turns: what fails is noted, what is a bug ends all, and one alone fails as it always did."""

import pytest

from ballot.turns import SHOWN_MAX, Turns


def test_the_others_have_their_turn() -> None:
    """One failure keeps nobody from theirs, and the end says whose it was."""
    turns, had = Turns(["a", "b", "c", "a"], ValueError), []
    for name in turns.names:
        with turns.of(name):
            had.append(name)
            if name == "b":
                raise ValueError("no votes")

    assert had == ["a", "b", "c"]
    assert turns.left == ["a", "c"]
    with pytest.raises(ValueError, match=r"^1 of 3 failed\nb: no votes$"):
        turns.end()


def test_one_alone_is_no_list() -> None:
    """Its fault comes as it is."""
    turns = Turns(["a"], ValueError)
    with pytest.raises(ValueError, match=r"^no votes$"), turns.of("a"):
        raise ValueError("no votes")


def test_a_bug_ends_all() -> None:
    """Only what the command raises for its user is noted."""
    turns = Turns(["a", "b"], ValueError)
    with pytest.raises(KeyError), turns.of("a"):
        raise KeyError


def test_a_long_list_is_cut() -> None:
    """So many are named, the rest counted."""
    turns = Turns([f"ballot-{number}" for number in range(SHOWN_MAX + 5)], ValueError)
    for name in turns.names:
        with turns.of(name):
            raise ValueError("no")
    with pytest.raises(ValueError, match=r"and 5 more$"):
        turns.end()
