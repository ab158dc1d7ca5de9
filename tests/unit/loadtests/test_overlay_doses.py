"""An overlay that hardly did what was asked for shows nothing; one that was hindered excuses nothing else."""

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loadtests.conduct.beside import Beside, Ground
from loadtests.overlays import catalogue, fault, handshakes, judging, narrow, replay, visitor
from loadtests.overlays.catalogue import OVERLAYS, Context, Running
from loadtests.overlays.wire import Reply, ours
from loadtests.published.scenario import OverlayCall
from loadtests.staging.kept import Kept

BOTNET: dict[str, Any] = {
    "got": {"cast 403": 500, "page 200": 500},
    "paced": {"asked": 1_000.0, "begun": 1_000, "cut_short": False},
}
HONEST: dict[str, Any] = {
    "did": {"honest visitor": 50},
    "got": {"honest visitor 200": 50, "request 200": 10},
    "honest": {"p99": 40.0},
    "slow_lived_s_max": 11.0,
    "lag_s_max": 12.0,
}


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"paced": {"asked": 1_390.0, "begun": 1_000}}, "requests begun, of those asked for"),
        ({"paced": {"asked": 1_000.0, "begun": 1_000, "cut_short": True}}, "requests begun, of those"),
        ({"got": {"cast 403": 5, "cast not sent": 495, "page 200": 500}}, "requests begun, of those"),
        ({"got": {"cast none": 500, "page 200": 5, "page none": 495}}, "requests that got an answer"),
        ({"paced": None}, "requests begun, of those asked for"),
    ],
    ids=["starved", "cut short", "no port left", "nobody there", "not told"],
)
def test_a_flood_that_hardly_ran_voids(told: dict[str, Any], what: str) -> None:
    """Asked for and begun are compared, and what came of it; a whole one says nothing."""
    assert all(judgement.ok for judgement in OVERLAYS["botnet"].judge(BOTNET))
    void = [each for each in OVERLAYS["botnet"].judge(BOTNET | told) if not each.ok]
    assert void
    assert all(each.void for each in void)
    assert void[0].what.startswith(what)


def test_only_what_fails_on_this_side_was_not_sent() -> None:
    """A port too few is ours; a refused connection is the server's answer."""
    assert ours(OSError(errno.EADDRNOTAVAIL, "no port"))
    assert not ours(ConnectionRefusedError(errno.ECONNREFUSED, "nobody there"))
    assert Reply(0, b"", 1.0, sent=False).came == "not sent"


def test_a_floods_own_lag_excuses_no_slow_visit() -> None:
    """The visitor has a process of its own, which tells what it waited; 14 s is a failure."""
    assert all(judgement.ok for judgement in handshakes.judge(HONEST))
    (slow,) = [each for each in handshakes.judge(HONEST | {"honest": {"p99": 14_000.0}}) if not each.ok]
    assert not slow.void
    assert visitor.waited() >= 0


def test_a_pause_of_ours_excuses_no_more_than_its_length() -> None:
    """Three seconds too late with two seconds of lag is too late; with four it shows nothing."""
    assert not judging.at_most("x", 20, 23, "s", lag_s=2.0).void
    assert judging.at_most("x", 20, 23, "s", lag_s=4.0).void


def test_a_vote_sent_again_that_nobody_settles_fails() -> None:
    """And where there is a crowd of which none was sent again, that is void, not left out."""
    good: dict[str, Any] = dict.fromkeys(
        (
            "crowd_other_references",
            "crowd_unsettled",
            "votes_twice",
            "other_references",
            "unsettled",
            "unsent",
        ),
        0,
    )
    good |= dict.fromkeys(("untrue", "told_too_much", "cut_short"), 0)
    good |= dict.fromkeys(("codes", "receipts", "raced", "races_won_once", "raced_within_5_ms"), 1)
    good |= {"crowd_there": True, "crowd_again": 3}
    good |= {"got": {"copy 201": 2, "receipt 200": 2, "voter's vote again 200": 3}}
    assert all(judgement.ok for judgement in replay.judge(good))
    (failed,) = [each for each in replay.judge(good | {"crowd_unsettled": 1}) if not each.ok]
    assert not failed.void
    (void,) = [each for each in replay.judge(good | {"crowd_again": 0}) if not each.ok]
    assert void.void


