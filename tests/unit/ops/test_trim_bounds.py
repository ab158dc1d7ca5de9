"""Up to where a stream may be trimmed: what is not known is needed, and no clock makes an entry old."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.encoding import Malformed
from ops import trimming
from ops.backup import postgres as backups
from ops.trim_bounds import LOOKS_MAX, SEEN_MAX, Acknowledged, Mark, Seen, covered, order, reached

if TYPE_CHECKING:
    from pathlib import Path

AGE_S = 900.0


def test_a_shard_is_reached_by_the_one_that_has_come_less_far() -> None:
    """By number, not by letter; a shard with one side alone is left out, and so is a side nobody knows."""
    marks = [
        Mark("b", 0, "stored", "10-0"),
        Mark("b", 0, "turnout", "9-12"),
        Mark("b", 1, "stored", "10-0"),
        Mark("b", 2, "stored", "5-2"),
        Mark("b", 2, "turnout", "5-10"),
        Mark("b", 2, "other", "1-1"),
    ]

    assert reached(marks) == {("b", 0): "9-12", ("b", 2): "5-2"}


def test_a_note_of_what_is_backed_up_is_read(tmp_path: Path) -> None:
    """As the backups write it; without a note nothing is backed up."""
    note = tmp_path / "note"
    assert covered(note) == {}
    sides = [{"ballot": "b", "shard": 1, "side": side, "entry": entry} for side, entry in SIDES]
    note.write_text(json.dumps({"backup": "x", "verified_at": "2026-01-01T00:00:00Z", "marks": sides}))

    assert covered(note) == {("b", 1): "7-1"}


def test_the_note_is_the_one_that_backups_leave() -> None:
    """Both name the same file."""
    assert trimming.COVERED == backups.COVERED


SIDES = [("stored", "7-2"), ("turnout", "7-1")]
ROW = {"ballot": "b", "shard": 1, "side": "stored", "entry": "7-1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"marks": null}',
        '{"marks": ["x"]}',
        json.dumps({"marks": [ROW | {"entry": "7"}]}),
        json.dumps({"marks": [ROW | {"entry": "7-"}]}),
        json.dumps({"marks": [ROW | {"entry": "-7-1"}]}),
        json.dumps({"marks": [ROW | {"entry": "\u0667-1"}]}),
        json.dumps({"marks": [ROW | {"shard": "1"}]}),
        json.dumps({"marks": [ROW | {"ballot": 1}]}),
    ],
)
def test_an_odd_note_covers_nothing(tmp_path: Path, text: str) -> None:
    """Malformed, and never taken for a backup."""
    note = tmp_path / "note"
    note.write_text(text)

    with pytest.raises(Malformed):
        covered(note)


def test_a_note_that_cannot_be_read_covers_nothing(tmp_path: Path) -> None:
    """A directory in its place is said, not raised through."""
    with pytest.raises(Malformed, match="cannot be read"):
        covered(tmp_path)


@given(
    st.lists(st.tuples(st.floats(0.1, 400), st.integers(0, 50)), min_size=1, max_size=SEEN_MAX),
    st.lists(st.booleans(), min_size=SEEN_MAX, max_size=SEEN_MAX),
)
def test_only_what_was_seen_long_ago_is_old(steps: list[tuple[float, int]], put_back: list[bool]) -> None:
    """What is given back was the last entry at a look so long ago, and the stream has not gone back since."""
    seen, now_s, entry = Seen(AGE_S), 0.0, 100
    looks: list[tuple[float, int]] = []
    for (wait_s, more), back in zip(steps, put_back, strict=False):
        now_s += wait_s
        if back and entry > 0 and more % 7 == 0:
            entry -= 1
            looks.clear()
        else:
            entry += more
        looks.append((now_s, entry))

        aged = seen.look(("b", 0), f"{entry}-0", now_s=now_s)

        old = [last for at_s, last in looks if at_s <= now_s - AGE_S]
        assert aged == (f"{old[-1]}-0" if old else None)


def test_a_stream_that_is_gone_is_forgotten() -> None:
    """And looked at anew when it is back."""
    seen = Seen(AGE_S)
    seen.look(("b", 0), "1-0", now_s=0.0)
    seen.look(("b", 1), "1-0", now_s=0.0)
    seen.forget(but=[("b", 1)])

    assert seen.look(("b", 0), "2-0", now_s=AGE_S) is None
    assert seen.look(("b", 1), "2-0", now_s=AGE_S) == "1-0"


def test_what_was_acknowledged_before_a_backups_last_entry_came_is_in_it() -> None:
    """The newest look at a stream that ended earlier; one at the same end is as good, and as bad."""
    known = Acknowledged()
    for entry, last in (("2-0", "9-0"), ("5-0", "12-0"), ("6-0", "12-0"), ("12-0", "20-0")):
        known.look(("b", 0), entry, last=last)

    found = {mark: known.before(("b", 0), mark) for mark in ("9-0", "10-0", "12-0", "13-0", "20-0", "21-0")}
    assert found == {
        "9-0": None,
        "10-0": "2-0",
        "12-0": "2-0",
        "13-0": "6-0",
        "20-0": "6-0",
        "21-0": "12-0",
    }
    assert known.before(("b", 1), "21-0") is None


@pytest.mark.parametrize("back", [("4-0", "10-0"), ("5-0", "8-0")], ids=["given out again", "ends earlier"])
def test_a_stream_that_was_put_back_is_looked_at_anew(back: tuple[str, str]) -> None:
    """What was acknowledged before need not be stored any more."""
    known = Acknowledged()
    known.look(("b", 0), "5-0", last="9-0")
    known.look(("b", 0), back[0], last=back[1])

    assert known.before(("b", 0), "9-1") == ("5-0" if back[1] == "8-0" else None)


@pytest.mark.parametrize("missing", [1, None], ids=["it lacks an entry", "nobody knows"])
def test_a_database_that_was_put_back_makes_nothing_of_before_certain(missing: int | None) -> None:
    """Also when it has all of it again at the next look: in between a backup may have begun without."""
    known = Acknowledged()

    def certain(since: str, last: str, lacks: int | None = 0) -> str | None:
        known.of(since)
        known.look(("b", 0), "5-0", last=last, missing=lacks)
        return known.before(("b", 0), "9-1")

    assert certain("one start", "9-0") == "5-0"
    assert certain("one start", "9-5") == "5-0"
    assert certain("another", "9-5") is None
    known.look(("b", 0), "5-0", last="9-5")

    known.forget(but=[])
    assert certain("another", "9-0", missing) == "5-0"
    assert certain("another", "9-5", missing) == "5-0"
    assert certain("another", "9-5") is None


def test_looks_are_bounded_and_forgotten() -> None:
    """The newest stay; a stream that is gone keeps none."""
    known = Acknowledged()
    for place in range(1, LOOKS_MAX + 10):
        known.look(("b", 0), f"{place}-0", last=f"{place}-0")
    assert known.before(("b", 0), "10-0") is None
    assert known.before(("b", 0), "11-0") == "10-0"
    known.forget(but=[])
    assert known.before(("b", 0), "11-0") is None


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_ids_are_ordered_as_two_numbers(milliseconds: int, sequence: int) -> None:
    """Up to the largest that there is."""
    assert order(f"{milliseconds}-{sequence}") == (milliseconds, sequence)
