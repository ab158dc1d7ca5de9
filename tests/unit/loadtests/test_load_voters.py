"""No verdict passes a run in which voters failed: whatever else went on, how many may fail is bounded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.crowds import casts
from loadtests.crowds.ledger import ANSWER, LEFT_OUT
from loadtests.crowds.timetable import ROW, Kind
from loadtests.judging.judge import judge
from loadtests.lifetime.poll import Poll
from loadtests.staging.kept import Kept
from loadtests.staging.stage import StageFault
from tests.unit.loadtests.test_load_verdict import Files, cast, good, mark, second, write

NEVER = float("inf")
HOLD = "voters who sent a vote hold a receipt"
AT_ONCE = "every vote is taken when it is first sent"
WAIT = "p99 of a cast at the peak minute"
ANSWERED = "every request is answered"


def wrong(files: Files, folder: Path) -> tuple[str, set[str]]:
    """The verdict's word, and what does not hold."""
    verdict = judge(write(files, folder))
    return verdict.word, {each.what for each in verdict.judgements if not each.ok}


def change(
    files: Files,
    from_s: float,
    to_s: float,
    *,
    share: float = 1.0,
    waited_s: float = NEVER,
    **told: float,
) -> int:
    """That share of the votes of that time fare so; how many they are."""
    votes, changed, came = [], 0, 0
    for at_s, *rest in files[casts.FILE]:
        fares = from_s <= at_s < to_s
        came += fares
        fares = fares and changed < share * came
        changed += fares
        votes.append(cast(at_s, waited_s, **told) if fares else (at_s, *rest))
    files[casts.FILE] = votes
    return changed


def beside(files: Files, *marks: dict[str, Any], gave_up: int = 0) -> None:
    """Overlays were on, and so many gave up."""
    files["marks.jsonl"] += marks
    names = sorted({each["name"] for each in marks if each["kind"] == "overlay"})
    files["run.json"]["overlays"] = names
    files["overlays.json"] = [{"name": name, "judgements": []} for name in names]
    files["summary.json"]["gave_up"] = gave_up
    files["figures.json"][0]["difference"] = -gave_up


def test_who_gets_in_at_the_seventh_try_has_waited(tmp_path: Path) -> None:
    """Calm, and everybody gets a receipt in the end: those who had to come again were not served at once."""
    files = good()
    changed = change(files, 120, 240, share=0.3, waited_s=12.0, first=503)
    word, what = wrong(files, tmp_path)
    assert changed > 0
    assert word == "fail"
    assert what == {AT_ONCE, WAIT}


@pytest.mark.parametrize(("waited_s", "word"), [(1.0, "pass"), (1.001, "fail"), (1.049, "fail")])
def test_a_second_is_a_second(waited_s: float, word: str, tmp_path: Path) -> None:
    """What is judged is the time itself, and not a bucket that it lies in."""
    files = good()
    change(files, 120, 180, share=0.05, waited_s=waited_s)
    assert wrong(files, tmp_path)[0] == word


def test_without_overlays_nobody_may_go_without(tmp_path: Path) -> None:
    """One voter of all, outside the peak: the run fails, even if every published figure came right."""
    files = good()
    assert change(files, 250, 250.1) == 1
    word, what = wrong(files, tmp_path)
    assert (word, what) == ("fail", {HOLD})


@pytest.mark.parametrize(
    ("share", "marks", "word", "what"),
    [
        (1.0, [mark("overlay", "guessing", 0, 300)], "fail", f"{HOLD}, under an overlay"),
        (0.02, [mark("overlay", "guessing", 0, 300)], "fail", f"{HOLD}, under an overlay"),
        (0.005, [mark("overlay", "guessing", 0, 300), mark("overlay", "replay", 0, 300)], "pass", ""),
        (0.1, [mark("overlay", "guessing", 200, 300)], "fail", HOLD),
        (
            1.0,
            [mark("overlay", "cap", 0, 300)],
            "fail",
            f"{HOLD}, during cap and 30 s after",
        ),
        (0.4, [mark("overlay", "cap", 0, 300)], "pass", ""),
    ],
)
def test_overlays_excuse_some_and_never_all(
    share: float, marks: list[dict[str, Any]], word: str, what: str, tmp_path: Path
) -> None:
    """As many as gave up may be missing from the result, but of who came under an overlay 99 % got in."""
    files = good()
    beside(files, *marks, gave_up=change(files, 0, 200, share=share))
    found = wrong(files, tmp_path)
    assert found[0] == word
    assert what in found[1] or not what


