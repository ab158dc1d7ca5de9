"""What a ballot may not do: take votes online without that method, or votes that nobody can count yet."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ballot import export_file
from ballot.encoding import strict_json
from runtime import postgres
from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import ROLL, refusal, with_roll


@pytest.fixture
def postal(run_ballot: RunBallot, tmp_path: Path, ballot_id: str) -> str:
    """A ballot by post alone, with keys and a roll, in two shards."""
    text = deskwork.definition(ballot_id, kind="recognition", methods='["postal"]')
    with_roll(run_ballot, tmp_path, ballot_id, shards=2, text=text)
    return ballot_id


def write_returns(path: Path, *members: str, minutes: int = 5) -> Path:
    """A returns file, everybody received at one time."""
    received = (datetime.now(UTC) - timedelta(minutes=minutes)).replace(microsecond=0).isoformat()
    path.write_text("member_id,received_at\n" + "".join(f"{member},{received}\n" for member in members))
    return path


def test_a_ballot_without_electronic_voting_has_no_codes_and_counts_its_papers(
    run_ballot: RunBallot, tmp_path: Path, postal: str
) -> None:
    """No code is issued or reissued; it opens without, marks its returns and exports no electronic vote."""
    out = tmp_path / "codes.csv"
    assert "has no electronic voting" in refusal(run_ballot, "codes", "issue", postal, "--out", out)
    assert "has no electronic voting" in refusal(
        run_ballot, "codes", "reissue", postal, "M-00000", "--out", out
    )
    assert not out.exists()
    run_ballot("open", postal)

    file = write_returns(tmp_path / "returns.csv", "M-00000", "M-00001", "M-00007")
    assert "3 recorded" in run_ballot("returns", postal, file, "--method", "postal").stdout
    assert "3 recorded before" in run_ballot("returns", postal, file, "--method", "postal").stdout
    run_ballot("close", postal)
    run_ballot("export", postal, "--out", tmp_path / "export")

    manifest = export_file.parse_manifest((tmp_path / "export").read_bytes().splitlines(keepends=True)[0])
    assert manifest.by_method == {"electronic": 0, "postal": 3, "workplace": 0}
    assert manifest.books.entitled == ROLL


async def test_an_electronic_vote_in_a_postal_ballot_stops_the_export(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, postal: str
) -> None:
    """However it came there, an electronic vote where none is allowed is never exported."""
    run_ballot("open", postal)
    run_ballot("close", postal)
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            """INSERT INTO ballot.votes (ballot, uin, reference, accepted_us, credential_digest, channel,
                   credential, nonce, sealed, signature, sealed_sha256, event, shard, entry)
               VALUES ($1, '\\x01', '0000-0000-0000-0000', 1, '\\x01', 'e', '\\x', '\\x', '\\x', '\\x', '\\x',
                   decode(md5($1), 'hex'), 0, '1-1')""",
            postal,
        )
    finally:
        await connection.close()

    told = refusal(run_ballot, "export", postal, "--out", tmp_path / "export")

    assert "this ballot has no electronic voting" in told
    assert "0 electronic votes were accepted and 1 are stored" in told


def test_a_second_paper_of_one_voter_is_not_counted_and_listed(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """The same method at another time is another paper: named on stderr, in no count, and not again later."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3)
    run_ballot("open", ballot_id)
    run_ballot(
        "returns", ballot_id, write_returns(tmp_path / "a.csv", "M-00001", minutes=9), "--method", "postal"
    )
    second = write_returns(tmp_path / "b.csv", "M-00001", "M-00002", minutes=5)

    done = run_ballot("returns", ballot_id, second, "--method", "postal")
    again = run_ballot("returns", ballot_id, second, "--method", "postal")

    assert "1 recorded, 0 recorded before, 1 not counted" in done.stdout
    assert "0 recorded, 1 recorded before, 1 not counted" in again.stdout
    assert "line 2: M-00001 has voted already (postal); this return does not count" in done.stderr
    run_ballot("close", ballot_id)
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (told["books"]["returned_other"], told["balanced"]) == (2, True)


def test_a_ranked_ballot_is_not_opened_while_nobody_can_count_it(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A vote that could not be counted is not taken in the first place."""
    more = """
[[question]]
id = "president"
text = "Who?"
form = "ranked"
options = [ {id = "a", text = "A"}, {id = "b", text = "B"} ]
"""
    with_roll(
        run_ballot,
        tmp_path,
        ballot_id,
        text=deskwork.definition(ballot_id, kind="election", methods='["electronic", "postal"]', more=more),
    )
    run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "codes.csv")

    told = refusal(run_ballot, "open", ballot_id)

    assert "question president is ranked, and ranked counting is not yet built" in told
    assert json.loads(run_ballot("status", ballot_id, "--json").stdout)["state"] == "created"


def test_a_standing_probe_ballot_is_not_closed(run_ballot: RunBallot, tmp_path: Path, ballot_id: str) -> None:
    """The monitor needs it open; nothing in its journal claims a fixed electorate."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3, kind="probe")
    run_ballot("open", ballot_id)

    assert "standing probe ballot" in refusal(run_ballot, "close", ballot_id)
    assert "standing probe ballot" in refusal(run_ballot, "close", ballot_id, "--no-wait")

    assert json.loads(run_ballot("status", ballot_id, "--json").stdout)["state"] == "open"


async def test_opening_signs_the_electorate_of_the_roll_and_no_other(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """One elector exchanged before the opening stops it; else the count is signed in the desk's journal."""
    with_roll(run_ballot, tmp_path, ballot_id)
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    exchange = "UPDATE ballot.electorate SET uin = $2 WHERE ballot = $1 AND uin = $3"
    try:
        first = await connection.fetchval(
            "SELECT uin FROM ballot.electorate WHERE ballot = $1 ORDER BY uin LIMIT 1", ballot_id
        )
        await connection.execute("SET session_replication_role = replica")
        run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "codes.csv")
        await connection.execute(exchange, ballot_id, b"u" * 16, first)
        assert "entitles others than those on the roll" in refusal(run_ballot, "open", ballot_id)
        await connection.execute(exchange, ballot_id, first, b"u" * 16)
    finally:
        await connection.close()

    run_ballot("open", ballot_id)

    lines = (stack.home.desk / "roots" / f"{ballot_id}.jsonl").read_bytes().splitlines()
    told = strict_json(lines[-1], bytes_max=4096)
    assert (told["act"], told["ballot"], told["count"]) == ("electorate", ballot_id, ROLL)
