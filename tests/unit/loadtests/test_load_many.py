"""What one command does for a whole group: what it could not do is said, and what it did is kept."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ballot.encoding import parse_time
from loadtests.lifetime import many
from loadtests.lifetime.poll import Poll
from loadtests.staging.stage import StageFault

Answer = Callable[[list[str]], tuple[int, str, str]]
CLOSED_AT = "2026-01-01T12:00:00.250000Z"


class Recorded:
    """A deployment whose commands answer as they are told to; `asked` has each one's words."""

    def __init__(self, files: Path, answers: list[Answer]) -> None:
        self.files = files
        self.asked: list[list[str]] = []
        self._answers = answers

    def attempt(self, *arguments: str | Path, seconds: float) -> subprocess.CompletedProcess[str]:
        """Answer the next command."""
        assert seconds > 0
        words = [str(argument) for argument in arguments]
        self.asked.append(words)
        code, out, err = self._answers[len(self.asked) - 1](words)
        return subprocess.CompletedProcess(words, code, out, err)


def group(tmp_path: Path, *answers: Answer) -> tuple[Recorded, list[Poll]]:
    """Three ballots without papers, and their deployment."""
    stage = Recorded(tmp_path, list(answers))
    polls: list[Any] = []
    for name in ("a-001", "a-002", "a-003"):
        shares = [tmp_path / f"{name}-share-{number}" for number in range(3)]
        polls.append(
            SimpleNamespace(
                stage=stage,
                ballot=name,
                closes=True,
                closes_us=5,
                result=tmp_path / f"{name}-result.json",
                papers=lambda: None,
                shares=lambda shares=shares: shares,
            )
        )
    return stage, cast("list[Poll]", polls)


def closed(names: list[str]) -> str:
    """What `ballot close` prints of them."""
    return "".join(f"{name} closed at {CLOSED_AT}\n" for name in names)


def test_who_is_not_stored_yet_is_closed_again(tmp_path: Path) -> None:
    """The second command names only those that are left; each has the time at which it closed."""
    stage, polls = group(
        tmp_path,
        lambda _: (1, closed(["a-001", "a-003"]), "1 of 3 failed\na-002: 5 entries are not stored yet"),
        lambda words: (0, closed(words[1:]), ""),
    )

    many.close(polls)

    assert stage.asked == [["close", "a-001", "a-002", "a-003"], ["close", "a-002"]]
    assert {poll.closes_us for poll in polls} == {parse_time(CLOSED_AT)}


def test_another_failure_is_said_at_once(tmp_path: Path) -> None:
    """Waiting would not help it."""
    stage, polls = group(tmp_path, lambda _: (1, closed(["a-001"]), "2 of 3 failed\na-002: never opened"))

    with pytest.raises(StageFault, match=r"(?s)of 2 ballots failed: .*never opened"):
        many.close(polls)

    assert len(stage.asked) == 1


def test_each_result_gets_to_its_ballot_even_if_one_fails(tmp_path: Path) -> None:
    """As many shares as are needed go along, and the one without a result is said."""

    def counted(words: list[str]) -> tuple[int, str, str]:
        out = Path(words[-1])
        for name in ("a-001", "a-003"):
            (out / f"{name}.json").write_text(name)
        return 1, "", "1 of 3 failed\na-002: the books do not balance"

    stage, polls = group(tmp_path, counted)

    with pytest.raises(StageFault, match="the books do not balance"):
        many.tally(polls)

    assert stage.asked[0][:4] == ["tally", "a-001", "a-002", "a-003"]
    assert stage.asked[0].count("--share") == 2 * len(polls)
    assert [poll.result.exists() for poll in polls] == [True, False, True]
    assert polls[2].result.read_text() == "a-003"


def test_a_missing_result_does_not_verify(tmp_path: Path) -> None:
    """Two results are genuine, and that there is no third is a fault."""
    stage, polls = group(tmp_path, lambda _: (0, "genuine", ""))
    for poll in polls[:2]:
        poll.result.write_text("{}")

    with pytest.raises(StageFault, match="1 of 3 ballots have no result"):
        many.verify(polls)

    assert stage.asked == [["verify", *(str(poll.result) for poll in polls[:2])]]


def test_only_who_closes_earlier_is_extended(tmp_path: Path) -> None:
    """The others' closing time is never moved back."""
    stage, polls = group(tmp_path, lambda _: (0, "", ""))
    polls[1].closes_us = 4_000_000

    many.extend(polls, 3_000_000)

    assert stage.asked == [["extend", "a-001", "a-003", "--until", "1970-01-01T00:00:03.000000Z"]]
    assert [poll.closes_us for poll in polls] == [3_000_000, 4_000_000, 3_000_000]
