"""A refusal that is too late fails the service, unless it was the generator that read it late."""

from pathlib import Path
from typing import Any

import pytest

from loadtests.crowds.ledger import Ledger
from loadtests.crowds.timetable import Kind
from loadtests.judging.judge import judge
from loadtests.judging.judged_refusals import WHAT, refusals
from loadtests.judging.judged_times import seconds
from loadtests.report.reading import RunDirectory
from loadtests.voting.voter import Answer
from tests.unit.loadtests.test_load_verdict import good, write

START_S = 1_780_000_000
REFUSAL = Answer(503, b'{"retry":true}')


def kept(
    folder: Path, late_ms: float, *, of: int, late: int = 1, lag_ms: float = 0.0, lag_at_s: float = 3.2
) -> list[dict[str, Any]]:
    """The lines of a generator who was refused so often, some so late, and itself came late to itself."""
    ledger = Ledger(folder, 0, start_s=START_S)
    for number in range(of):
        took_s = late_ms / 1000 if number < late else 2.1
        ledger.note(number, Kind.CAST, 1, 1.0, 1.001, 1.001 + took_s, REFUSAL)
    ledger.lagged(lag_at_s, lag_ms / 1000)
    ledger.close()
    return list(RunDirectory(folder).lines("seconds-0.jsonl"))


@pytest.mark.parametrize(
    ("told", "word"),
    [
        ({"late_ms": 2_250, "of": 10}, "pass"),
        ({"late_ms": 2_251, "of": 2_000}, "fail"),  # nothing explains it
        ({"late_ms": 2_251, "of": 2_000, "lag_ms": 60}, "pass"),
        ({"late_ms": 2_400, "of": 2_000, "lag_ms": 60}, "fail"),
        ({"late_ms": 2_251, "of": 2_000, "late": 3, "lag_ms": 60}, "void"),  # more than one in a thousand
        ({"late_ms": 2_251, "of": 2_000, "lag_ms": 60, "lag_at_s": 9.0}, "fail"),  # late at another time
    ],
    ids=["in time", "unexplained", "the generator", "not it alone", "too many to tell", "elsewhere"],
)
def test_only_what_the_generator_does_not_explain_fails(
    told: dict[str, Any], word: str, tmp_path: Path
) -> None:
    """From the ledger to the verdict: one refusal a second late, by whose doing."""
    (tmp_path / "kept").mkdir()
    files = good()
    files["seconds.jsonl"] += kept(tmp_path / "kept", **told)
    verdict = judge(write(files, tmp_path))
    assert verdict.word == word
    assert {each.what for each in verdict.judgements if not each.ok} == (set() if word == "pass" else {WHAT})


def test_a_second_in_which_nobody_came_is_none(tmp_path: Path) -> None:
    """The generator tells that it came late to itself then, which makes no second in which votes came."""
    ledger = Ledger(tmp_path, 0, start_s=START_S)
    ledger.lagged(-3.0, 0.2)
    ledger.lagged(5.0, 0.2)
    ledger.plan(9.0)
    ledger.close()
    lines = list(RunDirectory(tmp_path).lines("seconds-0.jsonl"))
    assert [line["s"] - START_S for line in lines] == [5, 9]
    assert [each.at_s - START_S for each in seconds(lines)] == [9]


def test_another_generator_explains_nothing(tmp_path: Path) -> None:
    """That one process came late to itself does not make the answers of another late."""
    lines = kept(tmp_path, 2_300, of=2_000)
    busy = {"s": START_S + 3, "generator": 1, "lag_ms_max": 500.0}
    assert not refusals([*lines, busy]).ok
    assert refusals([*lines, busy | {"generator": 0}]).ok
