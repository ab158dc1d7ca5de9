"""The pure parts of recovery: numbers that are missing, streams and what they need, journals, words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.acceptances import Acceptances
from ops.recovery import desk, numbers, streams
from ops.recovery.journals import Journals, Lost, numbered
from ops.recovery.jumps import Jump
from ops.recovery.numbers import NUMBER_MAX, Numbers
from ops.recovery.record import Seen, held_fields, order
from ops.recovery.report import SHOWN_MAX, BallotReport, Report, Rest
from ops.recovery.shard import Entry, Extent
from ops.recovery.streams import Mending, Waiting

REFERENCE = "0123-4567-89AB-CDEF"


RANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6)), max_size=6).map(
    lambda pairs: [(first, first + length) for first, length in pairs]
)


@given(ranges=RANGES, others=RANGES)
def test_what_is_in_none_of_the_others(ranges: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    """As sets of numbers; in order, and what touches is one range."""
    one, two = (
        {number for first, last in each for number in range(first, last + 1)} for each in (ranges, others)
    )
    found = numbers.less(ranges, others)
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(one - two)
    assert numbers.joined(found) == found


def test_an_entry_proves_no_number() -> None:
    """Anybody may have appended it: it is known, and those before it are not thereby lost."""
    found = Numbers(limit=1000)
    found.add(1)
    found.add(3)
    found.add(1000, proves=False)
    assert (found.largest, found.missing(), found.unproved) == (3, [(2, 2)], 1)


@given(
    known=st.sets(st.integers(1, 60)),
    reached=st.integers(0, 80),
    without=st.integers(0, 5),
    skipped=st.lists(st.tuples(st.integers(1, 40), st.integers(0, 40)), max_size=3),
)
def test_missing_numbers_are_those_that_nobody_has(
    known: set[int], reached: int, without: int, skipped: list[tuple[int, int]]
) -> None:
    """Up to the largest each is known, jumped over or missing; the very first go to an older gate's votes."""
    found = Numbers(limit=50)
    for number in known:
        found.add(number)
    found.reached(reached)
    found.without = without
    jumped = numbers.joined([(first, first + length) for first, length in skipped])
    ranges = found.missing(jumped)
    missing = [number for first, last in ranges for number in range(first, last + 1)]
    gone = {number for first, last in jumped for number in range(first, last + 1)}
    largest = max([0, min(reached, 50), *(number for number in known if number <= 50)])
    wanted = [number for number in range(1, largest + 1) if number not in known | gone]
    beginning = next((number for number in range(1, 52) if number not in wanted), 52)
    assert missing == [number for number in wanted if number > min(without, beginning - 1)]
    assert (found.largest, numbers.count(ranges)) == (largest, len(missing))


@pytest.mark.parametrize("odd", [0, -1, NUMBER_MAX + 1, 10**18])
def test_what_is_no_number_reaches_nothing(odd: int) -> None:
    """Junk in an entry is a vote without a number: it hides no lost one."""
    found = Numbers()
    found.add(odd)
    assert (found.largest, found.unnumbered, found.missing()) == (0, 1, [])
    found.reached(2)
    assert found.missing() == [(1, 2)]


def test_a_jump_is_behind_all_that_can_have_been_given() -> None:
    """As many as there are codes and releases, from where the last one ended; all jumps are kept."""
    first = Jump([], gate=7, base=0, room=10)
    assert (first.limit, first.beyond(3), first.taken(3, 13)) == (10, 13, [(4, 13)])
    again = Jump([(4, 13)], gate=15, base=13, room=10)
    assert (again.limit, again.beyond(15), again.taken(15, 25)) == (23, 25, [(4, 13), (16, 25)])
    unused = Jump([(4, 13)], gate=3, base=13, room=10)
    assert (unused.beyond(3), unused.taken(3, 23)) == (23, [(4, 23)])


def test_a_jump_that_is_not_on_record_is_followed() -> None:
    """Where the gate or a stored vote shows it, as far as that is believed; what cannot be proves nothing."""
    shown = {
        (15, 0, 0, 8): (0, 0, 15),  # a gate beyond all that can have been, without a jump: no proof
        (36, 7, 34, 8): (34, 36, 0),  # the gate shows the jump
        (0, 0, 0, 25): (25, 0, 0),  # only a stored vote does
        (44, 25, 44, 25): (25, 25, 0),  # the gate has jumped again, and a vote came between
        (10**15 - 1, 0, 0, 8): (0, 0, 10**15 - 1),
    }
    for seen, (base, gate, impossible) in shown.items():
        jump = Jump([], base=0, room=10)
        jump.settle(*seen)
        assert (jump.base, jump.gate, jump.impossible) == (base, gate, impossible), seen
        known = max(gate, seen[3])
        assert jump.beyond(known) >= max(known + 10, seen[0] if seen[0] < 10_000 else 0)


def test_numbers_do_not_run_out() -> None:
    """A hundred recoveries of a shard of two million: each goes on behind the last, and counts what came."""
    skipped: list[tuple[int, int]] = []
    had: list[int] = []
    number = 0
    for _ in range(100):
        jump = Jump(skipped, gate=number + 3, base=number, room=2_000_000)
        found = Numbers(jump.limit)
        had += [number + 1, number + 3]
        for each in had:
            found.add(each)
        found.reached(jump.gate)
        assert found.missing(skipped) == [(each + 1, each + 1) for each in had[::2]]
        assert found.unnumbered == 0
        number = jump.beyond(found.largest)
        assert number > jump.limit > found.largest
        skipped = jump.taken(found.largest, number)
    assert number < NUMBER_MAX // 1_000


def test_what_is_too_much_for_a_report_goes_into_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References and ranges beyond a bound are counted and listed beside it; the list's digest is in it."""
    monkeypatch.setattr("ops.recovery.journals.NAMES_MAX", 1)
    monkeypatch.setattr("ops.recovery.report.RANGES_MAX", 1)
    found = BallotReport("a")
    rest = Rest(tmp_path, found)
    lost = Lost(found, rest, named={"N"}, ends={0: (2, 9)})
    for number, reference in [(1, "A"), (1, "A"), (3, "B"), (10, "C"), (2, "N")]:
        lost.add(0, number, reference)
    lost.end()
    assert rest.ranges(0, [(1, 1), (4, 6)]) == [(1, 1)]
    rest.close()
    assert (found.unconfirmed, found.unconfirmed_more, found.unconfirmed_before) == (["A"], 2, 1)
    assert (found.claimed, found.journal_numbers_odd, found.unaccounted_more) == ({"0": 1}, 1, 3)
    written = Path(found.rest["file"]).read_bytes()
    assert written == b"unconfirmed B\nunconfirmed C\nunaccounted 0 4 6\n"
    assert found.rest["sha256"] == hashlib.sha256(written).hexdigest()


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
