"""The desk's files: the roll judged line by line, the journal of roots after a crash, and the shuffle."""

import hashlib
import io
from pathlib import Path

import pytest

from ballot.suite import SigningKey
from runtime.home import Home
from scrutineer import roll_file
from scrutineer.roots import RootJournal
from scrutineer.shuffle import Shuffler

HEADER = "member_id,name,email,mobile,address\n"
KEY = SigningKey.from_seed(b"k" * 32)


def faults_of(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    """What `check` says of a roll."""
    path = tmp_path / "roll.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(roll_file.RollFaults) as caught:
        roll_file.check(path, seen=roll_file.Seen())
    return caught.value.faults


@pytest.mark.parametrize("text", ["07700 900123", "+447700900123", "0044 7700-900123", "+44 (0)7700 900123"])
def test_all_spellings_of_a_mobile_number_are_one(text: str) -> None:
    """07…, +447… and 00447… are the same telephone."""
    assert roll_file.mobile_key(text) == "+447700900123"


@pytest.mark.parametrize("text", ["Ann@Example.org", " ann@example.org ", "\uff41nn@example.ORG"])
def test_all_spellings_of_an_email_address_are_one(text: str) -> None:
    """Case, blanks and character width do not make another mailbox."""
    assert roll_file.email_key(text) == "ann@example.org"


def test_every_fault_is_told_and_the_list_is_capped(tmp_path: Path) -> None:
    """All faults of a roll come at once: twenty by line, the rest as a number, and never a value."""
    rows = "".join(f"M{number},Secret Name,not-an-email-{number},,\n" for number in range(30))

    faults = faults_of(tmp_path, HEADER + rows)

    assert [line for line, _ in faults] == list(range(2, 32))
    shown = str(roll_file.RollFaults(faults))
    assert shown.count("\n") == 20
    assert shown.endswith("and 10 more")
    assert "Secret" not in shown
    assert "not-an-email" not in shown


def test_a_quoted_address_may_span_lines_and_faults_keep_their_lines(tmp_path: Path) -> None:
    """Line numbers are the file's own, also after an address of three lines."""
    text = HEADER + 'M1,A,,,"1 Street\nTown\nAB1"\nM2,B,bad,,\nM3,C,,,"open\n'

    faults = faults_of(tmp_path, text)

    assert faults[0] == (5, "email is not an email address")
    assert faults[1][0] == 6
    assert "not readable as CSV" in faults[1][1]


def test_a_member_twice_names_both_lines(tmp_path: Path) -> None:
    """The second line of a repetition is told with the first."""
    faults = faults_of(tmp_path, HEADER + "M1,A,a@b.example,,\nM2,B,b@b.example,,\nM1,C,c@b.example,,\n")

    assert faults == [(4, "the member_id is that of line 2 too")]


def test_a_voter_of_an_earlier_roll_is_refused(tmp_path: Path) -> None:
    """A top-up roll may not bring somebody, or somebody's mailbox, that is there already."""
    seen = roll_file.Seen()
    seen.add("email", "a@b.example")
    path = tmp_path / "roll.csv"
    path.write_text(HEADER + "M1,A,A@B.example,,\n")

    with pytest.raises(roll_file.RollFaults, match="line 2: a voter with this email was imported before"):
        roll_file.check(path, seen=seen)


def test_a_file_that_changes_between_the_two_readings_is_refused(tmp_path: Path) -> None:
    """What is imported is what was judged."""
    path = tmp_path / "roll.csv"
    path.write_text(HEADER + "M1,A,a@b.example,,\n")
    checked = roll_file.check(path, seen=roll_file.Seen())
    path.write_text(HEADER + "M2,A,a@b.example,,\n")

    with pytest.raises(roll_file.RollFaults, match="changed"):
        list(roll_file.read(path, checked))


def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path: Path) -> None:
    """A line cut short by a crash never happened; what follows is written after the last whole one."""
    home = Home(tmp_path / "home")
    home.make()
    journal = RootJournal(home, "b")
    journal.drawing(tmp_path / "codes.csv")
    signed = journal.sign(1, "issue", [b"leaf", b"other"], KEY)
    with journal.path.open("ab") as file:
        file.write(b'{"act": "pushed", "ba')

    again = RootJournal(home, "b")
    again.push_done(1)
    last = RootJournal(home, "b")

    assert again.live() == [signed]
    assert (last.live(), last.pushed, last.batch_last) == ([signed], {1}, 1)
    assert len(last.leaf_hashes(1)) == 2


def test_the_shuffle_keeps_every_line_and_no_order(tmp_path: Path) -> None:
    """Each line comes out once, in another order each time, and the digest is that of what is written."""
    lines = [f"{number:05d}\n".encode() for number in range(5_000)]

    def shuffled() -> bytes:
        with Shuffler(tmp_path) as shuffler:
            for line in lines:
                shuffler.add(line)
            digest = shuffler.shuffle()
            out = io.BytesIO()
            shuffler.copy_to(out)
        assert hashlib.sha256(out.getvalue()).digest() == digest
        return out.getvalue()

    first, second = shuffled(), shuffled()

    assert sorted(first.splitlines(keepends=True)) == sorted(second.splitlines(keepends=True)) == lines
    assert first != second != b"".join(lines)
    assert not list(tmp_path.iterdir())


def test_every_place_is_as_likely(tmp_path: Path) -> None:
    """The first line of many small shuffles lands everywhere about equally often."""
    places = [0] * 4
    for _ in range(400):
        with Shuffler(tmp_path) as shuffler:
            for line in (b"a\n", b"b\n", b"c\n", b"d\n"):
                shuffler.add(line)
            shuffler.shuffle()
            out = io.BytesIO()
            shuffler.copy_to(out)
        places[out.getvalue().splitlines().index(b"a")] += 1

    # 100 expected, standard deviation 8.7: beyond 50 once in 10^7 runs.
    assert all(50 < count < 150 for count in places)