@pytest.mark.parametrize(
    ("share", "to_s", "stops", "word"),
    [
        (0.4, 125, True, "pass"),
        (0.4, 160, True, "fail"),
        (1.0, 125, True, "fail"),
        (0.4, 125, False, "fail"),
        (0.005, 125, False, "pass"),
    ],
    ids=["stopped", "never again", "most", "must not stop", "hardly any"],
)
def test_a_fault_excuses_its_time_and_its_recovery(
    share: float, to_s: int, stops: bool, word: str, tmp_path: Path
) -> None:
    """A service that never recovers fails, and so does one that a fault stops which must not stop votes."""
    files = good()
    gave_up = change(files, 100, to_s, share=share)
    told = {"expects_down": True} if stops else {}
    fault = mark("fault", "kill-valkey" if stops else "kill-voterdb", 100, 105, **told)
    beside(files, mark("overlay", "fault", 0, 300), fault, gave_up=gave_up)
    found = wrong(files, tmp_path)
    assert found[0] == word
    what = f"{HOLD}, during {fault['name']} and 30 s after"
    assert (what in found[1]) == (word == "fail" and to_s == 125)


def test_no_fault_makes_up_for_another(tmp_path: Path) -> None:
    """Three in a row, the last one never got over: who came during it is not counted with the others."""
    files = good()
    stop = {"expects_down": True}
    kills = [mark("fault", f"kill-{part}", at, at + 1) for part, at in (("worker", 233), ("voterdb", 263))]
    edge = mark("fault", "kill-edge", 218, 220, **stop)
    beside(files, mark("overlay", "fault", 210, 270), edge, *kills, gave_up=change(files, 266, 294))
    word, what = wrong(files, tmp_path)
    assert word == "fail"
    assert what == {
        f"{HOLD}, during kill-voterdb and 30 s after",
        "p99 of a cast during kill-voterdb and 30 s after",
        "p99 of a cast at the peak minute under fault",
    }


def test_the_second_time_is_judged_as_the_first(tmp_path: Path) -> None:
    """Of two capped lines or two kills of one kind, one that nobody got through is not made up for."""
    files = good()
    gave_up = change(files, 200, 231)
    stop = {"expects_down": True}
    kills = [mark("fault", "kill-valkey", at, at + 1, **stop) for at in (20, 60, 200)]
    beside(files, *kills, gave_up=gave_up)
    files["run.json"]["overlays"] = ["fault"]
    files["overlays.json"] = [{"name": "fault", "judgements": []}]
    assert wrong(files, tmp_path) == ("fail", {f"{HOLD}, during kill-valkey and 30 s after"})


def test_an_overlay_that_nobody_came_under_shows_nothing(tmp_path: Path) -> None:
    """In a small run: nobody was slow, and nobody was fast; the run is void and no failure of the service."""
    files = good()
    beside(files, mark("overlay", "guessing", 290, 295))
    files[casts.FILE] = [vote for vote in files[casts.FILE] if vote[0] < 285]
    assert wrong(files, tmp_path) == ("void", {"p99 of a cast at the peak minute under guessing"})


def test_whom_only_a_fault_stopped_is_judged_by_how_many_they_are(tmp_path: Path) -> None:
    """All who came under the only overlay came while it had stopped votes: how long it took is no matter."""
    files = good()
    stop = mark("fault", "kill-valkey", 100, 120, expects_down=True)
    beside(files, mark("overlay", "fault", 100, 130), stop)
    change(files, 100, 120, waited_s=12.0, first=0)
    assert wrong(files, tmp_path) == ("pass", set())


def test_what_is_broken_slows_nobody_much(tmp_path: Path) -> None:
    """A database that is killed makes no vote wait for six seconds."""
    files = good()
    beside(files, mark("fault", "kill-voterdb", 230, 235))
    change(files, 232, 234, waited_s=6.0)
    files["run.json"]["overlays"] = ["fault"]
    files["overlays.json"] = [{"name": "fault", "judgements": []}]
    assert wrong(files, tmp_path) == ("fail", {"p99 of a cast during kill-voterdb and 30 s after"})


def burst(files: Files, times: float | None) -> None:
    """The run is a minute of forty votes a second, so many times the worst second."""
    files["run.json"] |= {"only": "burst", "burst": times}
    files[casts.FILE] = [cast(100 + number / 40, 0.03) for number in range(2_400)]


@pytest.mark.parametrize(
    ("share", "times", "word"), [(0.85, 10, "pass"), (0.95, 10, "fail"), (0.0, None, "fail")]
)
def test_a_burst_is_served_as_the_worst_second_would_be(
    share: float, times: float | None, word: str, tmp_path: Path
) -> None:
    """Of ten times too many a tenth must get in; how many times it was must be known."""
    files = good()
    burst(files, times)
    change(files, 0, 300, share=share)
    assert wrong(files, tmp_path)[0] == word


