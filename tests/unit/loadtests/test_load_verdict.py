"""A verdict passes a good run, and each thing that can be wrong with a run makes it what it must."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.crowds import buckets, casts
from loadtests.crowds.timetable import Kind
from loadtests.judging import judged_votes
from loadtests.judging.judge import judge
from loadtests.judging.verdict import EXIT, Judgement, Verdict, Weight
from loadtests.report.reading import RunDirectory

START_S = 1_780_000_000
CLOSES_US = (START_S + 300) * 1_000_000
Files = dict[str, Any]


def good() -> Files:
    """What a run leaves in which nothing is wrong: 300 s, two votes a second, four in the peak minute."""
    books = {"accepted": 720, "stored": 720}
    return {
        "run.json": {
            "scale": 1,
            "closes": {"tube": CLOSES_US},
            "wrong": [],
            "overlays": [],
            "start_us": START_S * 1_000_000,
        },
        "figures.json": [
            {"question": "strike", "option": "yes", "published": 720, "counted": 720, "difference": 0}
        ],
        "chosen.json": [
            {
                "ballot": "tube",
                "question": "strike",
                "option": "yes",
                "counted": 720,
                "least": 720,
                "most": 720,
            }
        ],
        "check.json": {"differences": 0, "counts": {"lost": 0, "doubled": 0, "unexplained": 0}},
        "summary.json": {
            "unexpected": [],
            "counts": {"receipts": 720},
            "late_ms": {"p50": 1.0, "p99": 4.0, "max": 20.0},
            "unsent": 0,
            "void": False,
            "void_reasons": [],
            "generator_cpu": [0.3],
            "generator_cpu_max": 0.35,
            "client_was_bottleneck": False,
            "odd": [],
            "odd_count": 0,
            "gave_up": 0,
        },
        "receipts.jsonl": [
            {
                "ballot": "tube",
                "reference": "0000-1111-2222-3333",
                "accepted_at": "2026-05-28T20:26:40.000000Z",
            }
        ],
        "result.json": {
            "books": {"accepted": 720, "quarantined": 0},
            "by_method": {"electronic": 720},
            "set_aside": {},
            "quarantined": {},
        },
        "quiet.json": [{"at_us": CLOSES_US, "turnout": books, "books": books}],
        "turnout.jsonl": [
            {"ballot": "tube", "from_us": CLOSES_US, "at_us": CLOSES_US, "accepted": 1, "stored": 1}
        ],
        "seconds.jsonl": [second(number, planned=due(number)) for number in range(300)],
        casts.FILE: [(number + turn / 8, 0.030) for number in range(300) for turn in range(due(number))],
        "samples.jsonl": [
            {"at_us": (START_S + number) * 1_000_000, "queue_oldest_s": 0.1} for number in range(300)
        ],
        "marks.jsonl": [mark("window", "peak", 100, 200, factor=1), mark("phase", "votes", 0, 300)],
        "availability.json": {"agree": True, "differences": [], "unplanned_s": 0.0}
        | {"attempts": {"never_succeeded": {"while_open": 0, "why": {"after": 0}}}},
    }


def due(second: int) -> int:
    """How many votes are sent in that second."""
    return 4 if 120 <= second < 180 else 2


def second(number: int, *, planned: int, refused_ms: float | None = None, none: int = 0) -> dict[str, Any]:
    """A line of seconds.jsonl."""
    refused = {} if refused_ms is None else {str(buckets.bucket(refused_ms)): 1}
    outcomes = {"accepted": planned} | ({"none": none} if none else {})
    told = {"s": START_S + number, "planned": planned, "sent": planned, "outcomes": outcomes}
    return told | {"refused": refused, "refused_ms_max": refused_ms or 0.0}


def cast(at_s: float, waited_s: float, **told: float) -> tuple[float, ...]:
    """A vote of casts.npz: its moment, how long its voter waited, what came first, how late it was sent."""
    held = told.get("held", math.isfinite(waited_s))
    return (
        at_s,
        waited_s,
        told.get("late_s", 0.0),
        at_s + told.get("delayed_s", told.get("late_s", 0.0)),
        at_s + told.get("answered_s", 0.03),
        told.get("first", 201),
        told.get("kind", Kind.CAST),
        held,
    )


def mark(kind: str, name: str, from_s: int, to_s: int, **told: Any) -> dict[str, Any]:
    """A line of marks.jsonl."""
    at = {"from_us": (START_S + from_s) * 1_000_000, "to_us": (START_S + to_s) * 1_000_000}
    return {"kind": kind, "name": name, **at, "told": told}


def write(files: Files, folder: Path) -> Path:
    """These files in that folder."""
    for name, value in files.items():
        if name == casts.FILE:
            votes = [cast(*each) if len(each) == 2 else each for each in value]
            casts.save(folder, [np.array(votes, casts.CAST)])
            continue
        text = (
            "".join(json.dumps(line) + "\n" for line in value)
            if name.endswith(".jsonl")
            else json.dumps(value)
        )
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_good_run_passes(tmp_path: Path) -> None:
    """Every judgement holds, the exit code is 0, and verdict.json says the same."""
    verdict = judge(write(good(), tmp_path))
    assert [each for each in verdict.judgements if not each.ok] == []
    assert (verdict.word, verdict.exit_code) == ("pass", 0)
    verdict.save(tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text())["verdict"] == "pass"
    assert verdict.lines()[-1] == "verdict: pass"


def _one_vote_missing(files: Files) -> None:
    files["figures.json"][0] |= {"counted": 719, "difference": -1}


def _lost(files: Files) -> None:
    files["check.json"] |= {
        "differences": 1,
        "counts": {"lost": 1},
        "findings": [{"kind": "lost", "where": "AAAA-BBBB-CCCC-DDDD", "what": "has no vote"}],
    }


def _doubled(files: Files) -> None:
    files["check.json"] |= {"counts": {"doubled": 1}}


def _unsent_counted(files: Files) -> None:
    files["check.json"] |= {"counts": {"unexplained": 1}}


def _unexpected(files: Files) -> None:
    files["summary.json"] |= {"unexpected": ["M0000001: refused"]}


def _accepted_at_the_close(files: Files) -> None:
    files["run.json"]["closes"] = {"tube": 1_780_000_000_000_000}


def _accepted_not_counted(files: Files) -> None:
    files["result.json"]["books"]["accepted"] = 721


def _counted_more_than_held(files: Files) -> None:
    files["chosen.json"][0]["counted"] = 721


def _a_step_failed(files: Files) -> None:
    files["run.json"]["wrong"] = ["`ballot verify` failed"]


def _overlay_forgotten(files: Files) -> None:
    files["run.json"]["overlays"] = ["botnet"]


def _turnout_out(files: Files) -> None:
    files["quiet.json"][0]["turnout"] = {"accepted": 719, "stored": 720}


def _disagrees(files: Files) -> None:
    files["availability.json"] = {"agree": False, "differences": ["outside down at 5"]}


def _slow_peak(files: Files) -> None:
    _votes(files, 130, 134, 2.0)


def _votes(files: Files, from_s: float, to_s: float, waited_s: float, **told: float) -> None:
    """The votes of that time take so long."""
    files[casts.FILE] = [
        cast(each[0], waited_s, **told) if from_s <= each[0] < to_s else each for each in files[casts.FILE]
    ]


def _old_queue(files: Files) -> None:
    files["samples.jsonl"][7]["queue_oldest_s"] = 2.5


def _nobody_looked_at_the_queue(files: Files) -> None:
    files["samples.jsonl"] = files["samples.jsonl"][:100]


def _late_refusal(files: Files) -> None:
    files["seconds.jsonl"][7] = second(7, planned=2, refused_ms=2_255)


def _slow_under_overlay(files: Files) -> None:
    files["marks.jsonl"].append(mark("overlay", "botnet", 0, 60))
    _votes(files, 20, 24, 6.0)


def _late_generator(files: Files) -> None:
    files["summary.json"] |= {"void": True, "void_reasons": ["p99 lateness 300 ms"]}


def _busy_generator(files: Files) -> None:
    files["summary.json"] |= {"client_was_bottleneck": True, "generator_cpu_max": 0.95}


def _late_and_slow(files: Files) -> None:
    _late_generator(files)
    _slow_peak(files)


def _late_and_lost(files: Files) -> None:
    _late_generator(files)
    _lost(files)


def _overlay_failed(files: Files) -> None:
    held = {"what": "codes guessed", "must": "0", "found": "1", "ok": False, "void": False}
    files["run.json"]["overlays"] = ["guessing"]
    files["overlays.json"] = [{"name": "guessing", "judgements": [held]}]


def _overlay_not_possible(files: Files) -> None:
    held = {"what": "cap", "must": "can be tried", "found": "no tc", "ok": False, "void": True}
    files["run.json"]["overlays"] = ["cap"]
    files["overlays.json"] = [{"name": "cap", "judgements": [held]}]


@pytest.mark.parametrize(
    ("breaks", "word", "what"),
    [
        (_one_vote_missing, "fail", "the result is the published one"),
        (_lost, "fail", "every receipt is counted, once"),
        (_doubled, "fail", "every receipt is counted, once"),
        (_unsent_counted, "fail", "a vote counted without a receipt was sent by a voter"),
        (_unexpected, "fail", "every voter got the outcome they must get"),
        (_accepted_at_the_close, "fail", "nothing is accepted at or after the close"),
        (_accepted_not_counted, "fail", "everything accepted before the close is counted"),
        (_counted_more_than_held, "fail", "what is counted is what voters hold receipts for"),
        (_a_step_failed, "fail", "every step of the run was done"),
        (_overlay_forgotten, "fail", "botnet: what it got"),
        (_turnout_out, "fail", "the turnout is exact at every quiet point"),
        (_disagrees, "fail", "the availability record agrees"),
        (_slow_peak, "fail", "p99 of a cast at the peak minute"),
        (_old_queue, "fail", "the queue is never old"),
        (_nobody_looked_at_the_queue, "void", "the queue was looked at"),
        (_late_refusal, "fail", "refusals come in time"),
        (_slow_under_overlay, "fail", "p99 of a cast at the peak minute under botnet"),
        (_late_generator, "void", "the generator kept to its schedule"),
        (_busy_generator, "void", "the client was not the bottleneck"),
        (_late_and_slow, "void", "the generator kept to its schedule"),
        (_late_and_lost, "fail", "every receipt is counted, once"),
        (_overlay_failed, "fail", "guessing: codes guessed"),
        (_overlay_not_possible, "void", "cap: cap"),
    ],
)
def test_what_is_wrong_is_seen(breaks: Callable[[Files], None], word: str, what: str, tmp_path: Path) -> None:
    """One thing wrong: its judgement does not hold, and the verdict is what that means."""
    files = good()
    breaks(files)
    verdict = judge(write(files, tmp_path))
    assert what in {each.what for each in verdict.judgements if not each.ok}
    assert (verdict.word, verdict.exit_code) == (word, EXIT[word])


@pytest.mark.parametrize("name", sorted(set(good()) - {"run.json", "marks.jsonl"}))
def test_what_is_not_recorded_does_not_pass(name: str, tmp_path: Path) -> None:
    """Without any one of its files a run shows less than it must."""
    files = good()
    del files[name]
    assert judge(write(files, tmp_path)).word != "pass"


def test_a_slow_minute_outside_the_peak_is_told_apart(tmp_path: Path) -> None:
    """Latency is judged where the run plays in real time: a compressed day is faster than the day was."""
    files = good()
    files[casts.FILE] += [(250 + number / 90, 4.0) for number in range(3_600)]
    assert judge(write(files, tmp_path)).word == "pass"


@pytest.mark.parametrize(
    ("overlays", "difference", "word"),
    [(["cap"], -3, "pass"), (["cap"], -4, "fail"), (["cap"], 1, "fail"), ([], -3, "fail")],
)
def test_only_an_overlay_excuses_voters_who_gave_up(
    overlays: list[str], difference: int, word: str, tmp_path: Path
) -> None:
    """Three gave up: under an overlay three votes may be missing, not four; never is one added."""
    files = good()
    files["run.json"]["overlays"] = overlays
    files["overlays.json"] = [{"name": name, "judgements": []} for name in overlays]
    files["summary.json"]["gave_up"] = 3
    files["figures.json"][0]["difference"] = difference
    assert judge(write(files, tmp_path)).word == word


@pytest.mark.parametrize(("seconds", "word"), [(280, "pass"), (301, "fail"), (None, "fail")])
def test_many_ballots_are_counted_soon(seconds: float | None, word: str, tmp_path: Path) -> None:
    """Beside one ballot nobody looks at the clock; of many the results must be there in five minutes."""
    files = good()
    files["run.json"]["ballots"] = 214
    phases = [] if seconds is None else [{"name": "ballot tally: counted", "seconds": seconds}]
    files["run.json"]["phases"] = phases
    opened = {"opens_us": START_S, "open_us": START_S, "not_open": 1}
    files["opening.json"] = [{"ballot": f"b-{number}"} | opened for number in range(214)]
    assert judge(write(files, tmp_path)).word == word


@pytest.mark.parametrize(
    ("counted", "held", "ok"),
    [((5, 5), 5, True), ((6, 4), 5, False), ((5, 4), 5, False), ((5, 5), 6, False)],
    ids=["well", "one for another", "one lost", "a receipt more"],
)
def test_no_ballot_makes_up_for_another(
    counted: tuple[int, int], held: int, ok: bool, tmp_path: Path
) -> None:
    """What is one too many in one ballot and one too few in the next is two mistakes."""
    (tmp_path / "results").mkdir()
    for ballot, electronic in zip("ab", counted, strict=True):
        result = {"books": {"accepted": 5, "quarantined": 0}, "by_method": {"electronic": electronic}}
        told = json.dumps(result | {"set_aside": {}})
        (tmp_path / "results" / f"{ballot}.json").write_text(told, encoding="utf-8")
    lines = [json.dumps({"ballot": "a", "reference": number}) + "\n" for number in range(held)]
    (tmp_path / "receipts.jsonl").write_text("".join(lines), encoding="utf-8")
    assert judged_votes.counted(RunDirectory(tmp_path), {"a": 1, "b": 2}).ok is ok


def test_under_faults_the_queue_may_grow_old(tmp_path: Path) -> None:
    """A database that is killed makes entries wait, and that is what the queue is for."""
    files = good()
    files["marks.jsonl"].append(mark("fault", "kill worker", 200, 230))
    files["samples.jsonl"][255]["queue_oldest_s"] = 20.0
    assert judge(write(files, tmp_path)).word == "pass"
    files["samples.jsonl"][265]["queue_oldest_s"] = 2.5  # but not for ever
    assert judge(write(files, tmp_path)).word == "fail"


def test_references_are_named_and_bounded() -> None:
    """The votes that tell against a run are named, as many as a person would read."""
    names = tuple(f"vote {number}" for number in range(500))
    verdict = Verdict((Judgement("votes", "none", "500", ok=False, weight=Weight.FAILS, references=names),))
    assert len(verdict.as_json()["judgements"][0]["references"]) == 100
    assert verdict.lines()[1].strip() == "vote 0"


def test_nothing_judged_is_no_pass() -> None:
    """A verdict without a judgement fails."""
    assert Verdict().word == "fail"


def test_the_generators_worst_ten_seconds_are_shown(tmp_path: Path) -> None:
    """A process that was full for a while is not hidden by a day of little to do."""
    files = good()
    _busy_generator(files)
    told = judge(write(files, tmp_path)).judgements
    (found,) = [each.found for each in told if each.what == "the client was not the bottleneck"]
    assert "0.95 of a core" in found
