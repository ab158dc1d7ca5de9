"""Setting a ballot up: what is wrong is refused whole with one clear message, and nothing is half done."""

import json
import os
import secrets
from datetime import timedelta
from pathlib import Path

import pytest

from ballot.limits import DEFINITION_BYTES_MAX
from scrutineer import lifecycle
from scrutineer import roll as rolls
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork


class Crash(Exception):  # noqa: N818  # it stands for kill -9
    """The process died here."""


@pytest.fixture
def created(run_ballot: RunBallot, tmp_path: Path, ballot_id: str) -> str:
    """A registered ballot."""
    file = tmp_path / "ballot.toml"
    file.write_text(deskwork.definition(ballot_id))
    run_ballot("create", file)
    return ballot_id


def one_message(stderr: str) -> str:
    """The message of a refused command: no traceback, and it begins as every refusal does."""
    assert "Traceback" not in stderr
    assert stderr.startswith("ballot: ")
    return stderr


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text + text[text.index("[[question]]") :], "strike"),
        (lambda text: text.replace('form = "single"', 'form = "guess"'), "form"),
        (lambda text: text.replace("opens = ", "opens_ = ").replace("closes = ", "opens = "), "closes"),
        (lambda text: text.replace('"industrial-action"', '"merger"'), "workplace"),
        (lambda text: "[ballot\n" + text, "line 1"),
    ],
    ids=["two questions of one id", "unknown form", "no closing time", "illegal kind and method", "not TOML"],
)
def test_a_definition_with_faults_is_refused_with_its_lines(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str, change: object, told: str
) -> None:
    """Each fault of a definition is told with its line, and the ballot does not exist afterwards."""
    assert callable(change)
    file = tmp_path / "ballot.toml"
    file.write_text(change(deskwork.definition(ballot_id)))

    done = run_ballot("create", file, check=False)

    assert done.returncode == 1
    message = one_message(done.stderr)
    assert told in message
    assert "line " in message
    assert "there is no ballot" in run_ballot("status", ballot_id, check=False).stderr


def test_an_id_is_given_once(run_ballot: RunBallot, tmp_path: Path, created: str) -> None:
    """A second definition under the same id is refused."""
    done = run_ballot("create", tmp_path / "ballot.toml", check=False)

    assert done.returncode == 1
    assert "exists already" in one_message(done.stderr)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"member_id,name,email,mobile\nM1,A,a@b.example,\n", "lacks address"),
        (b"member_id,name,email,mobile,address\n", "no voter"),
        (
            b"member_id,name,email,mobile,address\nM1,A,a@b.example,,\nM1,B,c@b.example,,\n",
            "line 3: the member_id",
        ),
        (b"member_id,name,email,mobile,address\nM1,\xff,a@b.example,,\n", "line 2: not UTF-8"),
        (
            b"member_id,name,email,mobile,address\nM1,A,a@b.example,,\nM2,B, A@B.EXAMPLE,,\n",
            "line 3: the email",
        ),
        (
            b"member_id,name,email,mobile,address\nM1,A,,07700900123,\nM2,B,,+447700 900123,\n",
            "line 3: the mobile",
        ),
        (b"member_id,name,email,mobile,address\nM1,A,,,\n", "line 2: one of email"),
        (b"member_id,name,email,mobile,address\nM1,A,a@b.example\n", "line 2: 3 fields"),
        (b"member_id,name,email,mobile,address\n" + b"M1" * 9000 + b",A,a@b.example,,\n", "line 2: longer"),
    ],
    ids=["empty", "column", "no voter", "member", "encoding", "email", "mobile", "contact", "fields", "long"],
)
def test_a_roll_with_faults_imports_nothing(
    run_ballot: RunBallot, tmp_path: Path, created: str, content: bytes, told: str
) -> None:
    """A roll's faults are told by line, no contact detail is repeated, and nobody is imported."""
    roll = tmp_path / "roll.csv"
    roll.write_bytes(content)

    done = run_ballot("roll", "import", created, roll, check=False)

    assert done.returncode == 1
    assert told in one_message(done.stderr)
    assert "b.example" not in done.stderr.casefold()
    assert json.loads(run_ballot("status", created, "--json").stdout)["entitled"] == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_roll_in_utf16_is_one_fault(
    run_ballot: RunBallot, tmp_path: Path, created: str, encoding: str
) -> None:
    """One cause, one line: not three about the header and the missing voters."""
    roll = tmp_path / "roll.csv"
    roll.write_text("member_id,name,email,mobile,address\nM1,A,a@b.example,,\n", encoding=encoding)

    message = one_message(run_ballot("roll", "import", created, roll, check=False).stderr)

    assert message.splitlines()[1:] == ["line 1: this is UTF-16 or no text at all; save it as CSV in UTF-8"]


