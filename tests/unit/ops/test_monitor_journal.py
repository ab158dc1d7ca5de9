"""The journal: what was written survives a kill at any byte, and nothing is handed over twice."""

import os
from pathlib import Path

import pytest

from ops.monitor.intervals import Interval, State
from ops.monitor.journal import Journal

FIRST = Interval(0, 10, State.UP)
SECOND = Interval(10, 20, State.DOWN, "refused")


def test_intervals_wait_in_order_until_marked(tmp_path: Path) -> None:
    """While voterdb is away they stay; after the mark they are not offered again."""
    journal = Journal(tmp_path)
    journal.append([FIRST])
    journal.append([SECOND])

    waiting = Journal(tmp_path).unwritten()
    journal.mark_written(waiting[0].end_offset)

    assert [entry.interval for entry in waiting] == [FIRST, SECOND]
    assert [entry.interval for entry in Journal(tmp_path).unwritten()] == [SECOND]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_torn_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    """A power cut in the middle of a line costs that line only."""
    journal = Journal(tmp_path)
    journal.append([FIRST, SECOND])
    path = tmp_path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])

    again = Journal(tmp_path)
    again.append([SECOND])

    assert [entry.interval for entry in again.unwritten()] == [FIRST, SECOND]


def test_the_checkpoint_is_restored(tmp_path: Path) -> None:
    """A restart goes on from the open interval."""
    journal = Journal(tmp_path)
    journal.append([FIRST])
    journal.checkpoint(SECOND)

    assert Journal(tmp_path).restored() == SECOND


def test_a_checkpoint_that_the_journal_overtook_is_not_ended_twice(tmp_path: Path) -> None:
    """Killed between the journal and the checkpoint, the restart begins where the journal ends."""
    journal = Journal(tmp_path)
    journal.checkpoint(Interval(0, 7, State.UP))
    journal.append([FIRST])

    assert Journal(tmp_path).restored() == Interval(10, 10, State.UNKNOWN)


def test_a_long_journal_that_voterdb_has_is_shortened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last line stays and is offered once more; one that voterdb lacks is never dropped."""
    journal = Journal(tmp_path)
    journal.append([FIRST, SECOND])
    monkeypatch.setattr("ops.monitor.journal.JOURNAL_BYTES_MAX", 10)
    assert len(Journal(tmp_path).unwritten()) == 2

    journal.mark_written(journal.unwritten()[-1].end_offset)

    shortened = Journal(tmp_path)
    assert [entry.interval for entry in shortened.unwritten()] == [SECOND]
    assert shortened.restored() == Interval(20, 20, State.UNKNOWN)


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Every file here is its owner's alone, whatever the umask, and also if it was open to others before."""
    (tmp_path / "open.json.new").write_bytes(b"")
    (tmp_path / "open.json.new").chmod(0o644)
    before = os.umask(0o022)
    try:
        journal = Journal(tmp_path)
        journal.append([FIRST])
        journal.mark_written(0)
        journal.checkpoint(SECOND)
    finally:
        os.umask(before)

    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
