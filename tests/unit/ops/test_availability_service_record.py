"""Starts and stops are on disk before they happen, in order, and no torn line hides what comes after it."""

import json
import stat
from pathlib import Path

import pytest

from ops.availability import service_record
from ops.availability.service_record import STARTED, STOPPED, ServiceRecord


def kinds(record: ServiceRecord) -> list[tuple[str, bool]]:
    """What voterdb does not have yet."""
    return [(line.kind, line.asked) for line in record.unwritten()]


def test_what_was_not_brought_over_waits(tmp_path: Path) -> None:
    """Each line until it is marked, also for another process that reads the same directory."""
    record = ServiceRecord(tmp_path)
    assert kinds(record) == []
    record.started()
    record.stopped(asked=True)
    other = ServiceRecord(tmp_path)
    assert kinds(other) == [(STARTED, True), (STOPPED, True)]
    other.mark_written(other.unwritten()[0].end_offset)
    record.stopped(asked=False)
    assert kinds(record) == [(STOPPED, True), (STOPPED, False)]
    assert [line.kind for line in record.all()] == [STARTED, STOPPED, STOPPED]
    assert stat.S_IMODE((tmp_path / service_record.FILE).stat().st_mode) == 0o600


def test_a_torn_line_is_nothing(tmp_path: Path) -> None:
    """A power cut in the middle of a line loses that line and no other."""
    record = ServiceRecord(tmp_path)
    record.started()
    with (tmp_path / service_record.FILE).open("ab") as file:
        file.write(b'{"kind": "service.sto')
    assert kinds(record) == [(STARTED, True)]
    record.started()
    assert kinds(record) == [(STARTED, True), (STARTED, True)]


@pytest.mark.parametrize("line", ["[]", '{"kind": "vote"}', '{"kind": "vote", "at_us": 1, "asked": true}'])
def test_what_is_no_start_or_stop_is_not_read(tmp_path: Path, line: str) -> None:
    """Whatever else stands in the file is passed over."""
    (tmp_path / service_record.FILE).write_text(line + "\n")
    record = ServiceRecord(tmp_path)
    record.stopped(asked=True)
    assert kinds(record) == [(STOPPED, True)]


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What voterdb has is dropped when it is much; what it has not stays, up to a bound that is said."""
    monkeypatch.setattr(service_record, "FILE_BYTES_MAX", 300)
    record = ServiceRecord(tmp_path)
    for _ in range(5):
        record.started()
    record.mark_written(record.unwritten()[-1].end_offset)
    record.started()
    assert kinds(record) == [(STARTED, True)]
    while (tmp_path / service_record.FILE).stat().st_size <= 600:
        record.stopped(asked=True)
    with pytest.raises(OSError, match="full"):
        record.stopped(asked=True)


@pytest.mark.parametrize("mark", ["-1", "1000000", "x", ""])
def test_a_wrong_mark_brings_over_everything_again(tmp_path: Path, mark: str) -> None:
    """Twice is harmless, never is not."""
    record = ServiceRecord(tmp_path)
    record.started()
    (tmp_path / "service.written").write_text(mark)
    assert kinds(record) == [(STARTED, True)]


def test_a_line_is_a_turn_of_its_host(tmp_path: Path) -> None:
    """As the timeline reads it, with the moment that was written down."""
    record = ServiceRecord(tmp_path)
    record.stopped(asked=False)
    (line,) = record.unwritten()
    turn = line.turn("here")
    assert (turn.host, turn.started, turn.asked) == ("here", False, False)
    assert turn.at_us == json.loads((tmp_path / service_record.FILE).read_text())["at_us"]
