"""The turnout under load: late, ahead or wrong when nobody votes is seen; so is memory that grows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ballot.encoding import format_time
from loadtests.judging import judged_turnout
from loadtests.judging.judged_turnout import judged
from loadtests.lifetime.turnouts import sample
from loadtests.report.reading import RunDirectory

S = 1_000_000
START = 1_700_000_000 * S
VOTED = [*range(100), *range(160, 260)]
"""A vote a second, a pause of a minute in the middle."""


def run(
    folder: Path,
    readings: Sequence[Mapping[str, int]],
    *,
    gave_up: int = 0,
    grows: float = 0,
    fault_at: int | None = None,
) -> None:
    """A run's directory with these votes, readings, and edges that grow by so many bytes a second."""
    receipts = [{"ballot": "b", "accepted_at": format_time(START + at * S, decimals=6)} for at in VOTED]
    lines = [{"ballot": "b", **each} for each in readings]
    samples = [
        {
            "at_us": START + at * S,
            "processes": [
                {"name": name, "rss_bytes": round(100 * 2**20 + grows * at)} for name in ("edge", "worker")
            ],
        }
        for at in range(260)
    ]
    faults = (
        []
        if fault_at is None
        else [{"kind": "fault", "from_us": START + fault_at * S, "to_us": START + (fault_at + 5) * S}]
    )
    kept = (("receipts", receipts), ("turnout", lines), ("samples", samples), ("marks", faults))
    for name, rows in kept:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps({"gave_up": gave_up}), encoding="utf-8")


def reading(at: int, *, late_s: int = 1, more: int = 0) -> dict[str, int]:
    """What a turnout says at second `at` that is so many seconds behind."""
    counted = sum(voted <= at - late_s for voted in VOTED) + more
    return {
        "from_us": START + at * S,
        "at_us": START + at * S,
        "accepted": counted,
        "stored": counted,
    }


def found(folder: Path, readings: Sequence[Mapping[str, int]], **more: Any) -> dict[str, bool]:
    """Every judgement on such a run."""
    run(folder, readings, **more)
    return {judgement.what: judgement.ok for judgement in judged(RunDirectory(folder))}


def test_a_turnout_a_second_behind_is_well(tmp_path: Path) -> None:
    """While people vote it may be a little late; a minute without votes is looked at too."""
    told = found(tmp_path, [reading(at) for at in range(0, 300, 5)])
    assert len(told) == 4
    assert all(told.values())


@pytest.mark.parametrize(
    ("readings", "wrong"),
    [
        ([reading(at, late_s=60) for at in range(0, 300, 5)], {judged_turnout.LAG, judged_turnout.EXACT}),
        (
            [reading(at, more=at > 130) for at in range(0, 300, 5)],
            {judged_turnout.LAG, judged_turnout.EXACT},
        ),
        (
            [reading(at) | ({"stored": 99} if at == 130 else {}) for at in range(0, 300, 5)],
            {judged_turnout.EXACT},
        ),
        ([], {judged_turnout.LAG}),
        ([reading(0)], {judged_turnout.LAG}),
    ],
    ids=["a minute late", "one too many", "not stored", "never read", "read once"],
)
def test_a_turnout_that_is_late_or_wrong_is_seen(
    tmp_path: Path, readings: list[dict[str, int]], wrong: set[str]
) -> None:
    """Whatever it says after the last vote."""
    told = found(tmp_path, readings)
    assert {what for what, ok in told.items() if not ok} == wrong


@pytest.mark.parametrize(("fault_at", "ok"), [(110, True), (90, False)], ids=["meanwhile", "long over"])
def test_what_the_run_broke_itself_need_not_be_exact_yet(tmp_path: Path, fault_at: int, ok: bool) -> None:
    """The database is killed in a pause: votes are stored once it is there again, and half a minute on."""
    readings = [reading(at) | ({"stored": 99} if at == 130 else {}) for at in range(0, 300, 5)]
    assert found(tmp_path, readings, fault_at=fault_at)[judged_turnout.EXACT] is ok


def test_a_vote_without_a_receipt_may_be_in_the_turnout(tmp_path: Path) -> None:
    """Who gave up may have voted; nobody else."""
    ahead = [reading(at, more=1) for at in range(0, 300, 5)]
    assert all(found(tmp_path, ahead, gave_up=1).values())


def test_memory_that_grows_with_the_votes_is_seen(tmp_path: Path) -> None:
    """An edge that keeps half a megabyte a second is not flat."""
    told = found(tmp_path, [reading(at) for at in range(0, 300, 5)], grows=2**19)
    assert {what for what, ok in told.items() if not ok} == {
        "the memory of the edges is flat",
        "the memory of the workers is flat",
    }


def test_a_line_is_of_after_the_one_before() -> None:
    """It was read between the two; what is no line of ours is left out."""
    line = json.dumps({"turnout": {"accepted": {"electronic": 7, "postal": 2}, "stored": {}}}).encode()
    told = sample(line, 60 * S, after_us=40 * S, every_s=5)
    assert told == {"from_us": 45 * S, "at_us": 60 * S, "accepted": 7, "stored": 0}
    assert sample(line, 41 * S, after_us=40 * S, every_s=5)["from_us"] == 41 * S
    assert sample(b"no answer", 0, after_us=0, every_s=5) == {}
