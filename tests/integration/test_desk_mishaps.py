"""What goes wrong while codes are made: full disks, unwritable places, signals. Nobody is left codeless."""

import json
import signal
from pathlib import Path

import pytest

from tests.conftest import RunBallot, Stack
from tests.integration import deskwork
from tests.integration.deskwork import ROLL, refusal, with_roll


def test_no_code_is_revoked_before_the_new_file_can_be_written(
    run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """A reissue into a place that takes no file is refused, and every old code is still good."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=3)

    told = refusal(run_ballot, "codes", "reissue", ballot_id, "M-00001", "--out", Path("/proc/re.csv"))

    assert "/proc/re.csv cannot be written" in told
    books = json.loads(run_ballot("status", ballot_id, "--json").stdout)["books"]
    assert (books["revoked"], books["unused"]) == (0, 3)


def test_a_reissue_that_fails_after_revoking_says_so_and_leaves_no_file(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """The disk is full once the old codes are dead: that is told, and running it again gives new ones."""
    deskwork.prepare(run_ballot, tmp_path, ballot_id, voters=ROLL)
    members = [row[0] for row in deskwork.members(ROLL)]
    out = tmp_path / "new.csv"

    done = deskwork.run_on_small_disk(
        stack, "codes", "reissue", ballot_id, *members, "--out", out, bytes_max=1000
    )

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "their old codes are revoked; run this again" in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert not out.exists()
    run_ballot("codes", "reissue", ballot_id, *members, "--out", out)
    assert len(deskwork.read_codes(out)) == ROLL
    told = json.loads(run_ballot("status", ballot_id, "--json").stdout)
    assert (told["books"]["unused"], told["balanced"]) == (ROLL, True)


def test_a_full_disk_leaves_no_half_file_of_codes(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Issuing on a full disk is one sentence and leaves no file; with space again it issues to everybody."""
    with_roll(run_ballot, tmp_path, ballot_id)
    out = tmp_path / "codes.csv"

    done = deskwork.run_on_small_disk(stack, "codes", "issue", ballot_id, "--out", out, bytes_max=1000)

    assert done.returncode == 1
    assert f"{out} cannot be written: File too large" in done.stderr
    assert f"{out} is removed: its codes were not issued" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    run_ballot("codes", "issue", ballot_id, "--out", out)
    assert len(deskwork.read_codes(out)) == ROLL


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_issue_leaves_no_file_of_dead_codes(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, by: signal.Signals, code: int
) -> None:
    """Before its codes are in the register the file goes, and that is said; afterwards it stays."""
    with_roll(run_ballot, tmp_path, ballot_id)
    out = tmp_path / "codes.csv"

    done = deskwork.dying_issue(stack, ballot_id, out, at="signed", by=by)

    assert done.returncode == code
    assert f"{out} is removed: its codes were not issued and never worked" in done.stderr
    assert not out.exists()
    done = deskwork.dying_issue(stack, ballot_id, out, at="register", by=by)
    assert done.returncode == code
    assert len(deskwork.read_codes(out)) == ROLL
    told = run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "more.csv").stdout
    assert f"their codes are in\n  {out}\n" in told
    assert json.loads(run_ballot("status", ballot_id, "--json").stdout)["books"]["unused"] == ROLL


def test_after_kills_the_live_file_is_named_and_the_others_are_to_be_destroyed(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """Of the whole-looking files that killed issues left, the desk says which works and which never did."""
    with_roll(run_ballot, tmp_path, ballot_id)
    dead = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for out in dead:
        assert deskwork.dying_issue(stack, ballot_id, out, at="signed", by=signal.SIGKILL).returncode < 0
        assert len(deskwork.read_codes(out)) == ROLL
    assert "never worked: destroy it" in refusal(run_ballot, "codes", "issue", ballot_id, "--out", dead[0])
    live = tmp_path / "live.csv"
    done = deskwork.dying_issue(stack, ballot_id, live, at="register", by=signal.SIGKILL)
    assert done.returncode < 0
    assert f"destroy {dead[1]}" in done.stderr
    dead[1].unlink()

    told = run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "no.csv")

    assert f"their codes are in\n  {live}\n" in told.stdout
    assert told.stderr.splitlines() == [
        f"destroy {dead[0]}: it is left from an issue that did not finish, and its codes never worked"
    ]
    assert not (tmp_path / "no.csv").exists()
    run_ballot("codes", "reissue", ballot_id, "M-00000", "--out", tmp_path / "re.csv")
    told = run_ballot("codes", "issue", ballot_id, "--out", tmp_path / "no.csv")
    assert f"  {live}\n  {tmp_path / 're.csv'}\n" in told.stdout
