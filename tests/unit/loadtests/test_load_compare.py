"""Two runs side by side: what differs is said, and what forbids to compare them is said first."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from loadtests.load import load
from loadtests.report.axis import mean
from loadtests.report.compare import compare
from loadtests.report.comparing import on_steps
from loadtests.report.document import write
from loadtests.report.making import read
from tests.unit.loadtests.made_run import Made, make

SECONDS = 70


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One that passed, with its report.json, and a slower one that failed, without."""
    folder = tmp_path_factory.mktemp("runs")
    first = make(folder / "first", Made(seconds=SECONDS))
    write(first, read(first))
    return first, make(folder / "second", Made(seconds=SECONDS, seed=2, verdict="fail", slower=3.0))


def test_side_by_side(runs: tuple[Path, Path]) -> None:
    """The differences are those of the files, and the cautions come before them."""
    done = CliRunner().invoke(compare, [*map(str, runs), "--json"])

    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["cautions"][:2] == [
        "They did not play the same; what differs: seed.",
        "The verdict on B is fail.",
    ]
    rows = {(row["group"], row["what"]): row for row in told["rows"]}
    assert rows["Verdict", "the books balance"]["second"] == "not held: 86 differences"
    assert ("Verdict", "nothing is accepted at or after the close") not in rows
    slower = rows["Waiting", "99 of 100 within"]["change"]
    assert 150 < int(slower.removesuffix(" %")) < 300
    assert rows["Time in which votes could be cast", "the voters themselves"]["change"] == "the same"
    assert rows["CPU a vote", "edge"]["first"].endswith("µs")


def test_in_a_terminal(runs: tuple[Path, Path]) -> None:
    """`ballot load compare A B` has a heading a group, aligned columns and no line too long to read."""
    ballot = click.Group(commands={"load": load})

    done = CliRunner().invoke(ballot, ["load", "compare", *map(str, runs)])

    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("A: Royal Mail 2023, the last hours under siege, 22 November 2025")
    table = [line for line in lines if not line.startswith(("A: ", "B: ", "Caution: "))]
    assert max(map(len, table)) <= 110
    assert "WAITING" in done.output


def test_a_run_beside_itself(runs: tuple[Path, Path]) -> None:
    """Nothing differs, whether its report.json or its directory is named."""
    done = CliRunner().invoke(compare, [str(runs[0]), str(runs[0] / "report.json"), "--json"])

    told = json.loads(done.output)
    assert {row["change"] for row in told["rows"]} == {"", "the same"}
    assert len(told["cautions"]) == 1


def test_as_a_page(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """The page has both verdicts, both curves and a row for each difference, and needs nothing else."""
    page = tmp_path / "both.html"

    done = CliRunner().invoke(compare, [*map(str, runs), "--html", str(page)])

    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "Pass" in text
    assert "Fail" in text
    assert "Votes accepted a second, waiting time and queue of both runs" in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (None, "No run has left anything in"),
        ({"report": 99}, "is no report of a run that this version can read"),
        ({"run": {}}, "is no report of a run that this version can read"),
    ],
    ids=["empty", "newer", "other"],
)
def test_no_run(runs: tuple[Path, Path], put: object, says: str, tmp_path: Path) -> None:
    """What is no run is one plain sentence."""
    if put is not None:
        (tmp_path / "report.json").write_text(json.dumps(put))

    done = CliRunner().invoke(compare, [str(runs[0]), str(tmp_path)])

    assert done.exit_code == 1
    assert says in done.output
    assert len(done.output.splitlines()) == 1


def test_a_page_that_cannot_be_written(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """That is one sentence too."""
    done = CliRunner().invoke(
        compare, [str(runs[0]), str(runs[0]), "--html", str(tmp_path / "no" / "a.html")]
    )

    assert done.exit_code == 1
    assert "No such file or directory" in done.output
    assert "Traceback" not in done.output


def test_curves_of_different_steps() -> None:
    """A curve of one second a step and one of three lie on the same clock; rates are averaged, not added."""
    assert on_steps([1.0, 2.0, 3.0, None, 9.0], 1, 3, 3, mean) == [2.0, 9.0, None]
    assert on_steps([1.0, 2.0, 3.0, None, 9.0], 1, 3, 2, max) == [3.0, 9.0]
