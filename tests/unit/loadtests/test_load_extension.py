"""The close is put off in the middle of a run: announced in time, and votes between the two closes count."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ballot.encoding import format_time
from loadtests.judging.judged_extension import AIMED, BETWEEN, PUT_OFF, judged
from loadtests.lifetime.extension import BEFORE_S, Extension
from loadtests.published import scenario
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import US, now_us
from loadtests.staging.stage import StageFault

if TYPE_CHECKING:
    from loadtests.lifetime.poll import Poll

FIRST_US = 1_700_000_000 * US
LAST_US = FIRST_US + 60 * US


class Desk:
    """Answers `extend`, or does not."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails

    def attempt(self, *words: str, seconds: float) -> Any:
        """One command."""
        assert words[:2] == ("extend", "b")
        assert seconds > 0
        return SimpleNamespace(returncode=int(self.fails), stdout="", stderr="no")


@pytest.mark.parametrize("fails", [False, True])
def test_the_close_is_moved_before_it_comes(*, fails: bool) -> None:
    """Once, in the second half of the time before it; a refusal is kept."""
    kept: dict[str, dict[str, Any]] = {}
    first_us = now_us() + US // 5
    poll = SimpleNamespace(stage=Desk(fails=fails), ballot="b", closes=True, closes_us=first_us)
    with Extension([cast("Poll", poll)], first_us, first_us + US, write=kept.__setitem__) as extension:
        extension._thread.join(30)
    told = kept["extension.json"]
    assert told["asked_us"] > first_us - US // 5
    assert ("wrong" in told) == fails
    assert poll.closes_us == (first_us if fails else first_us + US)


def test_a_run_that_ends_before_moves_nothing() -> None:
    """Nor does it wait for the moment."""
    poll = cast("Poll", SimpleNamespace())
    with Extension([poll], now_us() + 3600 * US, now_us() + 7200 * US, write=never):
        pass


def never(*_: object) -> None:
    """Must not be called."""
    raise StageFault


@pytest.mark.parametrize("variant", scenario.variants("close-of-poll-siege"))
def test_the_siege_is_put_off_while_things_are_killed(variant: str) -> None:
    """By an hour; the desk's command comes amid the faults, and all else is over by the first close."""
    siege = scenario.load(f"close-of-poll-siege:{variant}")
    assert siege.extends_minutes == 60
    (faults,) = [call for call in siege.overlays if call.name == "fault"]
    assert faults.from_s + 10 < -BEFORE_S < faults.from_s + faults.seconds - 10
    assert all(call.from_s + call.seconds < 0 for call in siege.overlays)


@pytest.mark.parametrize(("found", "ok"), [(100, True), (99, False), (None, False)])
def test_who_aims_at_the_first_close_is_taken(tmp_path: Path, found: int | None, *, ok: bool) -> None:
    """Every one of them; a summary without counts speaks against it."""
    (tmp_path / "run.json").write_text('{"extends_s": 60, "at_first_close": 100}', encoding="utf-8")
    if found is not None:
        counts = json.dumps({"counts": {"at the first close, accepted": found}})
        (tmp_path / "summary.json").write_text(counts, encoding="utf-8")
    (judgement,) = [each for each in judged(RunDirectory(tmp_path)) if each.what == AIMED]
    assert judgement.ok == ok


@pytest.mark.parametrize(
    ("told", "accepted", "wrong"),
    [
        ({"done_us": FIRST_US - US}, 30, set()),
        ({"done_us": FIRST_US + US}, 30, {PUT_OFF}),
        ({"done_us": FIRST_US - US, "wrong": "no"}, 30, {PUT_OFF}),
        ({"done_us": FIRST_US - US}, -30, {BETWEEN}),
        ({}, 30, {PUT_OFF}),
    ],
    ids=["well", "too late", "refused", "nobody voted", "not done"],
)
def test_what_was_put_off_is_judged(
    tmp_path: Path, told: dict[str, Any], accepted: int, wrong: set[str]
) -> None:
    """A desk that could not, or votes that were not taken, are seen."""
    (tmp_path / "run.json").write_text('{"extends_s": 60}', encoding="utf-8")
    (tmp_path / "extension.json").write_text(
        json.dumps(told | {"first_us": FIRST_US, "last_us": LAST_US}), encoding="utf-8"
    )
    receipt = {"accepted_at": format_time(FIRST_US + accepted * US, decimals=6)}
    (tmp_path / "receipts.jsonl").write_text(json.dumps(receipt) + "\n", encoding="utf-8")
    assert {each.what for each in judged(RunDirectory(tmp_path)) if not each.ok} == wrong
