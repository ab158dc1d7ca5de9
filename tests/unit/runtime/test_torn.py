"""Which end of an append-only file was a write that nobody was answered for, and which is damage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from runtime import torn, written

if TYPE_CHECKING:
    from pathlib import Path


def command(*arguments: bytes) -> bytes:
    """A command as the server writes it."""
    return b"*%d\r\n" % len(arguments) + b"".join(b"$%d\r\n%b\r\n" % (len(each), each) for each in arguments)


BEFORE = command(b"SELECT", b"0")
RECORD = bytes(range(256)) * 5
CALL = (
    command(b"MULTI")
    + command(b"XADD", b"{b:00}:votes", b"*", b"k", b"v", b"r", RECORD, b"ref", b"0000-0000-0000-0000")
    + command(b"HSET", b"{b:00}:gate", b"number", b"7")
    + command(b"EXEC")
)


def judged(tmp_path: Path, rest: bytes) -> bool:
    """What is said of these bytes after a whole command."""
    path = tmp_path / "appendonly.aof.1.incr.aof"
    path.write_bytes(BEFORE + rest)
    return torn.is_write_under_way(path, len(BEFORE))


def test_every_beginning_of_a_call_is_a_write_under_way(tmp_path: Path) -> None:
    """Wherever the kill came; but for the few ends that damage could have made as well."""
    taken = [judged(tmp_path, CALL[:length]) for length in range(1, len(CALL))]
    assert taken.count(False) <= 1  # before the very last byte
    single = command(b"HSET", b"{b:00}:gate", b"state", b"open")
    assert sum(not judged(tmp_path, single[:length]) for length in range(1, len(single))) <= 1


@pytest.mark.parametrize(
    ("was", "is_now"),
    [
        (b"$1280", b"$9712802"),
        (b"$1280", b"$91280"),
        (b"$12\r\n{b:00}:votes", b"$92\r\n{b:00}:votes"),
        (b"$4\r\nEXEC", b"$8\r\nEXEC"),
        (b"*9", b"*8"),
        (b"$1280", b"$-280"),
    ],
)
def test_a_damaged_number_is_none(tmp_path: Path, was: bytes, is_now: bytes) -> None:
    """An argument that would run to the end of the file has commands inside; whole calls come after it."""
    for behind in (b"", CALL, CALL * 20):
        assert not judged(tmp_path, CALL.replace(was, is_now, 1) + behind)


def test_what_is_whole_or_too_long_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole commands would have counted as whole; what no call of ours comes to is not cut off."""
    assert not judged(tmp_path, CALL)
    assert not judged(tmp_path, command(b"SET", b"a", b"b"))
    assert not judged(tmp_path, b"\x00" * 100)
    assert not judged(tmp_path, b"")
    monkeypatch.setattr(torn, "BYTES_MAX", 100)
    assert not judged(tmp_path, CALL[:-100])


def test_files_are_held_against_what_was_noted(tmp_path: Path) -> None:
    """Shorter and older ones fall short; longer and rewritten ones do not, nor anything without a note."""
    note, first, second = (tmp_path / name for name in ("note", *(f"a.aof.{n}.incr.aof" for n in (1, 2))))

    def manifest(path: Path) -> None:
        text = f"file {path.name} seq {path.name.split('.')[2]} type i\n"
        (tmp_path / "appendonly.aof.manifest").write_text(text)

    manifest(second)
    second.write_bytes(CALL)
    assert written.short(tmp_path, note) == ""
    written.keep(tmp_path, note, answers=lambda: False)
    assert not note.exists()
    written.keep(tmp_path, note, answers=lambda: True)
    assert written.short(tmp_path, note) == ""
    assert written.noted_bytes(second, note) == len(CALL)
    second.write_bytes(CALL + CALL)
    assert written.short(tmp_path, note) == ""
    second.write_bytes(CALL[:-1])
    assert f"has {len(CALL) - 1:,} bytes, and {len(CALL):,} were written" in written.short(tmp_path, note)

    second.unlink()
    first.write_bytes(CALL + CALL)
    manifest(first)
    assert "is older than a.aof.2.incr.aof" in written.short(tmp_path, note)
    third = tmp_path / "a.aof.3.incr.aof"
    third.write_bytes(b"")
    manifest(third)
    assert written.short(tmp_path, note) == ""
    manifest(first)
    written.forget(note)
    assert written.short(tmp_path, note) == ""
