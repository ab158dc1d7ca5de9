"""The journal: what was accepted and nothing else, within its bounds; a fault of its disk is nobody's."""

from __future__ import annotations

import os
import resource
import stat
from typing import TYPE_CHECKING

import orjson
import pytest

from ballot.acceptances import FILES, Acceptances
from ballot.receipt import draw_reference
from intake import journal, journal_files
from intake.gate import Decision, Outcome
from intake.journal import FLUSH_S, Journal
from intake.journal_files import FILE_BYTES_MAX, FILES_MAX, HOME_BYTES_MAX, LEFT_BYTES, JournalFiles
from tests.manual_clock import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

AT_US = 1_750_000_000_000_000


def decision(outcome: Outcome = "accepted", *, number: int = 0) -> Decision:
    """One of the gate's."""
    reference = draw_reference(0, 1, random=os.urandom)
    return Decision(outcome, 1, 9, "open", reference, AT_US, b"s" * 32, number, b"a receipt, and its key")


def accepted(first: int, count: int) -> list[Decision]:
    """What one call decided, all of it accepted."""
    return [decision(number=first + place) for place in range(count)]


def written(folder: Path) -> list[Acceptances]:
    """Every line of every journal, oldest file first."""
    return [
        Acceptances.from_line(line)
        for path in sorted(folder.glob(FILES))
        for line in path.read_bytes().splitlines()
    ]