def test_a_clock_that_cannot_be_stepped_is_said() -> None:
    """The faults that are left do not hide the one that is missing."""
    (void,) = [
        each
        for each in fault.judge({"planned": 0, "hits": [], "clock_steps_not_possible_here": 1})
        if not each.ok
    ]
    assert void.void


def test_a_relay_that_turned_somebody_away_voids() -> None:
    """So does one that was as busy as a process can be."""
    told: dict[str, Any] = {"how": "relay", "capped_from_us": 0, "capped_to_us": 10_000_000}
    told |= {"bits_a_second": 2e5, "capped_bytes_in": 250_000, "turned_away": 0, "cpu_share": 0.2}
    assert all(judgement.ok for judgement in OVERLAYS["cap"].judge(told))
    for bad in ({"turned_away": 1}, {"cpu_share": 0.95}):
        (void,) = [each for each in OVERLAYS["cap"].judge(told | bad) if not each.ok]
        assert void.void


def test_only_voters_go_through_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attackers come from elsewhere: the relay is not to be what they overwhelm."""
    went: dict[str, str] = {}

    class Noted(Running):
        def __init__(self, name: str, context: Context) -> None:
            went[name], self.url = context.url, "http://127.0.0.1:2" if name == "cap" else None

        def stop(self) -> dict[str, Any]:
            return {}

    monkeypatch.setattr(catalogue, "Running", Noted)
    calls = [OverlayCall(name, from_s=0, seconds=1) for name in ("botnet", "cap", "reloaders")]
    context = Context("http://127.0.0.1:1", "b", tmp_path, tmp_path, 1, 0.0)
    with Beside(calls, Kept(tmp_path / "run")) as beside:
        url = beside.start(Ground(context), start_us=0, close_run_s=1.0)
    assert url == "http://127.0.0.1:2"
    assert set(went.values()) == {"http://127.0.0.1:1"}


def test_the_machines_own_loopback_is_never_narrowed() -> None:
    """Started by hand, outside a namespace of its own, it says so and changes nothing."""
    assert not narrow.in_a_namespace_of_its_own() or sys.platform != "linux"
    with pytest.raises(OSError, match="not a network namespace of its own"):
        narrow.Device()


def test_a_torn_last_line_is_no_word(tmp_path: Path) -> None:
    """An overlay that was killed while it wrote could not be tried; the run's files are kept all the same."""
    running = Running.__new__(Running)
    running.path, running._errors = tmp_path / "x.jsonl", tmp_path / "x.err"
    running._process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    running._process.wait()
    running._errors.write_text("")
    running.path.write_text(json.dumps({"at_us": 1}) + '\n{"told": {"fr')
    assert "ended with 0 and no word" in running._last_word("told")["impossible"]


def test_overlays_are_judged_knowing_the_runs_own_faults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one overlay killed is told to those who judge the others, whichever was started first."""
    kill = {"kind": "fault", "name": "kill-voterdb", "from_us": 1, "to_us": 2}

    class Marked(Running):
        def __init__(self, name: str, context: Context) -> None:
            self.path, self.url = context.out / f"{name}.jsonl", None
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(json.dumps({"marks": [kill] if name == "fault" else []}) + "\n")

        def stop(self) -> dict[str, Any]:
            return {"impossible": "no"}

    judged: dict[str, Any] = {}
    monkeypatch.setattr(catalogue, "Running", Marked)
    monkeypatch.setattr(catalogue, "impossible", lambda what, told: judged.setdefault(what, told) and [])
    kept = Kept(tmp_path / "run")
    context = Context("http://127.0.0.1:1", "b", tmp_path, kept.overlays, 1, 0.0)
    with Beside([OverlayCall(name, from_s=0, seconds=1) for name in ("reissue", "fault")], kept) as beside:
        beside.start(Ground(context, codes=[("M", "C")] * 99), start_us=0, close_run_s=1.0)
        beside.finish()
    assert judged[OVERLAYS["reissue"].what]["faults"] == [kill]
