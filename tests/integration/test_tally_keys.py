"""The key ceremony and the count against the real desk: what the desk registers is what the shares make."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import RunBallot

DEFINITION = """
[ballot]
id = "{ballot}"
title = "Pay and conditions"
kind = "industrial-action"
union = "A union"
employer = "An employer"
scrutineer = "A scrutineer"
contact = "help@scrutineer.example"
opens = 2025-07-01T09:00:00Z
closes = {closes:%Y-%m-%dT%H:%M:%SZ}
methods = ["electronic", "postal"]
precedence = "first-recorded"

[[question]]
id = "strike"
text = "Are you prepared to take part in a strike?"
form = "single"
options = [{{id = "yes", text = "Yes"}}, {{id = "no", text = "No"}}]
"""
ROLL = """member_id,name,email,mobile,address
1001,Ada Example,ada@voter.example,,
1002,Ben Example,ben@voter.example,,
1003,Cat Example,cat@voter.example,,
"""


@pytest.fixture
def created(run_ballot: RunBallot, ballot_id: str, tmp_path: Path) -> str:
    """Return the id of a ballot that is registered and has no keys yet."""
    file = tmp_path / "ballot.toml"
    file.write_text(DEFINITION.format(ballot=ballot_id, closes=datetime.now(UTC) + timedelta(days=1)))
    run_ballot("create", file)
    return ballot_id


def error_of(run_ballot: RunBallot, *arguments: str | Path) -> str:
    """Return the one line with which a command refuses."""
    done = run_ballot(*arguments, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def make_keys(run_ballot: RunBallot, ballot: str, directory: Path) -> list[Path]:
    """Hold a 2 of 3 ceremony."""
    run_ballot("keys", "create", ballot, "--threshold", "2", "--shares", "3", "--out", directory)
    return sorted(directory.iterdir())


def test_ceremony_and_rehearsal_are_registered(run_ballot: RunBallot, created: str, tmp_path: Path) -> None:
    """The desk holds the public halves and the proof; a later rehearsal is recorded too."""
    shares = make_keys(run_ballot, created, tmp_path / "shares")

    held = json.loads(run_ballot("keyring", "show", created, "--json").stdout)
    assert (held["threshold"], held["shares"], held["rehearsals"]) == (2, 3, 1)
    assert [path.name for path in shares] == ["share-01.txt", "share-02.txt", "share-03.txt"]
    assert (
        "recorded" in run_ballot("keys", "test", created, "--share", shares[2], "--share", shares[1]).stdout
    )
    assert json.loads(run_ballot("keyring", "show", created, "--json").stdout)["rehearsals"] == 2
    assert "opens with 2 shares and 1 was given" in error_of(
        run_ballot, "keys", "test", created, "--share", shares[0]
    )


def test_keys_are_made_once_and_for_ballots_that_exist(
    run_ballot: RunBallot, created: str, tmp_path: Path
) -> None:
    """No share is written for an unknown ballot, in a used directory, or where there are keys already."""
    make = ("keys", "create", created, "--threshold", "2", "--shares", "3", "--out")
    unknown = tmp_path / "unknown"

    assert "no ballot 'nowhere'" in error_of(
        run_ballot, "keys", "create", "nowhere", "--threshold", "2", "--shares", "3", "--out", unknown
    )
    assert not unknown.exists()
    shares = make_keys(run_ballot, created, tmp_path / "shares")
    assert "has its keys already" in error_of(run_ballot, *make, tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert len(shares) == 3


def test_directory_with_shares_is_refused(run_ballot: RunBallot, created: str, tmp_path: Path) -> None:
    """Share files are never mixed with those of another ceremony."""
    (tmp_path / "share-09.txt").write_text("someone's")

    said = error_of(
        run_ballot, "keys", "create", created, "--threshold", "2", "--shares", "2", "--out", tmp_path
    )

    assert "holds share files already (share-09.txt)" in said
    assert json.loads(run_ballot("keyring", "show", created, "--json").stdout)["public_key"] is None


def test_count_from_the_desk(run_ballot: RunBallot, created: str, tmp_path: Path) -> None:
    """Without an export file the desk is asked for one: not while open, then once closed, papers and all."""
    shares = make_keys(run_ballot, created, tmp_path / "shares")
    (tmp_path / "roll.csv").write_text(ROLL)
    (tmp_path / "returns.csv").write_text("member_id,received_at\n1001,2025-07-02T09:00:00Z\n")
    (tmp_path / "papers.csv").write_text("question,option,count\nstrike,yes,1\n")
    run_ballot("roll", "import", created, tmp_path / "roll.csv")
    run_ballot("codes", "issue", created, "--out", tmp_path / "codes.csv")
    run_ballot("open", created)
    run_ballot("returns", created, tmp_path / "returns.csv", "--method", "postal")
    count = ["tally", created, "--share", str(shares[0]), "--share", str(shares[1])]
    out = tmp_path / "result.json"

    assert "is still open" in error_of(run_ballot, *count, "--out", out)
    run_ballot("close", created)
    assert "came back by post or at the workplace (1)" in error_of(run_ballot, *count, "--out", out)
    printed = run_ballot(*count, "--papers", tmp_path / "papers.csv", "--out", out).stdout

    result = json.loads(out.read_text())
    assert (result["entitled"], result["votes_cast"], result["by_method"]["postal"]) == (3, 1, 1)
    assert result["questions"][0]["counts"] == {"yes": 1, "no": 0}
    assert re.search(r"yes +1\n", printed)
    assert "is genuine" in run_ballot("verify", out).stdout