def test_what_is_no_regular_file_is_refused_at_once(
    run_ballot: RunBallot, tmp_path: Path, created: str
) -> None:
    """A pipe nobody writes to, and a definition beyond its limit, are refused without reading on."""
    pipe, large = tmp_path / "pipe", tmp_path / "large.toml"
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (DEFINITION_BYTES_MAX + 1))

    for command in (("create", pipe), ("roll", "import", created, pipe)):
        assert "is not a regular file" in one_message(run_ballot(*command, check=False).stderr)
    assert "is larger than" in one_message(run_ballot("create", large, check=False).stderr)


def test_a_roll_takes_any_column_order_and_a_byte_order_mark(
    run_ballot: RunBallot, tmp_path: Path, created: str
) -> None:
    """Spreadsheets write a byte-order mark and their own order of columns."""
    roll = tmp_path / "roll.csv"
    roll.write_bytes(b"\xef\xbb\xbfemail,address,member_id,mobile,name\r\na@b.example,,M1,,A\r\n")

    run_ballot("roll", "import", created, roll)
    again = run_ballot("roll", "import", created, roll)

    assert "imported before" in again.stdout
    assert json.loads(run_ballot("status", created, "--json").stdout)["entitled"] == 1


async def test_a_roll_import_that_died_half_way_is_finished_by_the_next(
    stack: Stack, tmp_path: Path, created: str
) -> None:
    """People are in one cluster and their UINs not yet in the other: the rerun adds what is missing."""
    roll = deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(30))

    def die(_name: str) -> None:
        raise Crash

    with pytest.raises(Crash):
        await deskwork.with_desk(stack, lambda desk: rolls.import_roll(desk, created, roll, step=die))
    done = await deskwork.with_desk(stack, lambda desk: rolls.import_roll(desk, created, roll))

    assert done == (30, 30)


async def test_the_order_of_the_two_clusters_links_nobody(stack: Stack, tmp_path: Path, created: str) -> None:
    """UINs stand in the voter database in their own order, not in the roll's."""
    roll = deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(30))
    async with deskwork.desk_of(stack) as desk:
        await rolls.import_roll(desk, created, roll)
        query = "SELECT uin FROM {} WHERE ballot = $1 ORDER BY ctid"
        people = [row["uin"] for row in await desk.people.fetch(query.format("people.voters"), created)]
        votes = [row["uin"] for row in await desk.votes.fetch(query.format("ballot.electorate"), created)]

    assert sorted(people) == votes
    assert people != votes


def test_keys_are_registered_only_with_the_holders_own_proof(run_ballot: RunBallot, created: str) -> None:
    """A rehearsal of another ballot, with too few shares or another signature is refused; other keys too."""
    good = deskwork.key_registration(created, result_seed=b"1" * 32)
    other = deskwork.key_registration("another", result_seed=b"1" * 32)
    few = deskwork.key_registration(created, result_seed=b"1" * 32, shares_used=1)
    forged = {**good, "signature": deskwork.key_registration(created, result_seed=b"2" * 32)["signature"]}

    def register(sent: dict[str, object]) -> tuple[int, str]:
        done = run_ballot("keyring", "register", created, "-", input=json.dumps(sent), check=False)
        return done.returncode, done.stderr

    assert "another ballot" in register(other)[1]
    assert "fewer shares" in register(few)[1]
    assert "signature" in register(forged)[1]
    assert register(good) == (0, "")
    assert register(good) == (0, "")
    assert "other keys" in register(deskwork.key_registration(created, result_seed=b"3" * 32))[1]
    shown = json.loads(run_ballot("keyring", "show", created, "--json").stdout)
    assert (shown["threshold"], shown["shares"], shown["rehearsals"]) == (2, 3, 1)