@pytest.mark.parametrize(("waited_s", "word"), [(40.0, "pass"), (100.0, "fail")])
def test_what_gets_in_after_the_burst_is_no_figure_of_it(waited_s: float, word: str, tmp_path: Path) -> None:
    """A fifth hold a receipt in the end; when nothing presses any more that is nothing to boast of."""
    files = good()
    burst(files, 10)
    change(files, 100, 160, share=0.95, first=503)
    change(files, 100, 121, waited_s=waited_s, first=503)
    found = wrong(files, tmp_path)
    assert found == (word, set() if word == "pass" else {"voters hold a receipt within the burst's minute"})


@pytest.mark.parametrize(("share", "word"), [(0.009, "pass"), (0.02, "void")])
def test_a_burst_that_was_not_offered_shows_nothing(share: float, word: str, tmp_path: Path) -> None:
    """All devices wait for answers, so that votes go out when others are through: it was no burst."""
    files = good()
    burst(files, 10)
    change(files, 100, 160, share=share, waited_s=9.0, delayed_s=1.1)
    found = wrong(files, tmp_path)
    assert found == (word, set() if word == "pass" else {"so many votes were sent as the burst is to be"})


@pytest.mark.parametrize(
    ("none", "marks", "word"),
    [
        (1, [], "fail"),
        (9, [mark("fault", "kill-edge", 90, 95, expects_down=True)], "pass"),
        (9, [mark("fault", "kill-edge", 90, 95)], "fail"),
        (1, [mark("fault", "kill-edge", 90, 95)], "pass"),  # what was under way in the one of several
        (1, [mark("fault", "kill-edge", 10, 15, expects_down=True)], "fail"),
        (1, [mark("overlay", "guessing", 0, 300), mark("overlay", "replay", 0, 300)], "pass"),
        (9, [mark("overlay", "guessing", 0, 300), mark("overlay", "replay", 0, 300)], "fail"),
    ],
)
def test_no_answer_is_the_latest_of_refusals(
    none: int, marks: list[dict[str, Any]], word: str, tmp_path: Path
) -> None:
    """A service that hangs does not pass because it refuses nobody."""
    files = good()
    beside(files, *marks)
    files["seconds.jsonl"][100] = second(100, planned=2, none=none)
    found = wrong(files, tmp_path)
    assert found == (word, {ANSWERED} if word == "fail" else set())


@pytest.mark.parametrize(
    ("from_s", "to_s", "late_s", "word"),
    [
        (120, 180, 0.15, "void"),
        (250, 255, 0.15, "void"),
        (120, 122.1, 0.15, "pass"),
        (120, 123, 0.15, "void"),
        (250, 250.1, 0.15, "pass"),
        (250, 250.1, 1.1, "void"),
    ],
    ids=["peak", "close", "nine of 240", "twelve of 240", "one of ten", "one by a second"],
)
def test_a_generator_that_is_late_in_the_peak_alone_voids(
    from_s: float, to_s: float, late_s: float, word: str, tmp_path: Path
) -> None:
    """The busiest minute is less than a hundredth of a ballot, and what the figures are about.

    Of a few votes no single one decides, unless it was a second late.
    """
    files = good()
    files["marks.jsonl"].append(mark("window", "close", 250, 255, factor=1))
    change(files, from_s, to_s, waited_s=0.2, late_s=late_s)
    what = "the generator was in time in the busiest minute and each window"
    assert wrong(files, tmp_path) == (word, {what} if word == "void" else set())


@pytest.mark.parametrize(
    "seen", [lambda at: not 120 <= at < 127, lambda at: at % 9 == 0], ids=["gap", "rare"]
)
def test_seconds_in_which_nobody_saw_the_queue_void(seen: Callable[[int], bool], tmp_path: Path) -> None:
    """Workers that are too busy to answer have the oldest queue: their silence shows nothing."""
    files = good()
    for number, sample in enumerate(files["samples.jsonl"]):
        if not seen(number):
            sample["queue_oldest_s"] = None
    word, what = wrong(files, tmp_path)
    assert word == "void"
    assert "the queue was looked at" in what


def test_samples_from_before_and_after_are_no_samples(tmp_path: Path) -> None:
    """What a queue was like when nobody voted does not stand for what it was like when they did."""
    files = good()
    early = [
        {"at_us": each["at_us"] - 1_000_000_000, "queue_oldest_s": 0.0} for each in files["samples.jsonl"]
    ]
    files["samples.jsonl"] = early
    assert wrong(files, tmp_path)[0] == "void"