class SmallDisk(JournalFiles):
    """Files of which none may grow beyond `room`: the write that would is cut short, the next one fails."""

    room = resource.RLIM_INFINITY

    def append(self, lines: bytes) -> None:
        """Only the journal's own writes: the log is on another disk."""
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.room, hard))
        try:
            super().append(lines)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def logged(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The actions in the log, in order."""
    return [orjson.loads(line)["action"] for line in capfd.readouterr().err.splitlines()]


@pytest.fixture
def quiet(tmp_path: Path) -> Journal:
    """A journal whose thread does not run: the test writes when it wants to."""
    kept = Journal(tmp_path, clock=ManualClock())
    kept._files = SmallDisk(tmp_path, clock=ManualClock())
    return kept


def test_what_one_call_accepted_is_one_line(quiet: Journal, tmp_path: Path) -> None:
    """Reference, number and time of what was accepted; nothing of what was repeated or refused."""
    votes = accepted(7, 2)
    odd = [decision("repeated"), votes[0], decision("not_accepted"), votes[1]]
    quiet.note("b", 3, odd)
    quiet.note("b", 4, [decision("repeated")])

    quiet._flush()

    (line,) = written(tmp_path)
    assert (line.ballot, line.shard, line.at_us, list(line.numbers)) == ("b", 3, AT_US, [7, 8])
    assert list(line.references) == [vote.reference for vote in votes]
    (path,) = tmp_path.glob(FILES)
    assert set(orjson.loads(path.read_bytes())) == {"ballot", "shard", "at", "first", "references"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_lags_by_less_than_a_second_and_writes_the_rest_at_the_end(tmp_path: Path) -> None:
    """The thread writes by itself, and what was noted last is there once the journal is closed."""
    assert FLUSH_S <= 0.5
    kept = Journal(tmp_path, clock=ManualClock(), flush_s=60)
    kept.start()
    for first in range(1, 50, 7):
        kept.note("b", 0, accepted(first, 7))

    kept.close()

    assert [number for line in written(tmp_path) for number in line.numbers] == list(range(1, 50))


@pytest.mark.parametrize("room", [0, 40, 700])
def test_a_full_disk_costs_a_line_in_the_log(
    quiet: Journal,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    """No half of a line stays, what waits is written once there is room, and the log says both once."""
    quiet.note("b", 0, accepted(1, 3))
    quiet._flush()
    (path,) = tmp_path.glob(FILES)
    before = path.read_bytes()
    monkeypatch.setattr(SmallDisk, "room", len(before) + room)
    for first in range(4, 90):
        quiet.note("b", 0, accepted(first, 1))
        quiet._flush()
    assert path.read_bytes()[: len(before)] == before
    assert all(Acceptances.from_line(line) for line in path.read_bytes().splitlines())

    monkeypatch.undo()
    quiet._flush()

    assert [number for line in written(tmp_path) for number in line.numbers] == list(range(1, 90))
    assert logged(capfd) == ["journal not written", "journal written again"]


def test_beyond_its_bound_it_forgets_and_says_so(
    quiet: Journal, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk does not take it, no more than a bounded number of votes waits in memory."""
    monkeypatch.setattr(journal, "VOTES_WAITING_MAX", 100)
    monkeypatch.setattr(SmallDisk, "room", 0)
    for first in range(1, 1_000, 9):
        quiet.note("b", 0, accepted(first, 9))
        quiet._flush()
    monkeypatch.undo()
    quiet._flush()
    quiet.note("b", 0, accepted(1_000, 2))
    quiet._flush()

    numbers = [number for line in written(tmp_path) for number in line.numbers]
    assert numbers == [*range(1, 100), 1_000, 1_001]
    assert logged(capfd) == ["journal not written", "journal written again"]


def test_without_its_folder_nothing_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even closing does; the log says it once, and again only after a minute."""
    clock = ManualClock()
    lost = Journal(tmp_path / "gone", clock=clock)
    lost.start()
    lost.note("b", 0, accepted(1, 1))
    lost.close()
    assert logged(capfd) == ["journal not written"]

    lost._flush()
    clock.advance(journal.SAID_S)
    lost._flush()

    assert logged(capfd) == ["journal not written"]


def test_a_bug_costs_the_journal_and_no_vote(
    quiet: Journal, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What cannot be written down is given up, and what comes later is written."""
    quiet.note("b", 0, [Decision("accepted", 1, 9, "open", "\ud800", AT_US, b"", 1)])
    quiet._flush()
    quiet.note("b", 0, accepted(2, 1))
    quiet._flush()

    assert [list(line.numbers) for line in written(tmp_path)] == [[2]]
    assert logged(capfd) == ["journal failed"]


def test_no_file_grows_beyond_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full file is ended and another begun; no line is torn or lost between them."""
    monkeypatch.setattr(journal_files, "FILE_BYTES_MAX", 1_000)
    clock = ManualClock()
    files = JournalFiles(tmp_path, clock=clock)
    for first in range(1, 100):
        clock.advance(0.001)
        files.append(Acceptances("b", 0, AT_US, [decision().reference], [first]).to_line())
    files.close()

    paths = sorted(tmp_path.glob(FILES))
    assert len(paths) > 5
    assert max(path.stat().st_size for path in paths) <= 1_000
    assert [number for line in written(tmp_path) for number in line.numbers] == list(range(1, 100))


def test_all_files_together_are_bounded_and_the_oldest_go(tmp_path: Path) -> None:
    """Of all processes of a home; what is no journal stays, and the file being written as well."""
    assert LEFT_BYTES + FILE_BYTES_MAX < HOME_BYTES_MAX
    strange = tmp_path / "accepted-somebody.txt"
    strange.write_bytes(b"x")
    (tmp_path / "accepted-folder.jsonl").mkdir()
    for place in range(60):
        path = tmp_path / f"accepted-2026{place:02d}-1.jsonl"
        path.touch()
        os.truncate(path, FILE_BYTES_MAX)
        os.utime(path, ns=(place, place))
    files = JournalFiles(tmp_path, clock=ManualClock())

    files.append(b"{}\n")

    left = sorted(path for path in tmp_path.glob("accepted-2026*"))
    assert len(left) == LEFT_BYTES // FILE_BYTES_MAX
    assert left[-1].name == "accepted-202659-1.jsonl"
    assert strange.exists()
    files._unlooked = HOME_BYTES_MAX
    files.append(b"{}\n")
    assert files._path is not None
    assert files._path.read_bytes() == b"{}\n{}\n"
    files.close()


def test_the_number_of_files_is_bounded(tmp_path: Path) -> None:
    """Processes that end and begin over and over leave no end of small files."""
    for place in range(FILES_MAX + 50):
        path = tmp_path / f"accepted-{place:04d}-1.jsonl"
        path.touch()
        os.utime(path, ns=(place, place))
    files = JournalFiles(tmp_path, clock=ManualClock())
    files.append(b"{}\n")
    files.close()

    assert len(list(tmp_path.glob(FILES))) == FILES_MAX
    assert not (tmp_path / "accepted-0000-1.jsonl").exists()


def test_a_file_that_was_taken_away_is_begun_anew(tmp_path: Path) -> None:
    """Otherwise a process would go on writing where nobody reads, and no bound would see it."""
    clock = ManualClock()
    files = JournalFiles(tmp_path, clock=clock)
    files.append(b"1\n")
    (path,) = tmp_path.glob(FILES)
    path.unlink()
    clock.advance(1)
    files.append(b"2\n")
    files.close()

    (path,) = tmp_path.glob(FILES)
    assert path.read_bytes() == b"2\n"