def test_opening_is_refused_until_everything_is_ready_and_happens_once(
    run_ballot: RunBallot, tmp_path: Path, created: str
) -> None:
    """No key, no roll, no codes, and a second time: each is one sentence; so is closing what never opened."""

    def refusal(*command: str) -> str:
        done = run_ballot(*command, check=False)
        assert done.returncode == 1
        return one_message(done.stderr)

    assert "never opened" in refusal("close", created)
    assert "never opened" in refusal("extend", created, "--until", "2040-01-01T00:00:00Z")
    assert "never opened" in refusal("export", created, "--out", str(tmp_path / "export"))
    assert "has no keys" in refusal("open", created)
    sent = deskwork.key_registration(created, result_seed=secrets.token_bytes(32))
    run_ballot("keyring", "register", created, "-", input=json.dumps(sent))
    assert "has no roll" in refusal("open", created)
    assert "has no roll" in refusal("codes", "issue", created, "--out", str(tmp_path / "codes.csv"))
    run_ballot("roll", "import", created, deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(3)))
    assert "3 of 3 voters have no code" in refusal("open", created)
    run_ballot("codes", "issue", created, "--out", tmp_path / "codes.csv")
    run_ballot("open", created)
    assert "already open" in refusal("open", created)
    more = deskwork.write_roll(tmp_path / "more.csv", deskwork.members(2, start=10))
    assert "its roll is fixed" in refusal("roll", "import", created, str(more))
    assert json.loads(run_ballot("status", created, "--json").stdout)["state"] == "open"


def test_a_closing_time_in_the_past_cannot_be_opened(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A ballot that would be closed at once is not opened."""
    file = tmp_path / "ballot.toml"
    file.write_text(deskwork.definition(ballot_id, closes_in=timedelta(minutes=-5)))
    run_ballot("create", file)
    sent = deskwork.key_registration(ballot_id, result_seed=secrets.token_bytes(32))
    run_ballot("keyring", "register", ballot_id, "-", input=json.dumps(sent))
    run_ballot("roll", "import", ballot_id, deskwork.write_roll(tmp_path / "roll.csv", deskwork.members(3)))
    run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "codes.csv")

    done = run_ballot("open", ballot_id, check=False)

    assert done.returncode == 1
    assert "would have closed" in one_message(done.stderr)


def test_a_probe_takes_new_voters_while_it_is_open(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """The standing ballot is topped up: new members join its roll and get codes after it has opened."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, kind="probe")
    run_ballot("open", ballot_id)
    more = deskwork.write_roll(tmp_path / "more.csv", deskwork.members(4, start=100))

    run_ballot("roll", "import", ballot_id, more)
    run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "more-codes.csv")

    assert len(deskwork.read_codes(tmp_path / "more-codes.csv")) == 4
    assert {row["channel"] for row in deskwork.read_codes(tmp_path / "more-codes.csv").values()} == {
        "email",
        "sms",
        "post",
    }
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (told["entitled"], told["books"]["unused"], told["balanced"]) == (7, 7, True)


@pytest.mark.parametrize("at", [pytest.param("frozen", marks=pytest.mark.long), "armed"])
async def test_an_opening_that_died_is_finished_with_the_same_document(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, at: str
) -> None:
    """The document that was signed before the crash is the one that is published after it."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, shards=2)

    def die(name: str) -> None:
        if name == at:
            raise Crash

    with pytest.raises(Crash):
        await deskwork.with_desk(stack, lambda desk: lifecycle.open_ballot(desk, ballot_id, step=die))
    document = (stack.home.public / f"{ballot_id}.document").read_bytes()
    run_ballot("open", ballot_id)

    assert (stack.home.public / f"{ballot_id}.document").read_bytes() == document
    assert json.loads(run_ballot("status", ballot_id, "--json").stdout)["state"] == "open"
    assert "already open" in run_ballot("open", ballot_id, check=False).stderr
