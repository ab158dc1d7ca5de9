"""Who tried and never succeeded: the deployment's list and what the crowd knows must agree."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests.judging.judged_tried import AFTER, OPEN, judged
from loadtests.report.reading import RunDirectory

FILES: dict[str, Any] = {
    "run.json": {"ballots": 1},
    "summary.json": {"gave_up": 2, "counts": {"late, refused": 3, "at close, refused": 4}},
    "overlays.json": [
        {"name": "reissue", "told": {"asked": 10}},
        {"name": "replay", "told": {"codes": 9, "receipts": 9, "cut_short": 0, "closed_before": 0}},
        {"name": "guessing", "told": {"receipts": 1}},
    ],
}


@pytest.mark.parametrize(
    ("while_open", "after", "wrong"),
    [(12, 7, set()), (0, 9, set()), (13, 7, {OPEN}), (12, 6, {AFTER}), (12, 10, {AFTER})],
    ids=["all", "some", "a stranger", "one forgotten", "one too many"],
)
def test_the_list_is_compared(tmp_path: Path, while_open: int, after: int, wrong: set[str]) -> None:
    """Whoever is on it has no receipt, and whoever was refused after the close is on it."""
    never = {"while_open": while_open, "why": {"after": after}}
    for name, value in (FILES | {"availability.json": {"attempts": {"never_succeeded": never}}}).items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    assert {each.what for each in judged(RunDirectory(tmp_path)) if not each.ok} == wrong


@pytest.mark.parametrize(("after", "wrong"), [(12, set()), (13, {AFTER})], ids=["they", "somebody else"])
def test_overlays_that_came_too_late_are_on_it_too(tmp_path: Path, after: int, wrong: set[str]) -> None:
    """Two codes of a replay whose turn came after the close, two new codes, and the victim of the guesses."""
    overlays = [
        {"name": "reissue", "told": {"asked": 10, "got": {"new code 200": 8, "new code 409": 2}}},
        {"name": "replay", "told": {"codes": 9, "receipts": 9, "cut_short": 1, "closed_before": 1}},
        {"name": "guessing", "told": {"receipts": 0}},
    ]
    files = FILES | {"overlays.json": overlays, "summary.json": FILES["summary.json"] | {"gave_up": 0}}
    never = {"while_open": 0, "why": {"after": after}}
    for name, value in (files | {"availability.json": {"attempts": {"never_succeeded": never}}}).items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    assert {each.what for each in judged(RunDirectory(tmp_path)) if not each.ok} == wrong


def test_a_list_that_was_never_made_is_missed(tmp_path: Path) -> None:
    """Unless there are several ballots, of which it is asked for one alone."""
    for name, value in FILES.items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
    assert [each.ok for each in judged(RunDirectory(tmp_path))] == [False]
    (tmp_path / "run.json").write_text('{"ballots": 2}', encoding="utf-8")
    assert not list(judged(RunDirectory(tmp_path)))
