"""The desk's side of complaints: its key, what opens, and what a terminal is shown."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import click
import pytest

from ballot import complaint
from ballot.complaint import Complaint
from runtime.home import Home
from scrutineer.complaint_balance import Balance, Stream
from scrutineer.complaints import _rendered, printable
from scrutineer.complaints_key import complaints_key, publish
from scrutineer.desk_key import desk_key
from scrutineer.serving import parse
from scrutineer.unsealing import ComplaintsKey, Unreadable

if TYPE_CHECKING:
    from pathlib import Path

NOW_MS = 1_750_000_000_000
KEY = ComplaintsKey(b"k" * 32)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of a test's own."""
    found = Home(tmp_path / "home")
    found.make()
    return found


def test_what_is_sealed_to_the_key_opens_and_nothing_else_does() -> None:
    """Another key, altered bytes, junk, a note taken for a complaint or the other way round: unreadable."""
    sealed = complaint.seal(Complaint("text", "contact"), KEY.public_key)
    note = complaint.seal(Complaint("note"), KEY.public_key, info=complaint.NOTE_INFO)
    assert KEY.open(sealed) == Complaint("text", "contact")
    assert KEY.open_note(note) == "note"
    for each in (sealed[:-1] + bytes([sealed[-1] ^ 1]), bytes(len(sealed)), b"\xff" * len(sealed), b"", note):
        with pytest.raises(Unreadable):
            KEY.open(each)
    with pytest.raises(Unreadable):
        KEY.open_note(sealed)
    with pytest.raises(Unreadable):
        ComplaintsKey(b"o" * 32).open(sealed)


def test_the_key_neither_shows_nor_travels() -> None:
    """Its repr is its name, and it cannot be pickled."""
    assert repr(KEY) == "<ComplaintsKey>"
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_the_published_key_is_never_replaced(home: Home) -> None:
    """Made once and signed by the desk; another one in its place is an error, and stays as it is."""
    desk = desk_key(home)
    key = complaints_key(home, desk)
    entry = json.loads(home.complaints_key_file.read_bytes())
    assert complaint.verify_key(entry, desk.public) == key.public_key
    assert complaints_key(home, desk).public_key == key.public_key
    (home.secrets / "complaints.key").write_text("11" * 32 + "\n")
    with pytest.raises(click.ClickException, match="neither is replaced"):
        complaints_key(home, desk)
    assert json.loads(home.complaints_key_file.read_bytes()) == entry


def test_a_lost_key_keeps_no_ballot_from_being_closed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Another command says so in a line and goes on; a command about complaints does not."""
    desk = desk_key(home)
    publish(home)
    assert capsys.readouterr().err == ""
    (home.secrets / "complaints.key").unlink()
    publish(home)
    assert "is missing" in capsys.readouterr().err
    with pytest.raises(click.ClickException, match="is missing"):
        complaints_key(home, desk)
    publish(Home(home.path, embedded=False))  # where nothing is made up, there may be none
    assert capsys.readouterr().err == ""


def test_a_terminal_is_shown_nothing_that_it_would_obey() -> None:
    """Escapes, other controls and marks that turn the order round are replaced; lines and Welsh stay."""
    assert printable("Tŷ\n\tdŵr") == "Tŷ\n\tdŵr"
    for sign in ("\x1b", "\x07", "\r", "\x9b", "\u202e", "\u2066", "\u2028", "\ud800"):
        assert printable(f"a{sign}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_notes_and_names_are_made_printable_too() -> None:
    """A history is no safer than a complaint; a note that does not open is said to be there."""
    line = {
        "state": "in-hand",
        "by": "M\x1b[2J",
        "at": "then",
        "note": "see\x1b]0;x\x07 \u202eback\u2069",
        "note_readable": True,
    }
    told = {
        "number": "N",
        "state": "in-hand",
        "received_at": "t",
        "route": "web",
        "ballot": None,
        "readable": True,
        "text": "a\x9bb",
        "contact": "c\x1b\nd",
        "history": [line],
    }
    shown = _rendered(told)
    assert not set("\x1b\x07\x9b\u202e\u2069") & set(shown)
    assert "see\N{REPLACEMENT CHARACTER}" in shown
    told["history"] = [{**line, "note": None, "note_readable": False}]
    assert "its note is unreadable" in _rendered(told)


def test_only_what_the_function_writes_is_taken_for_a_complaint() -> None:
    """Length and id are looked at again before the store sees them."""
    sealed, at = bytes(complaint.SEALED_BYTES), b"1700000000123"
    entry = parse("1-0", {b"s": sealed, b"b": b"", b"t": at}, now_ms=NOW_MS)
    assert entry is not None
    assert (entry.lodged.ballot, entry.lodged.sealed, entry.received_ms) == (None, sealed, 1_700_000_000_123)
    named = parse("1-0", {b"s": sealed, b"b": b"tube-2025"}, now_ms=NOW_MS)
    assert named is not None
    assert named.lodged.ballot == "tube-2025"
    for fields in ({}, {b"s": sealed[1:]}, {b"s": sealed, b"b": b"A"}, {b"s": sealed, b"b": b"\xff"}):
        assert parse("1-0", fields, now_ms=NOW_MS) is None


@pytest.mark.parametrize(
    "time",
    [b"", b"0", b"-1", b"7000000000000", b"9223372036854775807", b"9" * 5_000, b"x", b"\xff", "²".encode()],
)
def test_a_time_that_cannot_be_is_replaced_by_now(time: bytes) -> None:
    """Before the year 2000, after now, none, or no number: the complaint is kept, with our own time."""
    entry = parse("9223372036854775807-0", {b"s": bytes(complaint.SEALED_BYTES), b"t": time}, now_ms=NOW_MS)
    assert entry is not None
    assert entry.received_ms == NOW_MS


def test_what_leaves_the_stream_is_held_against_what_was_taken(tmp_path: Path) -> None:
    """Taken, or being taken when killed: none is missing. Trimmed, or made anew: told once."""
    file = tmp_path / "taken.json"
    balance = Balance(file)
    assert balance.missing(Stream(10, 4, 0)) == 0
    balance.leave(3)
    balance.left(3)
    assert balance.missing(Stream(12, 3, 0)) == 0
    balance.leave(2)  # and killed: it may have left or not
    assert Balance(file).missing(Stream(12, 1, 0)) == 0
    assert Balance(file).missing(Stream(15, 4, 0)) == 0
    balance = Balance(file)
    balance.leave(2)
    assert Balance(file).missing(Stream(15, 4, 0)) == 0
    assert Balance(file).missing(Stream(16, 0, 0)) == 5
    balance = Balance(file)
    assert balance.missing(Stream(16, 0, 0)) == 0
    assert balance.missing(Stream(1, 1, 0)) < 0
    assert balance.missing(Stream(1, 1, 0)) == 0
    file.write_text("[]")
    assert Balance(file).missing(Stream(1, 1, 0)) < 0