def test_an_answer_of_another_form_fails(tmp_path: Path) -> None:
    """A refusal that does not say that it is safe to come again, for one."""
    files = good()
    files["summary.json"] |= {"odd": ["row 3: answered 503 with ''"], "odd_count": 1}
    assert wrong(files, tmp_path) == ("fail", {"every answer says what it must say"})


def test_a_flood_is_no_excuse_for_a_long_outage(tmp_path: Path) -> None:
    """Half a minute in all, where nothing was killed."""
    files = good()
    files["availability.json"]["unplanned_s"] = 31.0
    assert wrong(files, tmp_path) == ("fail", {"votes are taken all the time"})


def test_a_turnout_that_could_not_be_asked_is_not_exact(tmp_path: Path) -> None:
    """A verdict comes out all the same."""
    files = good()
    files["quiet.json"] = [{"ballot": "tube", "waited_s": 60.0}]
    assert wrong(files, tmp_path) == ("fail", {"the turnout is exact at every quiet point"})


def test_results_of_an_earlier_run_are_not_judged(tmp_path: Path) -> None:
    """They are gone before the run, and the ballots of the run itself say whose results are read."""
    (tmp_path / "results").mkdir()
    stale = tmp_path / "results" / "other.json"
    stale.write_text(json.dumps(good()["result.json"]))
    files = good()
    files["result.json"]["books"]["accepted"] = 9_999
    assert wrong(files, tmp_path) == ("fail", {"everything accepted before the close is counted"})
    Kept(tmp_path)
    assert not stale.exists()


class Failing:
    """A stage whose `ballot status` fails at first."""

    def __init__(self, times: int) -> None:
        self._left = times

    def run(self, *_: str) -> str:
        """The status, once the database is back."""
        self._left -= 1
        if self._left >= 0:
            raise StageFault("The voter database is away.")
        books = {"accepted": 3, "stored": 3}
        sides = {side: {"electronic": 3} for side in books}
        return json.dumps({"turnout": sides, "books": books})


def test_a_status_that_fails_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right after a fault it may; the turnout has a minute to be told."""
    monkeypatch.setattr("loadtests.staging.stage.time.sleep", lambda _seconds: None)
    poll = object.__new__(Poll)
    poll.stage, poll.scenario = Failing(2), good  # type: ignore[assignment]
    monkeypatch.setattr(Poll, "ballot", "tube", raising=False)
    told = poll.turnout()
    assert told["turnout"] == told["books"] == {"accepted": 3, "stored": 3}


def test_a_wait_goes_on_from_the_first_planned_moment() -> None:
    """Through every attempt; a vote that lost to the other device is nobody's wait, one unsent is none."""
    rows = np.zeros(6, ROW)
    rows["at_s"] = range(6)
    rows["kind"] = [Kind.CAST, Kind.CAST, Kind.CAST, Kind.CAST, Kind.FOREIGN, Kind.CAST]
    answers = np.array(
        [
            (0, 503, 1, 0, 0.0, 0.1, 2.1),
            (1, 0, 1, 1, 1.0, 1.5, 11.5),
            (2, 403, 1, 0, 2.0, 2.0, 2.1),
            (4, 403, 1, 0, 4.0, 4.0, 4.1),
            (3, LEFT_OUT, 1, 0, 3.0, 3.0, 3.0),
            (0, 201, 2, 0, 12.0, 12.0, 12.5),
            (1, 0, 2, 0, 20.0, 20.0, 30.0),
        ],
        ANSWER,
    )
    held = np.array([True, False, True, True, False, False])
    found = casts.of_part(rows, answers, held)
    assert found["waited_s"].tolist()[:2] == [12.5, NEVER]
    assert np.isnan(found["waited_s"][2])
    assert found["late_s"].tolist() == pytest.approx([0.1, 0.0, 0.0])  # who found no device free was not late
    assert found["sent_s"].tolist() == [0.1, 1.5, 2.0]  # and yet it was sent when it was
    assert found["first"].tolist() == [503, 0, 403]
    assert found["held"].tolist() == [True, False, True]


def test_who_votes_in_the_last_second_holds_a_receipt_too(tmp_path: Path) -> None:
    """A service that gives none in the rush to the close is one that gives none to voters."""
    files = good()
    files[casts.FILE] = [*files[casts.FILE], cast(299.5, NEVER, first=503, held=False, kind=Kind.LAST)]
    word, what = wrong(files, tmp_path)
    assert word == "fail"
    assert {HOLD, AT_ONCE} <= what
