"""The pure parts of recovery: numbers that are missing, streams and what they need, journals, words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.acceptances import Acceptances
from ops.recovery import desk, numbers, streams
from ops.recovery.journals import Journals, numbered
from ops.recovery.numbers import NUMBER_MAX, Numbers
from ops.recovery.record import Seen, held_fields, order
from ops.recovery.report import SHOWN_MAX, BallotReport, Report
from ops.recovery.shard import Entry, Extent
from ops.recovery.streams import Mending, Waiting

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "0123-4567-89AB-CDEF"


@given(known=st.sets(st.integers(1, 60)), reached=st.integers(0, 60), without=st.integers(0, 5))
def test_missing_numbers_are_those_that_nobody_has(known: set[int], reached: int, without: int) -> None:
    """Every number up to the largest is known or missing; the first of them go to votes without a number."""
    found = Numbers()
    for number in known:
        found.add(number)
    for _ in range(without):
        found.add(None)
    found.reached(reached)
    missing = [number for first, last in found.missing() for number in range(first, last + 1)]
    largest = max([0, reached, *known])
    assert missing == [number for number in range(1, largest + 1) if number not in known][without:]
    assert numbers.count(found.missing()) == len(missing)


@pytest.mark.parametrize("odd", [0, -1, NUMBER_MAX + 1, 10**15])
def test_what_is_no_number_takes_no_memory(odd: int) -> None:
    """Junk in an entry counts as a vote without a number, and reaches nothing."""
    found = Numbers()
    found.add(odd)
    found.reached(NUMBER_MAX + 1)
    assert (found.largest, found.without, found.missing()) == (0, 1, [])


def entry(name: str) -> Entry:
    """A vote that waits."""
    return Entry(name, vote=True, reference=REFERENCE, at_us=1, uin=bytes(16), method="", won=False, number=1)


@pytest.mark.parametrize(
    ("extent", "left", "seen", "needed"),
    [
        pytest.param(Extent("9-1", 5, 5, "9-1"), Waiting(), Seen("9-1", 5, 5), None, id="sound"),
        pytest.param(Extent("9-9", 7, 2, "9-1"), Waiting(), Seen("9-1", 5, 5), None, id="ahead, trimmed"),
        pytest.param(
            Extent(), Waiting(), Seen("9-1", 5, 6), Mending("9-1", 5, "9-1", 5, ("0-0", "9-1")), id="emptied"
        ),
        pytest.param(
            Extent("5-0", 3, 3, "5-0"),
            Waiting(),
            Seen("9-1", 5, 4),
            Mending("9-1", 5, "9-1", 5, ("5-0", "9-1")),
            id="torn",
        ),
        pytest.param(
            Extent("5-3", 3, 3, "4-0"),
            Waiting([entry("5-0")], "5-0", 2),
            Seen("9-1", 6, 6),
            Mending("9-1", 7, f"4-{2**64 - 1}", 5, ("5-3", "9-1")),
            id="torn, one waits",
        ),
        pytest.param(
            Extent("9-1", 5, 5, "9-1"),
            Waiting([entry("8-2")], "8-2", 3),
            Seen("8-1", 2, 5),
            Mending("9-1", 5, "8-1", 2, None),
            id="the database forgot",
        ),
        pytest.param(
            Extent("9-1", 5, 5, "9-1"), Waiting([entry("8-2")]), Seen("8-1", 4, 5), None, id="given out"
        ),
        pytest.param(
            Extent("9-1", 4, 4, "9-1"),
            Waiting(),
            Seen("9-1", 5, 5),
            Mending("9-1", 5, "9-1", 5, None),
            id="lost count",
        ),
    ],
)
def test_what_a_stream_needs(extent: Extent, left: Waiting, seen: Seen, needed: Mending | None) -> None:
    """It ends where the database has come, counts what is stored and waits, and skips nothing."""
    assert streams.mending(extent, left, seen) == needed


@given(st.tuples(st.integers(0, 5), st.integers(0, 5)))
def test_the_place_before_an_entry(at: tuple[int, int]) -> None:
    """It is before the entry and behind every other."""
    name = streams.before(f"{at[0]}-{at[1]}")
    assert at == (0, 0) or order(name) < at
    assert not any(order(name) < (ms, seq) < at for ms in range(6) for seq in range(7))


def test_journals_are_read_line_by_line(tmp_path: Path) -> None:
    """Whole lines of every file; what is torn or none of ours is counted, and other files are left alone."""
    line = Acceptances("b", 0, 5, [REFERENCE], [7])
    unnumbered = Acceptances("b", 0, 5, [REFERENCE])
    (tmp_path / "accepted-1-1.jsonl").write_bytes(line.to_line() + b'{"torn')
    (tmp_path / "accepted-2-1.jsonl").write_bytes(b"junk\n" + unnumbered.to_line())
    (tmp_path / "notes.txt").write_text("no journal")
    journals = Journals((tmp_path,))
    assert [numbered(found) for found in journals] == [[(7, REFERENCE)], [(0, REFERENCE)]]
    assert journals.unreadable == 2


def test_the_desks_journal_tells_which_batches_there_must_be(tmp_path: Path) -> None:
    """Signed and not given up; of those that are not pushed the gate may lack codes. Torn lines are none."""
    acts = [("drawing", 1), ("signed", 1), ("signed", 2), ("pushed", 1), ("signed", 3), ("abandoned", 2)]
    lines = "".join(json.dumps({"act": act, "batch": batch}) + "\n" for act, batch in acts)
    (tmp_path / "b.jsonl").write_text(lines + '{"act": "signed", "ba')
    assert (desk.live(tmp_path, "b"), desk.on_their_way(tmp_path, "b")) == ({1, 3}, {3})
    assert (desk.live(tmp_path, "other"), desk.on_their_way(tmp_path, "other")) == (set(), set())


@pytest.mark.parametrize("record", [b"", b"[]", b"3", b'{"k": 1}', b'{"k": "*"}', b"\xff"])
def test_a_record_that_cannot_be_read_has_no_fields(record: bytes) -> None:
    """Whatever stands in the quarantine, nothing fails."""
    assert held_fields(record) == {}


def test_the_report_names_some_and_counts_all() -> None:
    """The text is short, the JSON complete, and a ballot without a difference takes no line."""
    lost = BallotReport("a", unconfirmed=[f"{REFERENCE}{n}" for n in range(SHOWN_MAX + 3)])
    lost.unaccounted = {"0": [(3, 5), (9, 9)]}
    report = Report(["it is gone"], "embedded", ballots=[lost, BallotReport("b", stored=9)])
    text = report.to_text()
    assert "and 3 more" in text
    assert "4 numbers of acceptances" in text
    assert "shard 0: 3 to 5" in text
    assert "ballot b" not in text
    found = json.loads(json.dumps(report.to_dict()))
    assert found["ballots"]["a"]["unaccounted"] == {"0": [[3, 5], [9, 9]]}
    assert (found["ballots"]["a"]["changed"], len(found["ballots"]["a"]["unconfirmed"])) == (False, 23)
