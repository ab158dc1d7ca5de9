"""Several ballots in one command: each result is the one its ballot would have alone."""

import json
from pathlib import Path

import click
import pytest

from tally import desk
from tally.command import tally
from tally.verify import verify
from tests.unit.tally.conftest import Invoke
from tests.unit.tally.sealed_ballot import SealedBallot

NAMES = ("depot-1", "depot-2", "depot-3")


@pytest.fixture
def depots(tmp_path: Path, home: Path) -> list[SealedBallot]:
    """Three ballots of one desk, in which one, two and three voted yes."""
    made: list[SealedBallot] = []
    for number, name in enumerate(NAMES, start=1):
        ballot = SealedBallot.make(
            tmp_path / f"shares-{name}", ballot=name, desk=made[0].desk if made else None
        )
        ballot.publish(home)
        for _ in range(number):
            ballot.cast({"strike": ["yes"], "seats": []})
        made.append(ballot)
    return made


@pytest.fixture
def brought(tmp_path: Path, depots: list[SealedBallot]) -> Path:
    """A directory with the three exports."""
    directory = tmp_path / "exports"
    directory.mkdir()
    for ballot in depots:
        ballot.export(directory / f"{ballot.definition.id}.export")
    return directory


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the results go."""
    directory = tmp_path / "results"
    directory.mkdir()
    return directory


def given(depots: list[SealedBallot]) -> list[str | Path]:
    """Two shares of each ballot, as options."""
    return [word for each in depots for share in each.shares[:2] for word in ("--share", share)]


def counted(out: Path) -> dict[str, int]:
    """The yes votes in each result that there is."""
    found = {path.stem: json.loads(path.read_bytes()) for path in out.iterdir()}
    assert all(told["ballot"] == name for name, told in found.items())
    return {name: told["questions"][0]["counts"]["yes"] for name, told in found.items()}


def test_each_is_counted_and_verifies(
    depots: list[SealedBallot], brought: Path, out: Path, invoke: Invoke
) -> None:
    """One command, three results, and one command that verifies all of them."""
    done = invoke(tally, *NAMES, *given(depots), "--from", brought, "--out", out)

    assert done.exit_code == 0, done.output
    assert counted(out) == {"depot-1": 1, "depot-2": 2, "depot-3": 3}
    told = invoke(verify, *sorted(out.iterdir()))
    assert told.exit_code == 0
    assert told.output.count("genuine") == len(NAMES)


def test_one_that_cannot_be_counted_stops_no_other(
    depots: list[SealedBallot], brought: Path, out: Path, invoke: Invoke
) -> None:
    """Its export was changed: it has no result, it is named, and the command fails; the others are signed."""
    path = brought / "depot-2.export"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)

    done = invoke(tally, *NAMES, *given(depots), "--from", brought, "--out", out)

    assert done.exit_code == 1
    assert "1 of 3 failed" in done.output
    assert "depot-2: " in done.output
    assert counted(out) == {"depot-1": 1, "depot-3": 3}


def test_what_the_desk_could_not_export_is_said_of_its_ballot(
    depots: list[SealedBallot], out: Path, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk exports all in one go; a ballot that it refuses is named with its reason."""
    asked: list[list[str]] = []

    def run(arguments: list[str], **_: object) -> bytes:
        asked.append(arguments)
        for ballot in (depots[0], depots[2]):
            ballot.export(Path(arguments[-1]) / f"{ballot.definition.id}.export")
        raise click.ClickException("`ballot export` failed: 1 of 3 failed\ndepot-2: it is still open")

    monkeypatch.setattr(desk, "run", run)

    done = invoke(tally, *NAMES, *given(depots), "--out", out)

    assert [each[:4] for each in asked] == [["export", *NAMES]]
    assert done.exit_code == 1
    assert "depot-2: it is still open" in done.output
    assert counted(out) == {"depot-1": 1, "depot-3": 3}


def test_shares_in_a_directory_find_their_ballots(
    depots: list[SealedBallot], brought: Path, out: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """A holder's stick has a share of each; what else is on it is left alone."""
    options: list[str | Path] = []
    for holder in range(2):
        stick = tmp_path / f"holder-{holder}"
        stick.mkdir()
        for ballot in depots:
            (stick / f"{ballot.definition.id}.txt").write_bytes(ballot.shares[holder].read_bytes())
        (stick / "notes.txt").write_text("nothing to do with it")
        options += ["--share", stick]

    done = invoke(tally, *NAMES[:2], *options, "--from", brought, "--out", out)

    assert done.exit_code == 0, done.output
    assert counted(out) == {"depot-1": 1, "depot-2": 2}


def test_who_lacks_a_share_hears_of_it_before_anything_is_counted(
    depots: list[SealedBallot], brought: Path, out: Path, invoke: Invoke
) -> None:
    """One share of the third is missing: nothing is counted yet, for anybody."""
    options = given(depots)[:-2]

    done = invoke(tally, *NAMES, *options, "--from", brought, "--out", out)

    assert done.exit_code == 1
    assert "depot-3 opens with 2 shares and 1 was given" in done.output
    assert not counted(out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("papers", "--papers is the count of one ballot"),
        ("result-file", "is not a directory"),
        ("one-export", "is not a directory"),
        ("foreign-share", "is of ballot depot-3"),
        ("in-the-way", "exists already"),
    ],
)
def test_what_does_not_fit_is_said(
    depots: list[SealedBallot],
    brought: Path,
    out: Path,
    tmp_path: Path,
    invoke: Invoke,
    change: str,
    said: str,
) -> None:
    """Of several ballots each needs its own share, export, place for its result, and count of papers."""
    papers = tmp_path / "papers.csv"
    papers.write_text("question,option,count\n")
    if change == "in-the-way":
        (out / "depot-2.json").write_text("{}")
    shares = given(depots) if change == "foreign-share" else given(depots[:2])
    place = tmp_path / "result.json" if change == "result-file" else out
    export = brought / "depot-1.export" if change == "one-export" else brought
    more = ["--papers", papers] if change == "papers" else []

    done = invoke(tally, *NAMES[:2], *shares, "--from", export, "--out", place, *more)

    assert done.exit_code == 1
    assert said in done.output
