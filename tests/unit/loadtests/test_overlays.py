"""Overlays do what they say from processes of their own, and judge a broken system as broken."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.crowds import ahead, ledger
from loadtests.crowds.timetable import ROW
from loadtests.faults import hands
from loadtests.overlays import fault, guessing, judging, reissue, replay
from loadtests.overlays.__main__ import RUNS
from loadtests.overlays.addresses import drawn
from loadtests.overlays.catalogue import OVERLAYS
from loadtests.overlays.crowd_casts import CROWD
from loadtests.overlays.own_voters import entered, papers
from loadtests.overlays.reloaders import Reloader
from loadtests.overlays.replayer import says_only_state
from loadtests.overlays.terms import Context, Told
from loadtests.overlays.wire import Reply, Target
from loadtests.overlays.work import Impossible
from loadtests.published.scenario_parts import OVERLAY_NAMES
from loadtests.voting.door import HttpDoor
from loadtests.voting.voter import seal
from tests.unit.loadtests.overlaid import Place, ServedPages, served

README = Path(__file__).resolve().parents[3] / "loadtests" / "README.md"
WAIT_S = 30.0
CODES = 6
SECONDS = {"replay": WAIT_S}
"""Replaying ends with its last code; the others take as long as they are given."""

FEW, ALL = ("guessing", "replay"), ("botnet", "guessing", "replay", "reloaders")
FAST: dict[str, dict[str, Any]] = {"reloaders": {"people": 20, "every_seconds": 0.5}, "replay": {"rate": 30}}


def together(place: Place, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What several overlays told that ran side by side."""
    running = {
        name: OVERLAYS[name].start(
            place.context(
                spare_codes=place.codes(CODES), knobs=FAST.get(name, {}), seconds=SECONDS.get(name, 1.0)
            )
        )
        for name in names
    }
    for overlay in running.values():
        deadline = time.monotonic() + WAIT_S
        while overlay.running and time.monotonic() < deadline:
            time.sleep(0.02)
    return {name: overlay.stop() for name, overlay in running.items()}


def failed(name: str, told: Told) -> set[str]:
    """What an overlay finds wrong; a busy machine may void what is about milliseconds."""
    judgements = OVERLAYS[name].judge(told)
    return {judgement.what for judgement in judgements if not (judgement.ok or judgement.void)}


def test_overlays_find_nothing_wrong_with_a_good_system(tmp_path: Path) -> None:
    """Each does its work from its own process, keeps its receipts, tells its votes and is content."""
    with served(ServedPages(), tmp_path) as place:
        told = together(place, FEW)
        voted = len(place.ballot.voted)
    assert {name: failed(name, told[name]) for name in FEW} == {name: set() for name in FEW}
    assert told["replay"]["receipts"] == CODES
    assert told["guessing"]["receipts"] == 1
    counted = [told[name]["counted"]["strike"] for name in ("replay", "guessing")]
    assert sum(sum(votes.values()) for votes in counted) == voted == CODES + 1
    kept = (tmp_path / "overlays" / "replay.receipts.jsonl").read_text().splitlines()
    sealed = (tmp_path / "overlays" / "replay.sealed.jsonl").read_text().splitlines()
    assert len(kept) == len(sealed) == CODES
    lines = [json.loads(line) for line in (tmp_path / "overlays" / "replay.jsonl").read_text().splitlines()]
    assert "ready" in lines[0]
    assert "told" in lines[-1]
    asked = sum(line["did"].get("copy", 0) for line in lines[1:-1])
    assert asked == told["replay"]["did"]["copy"] > 0


def sealed_ahead(place: Place, voters: Path, count: int) -> None:
    """So many votes as a crowd seals them ahead, each cast, and the receipts as a generator keeps them."""
    folder = voters / ahead.FOLDER
    folder.mkdir(parents=True)
    door, booth = HttpDoor(place.url), entered(place.context())
    rows, bodies, came = np.zeros(count, ROW), b"", b""
    for number in range(count):
        vote = seal(booth, place.ballot.code(), papers(booth)[0])
        body = vote.to_json()
        rows[number]["offset"], rows[number]["length"] = len(bodies), len(body)
        rows[number]["digest"] = np.frombuffer(vote.sealed_sha256, np.uint8)
        bodies += body
        came += door.send("POST", f"{booth.path}/votes", body).body + b"\n"
    door.close()
    np.save(ahead.rows_file(folder, 0), rows)
    ahead.bodies_file(folder, 0).write_bytes(bodies)
    ledger.receipts_file(voters, 0).write_bytes(came)


@pytest.mark.parametrize(
    ("forgets", "others"),
    [
        pytest.param(False, 0, id="good"),
        pytest.param(True, CODES, id="forgetful", marks=pytest.mark.long),
    ],
)
def test_voters_own_votes_are_sent_again(tmp_path: Path, *, forgets: bool, others: int) -> None:
    """A share of what the crowd cast goes again, bit for bit; who is told another reference is counted."""
    voters = tmp_path / "voters"
    with served(ServedPages(forgets=forgets), tmp_path) as place:
        sealed_ahead(place, voters, CODES)
        context = place.context(
            voters=voters, knobs={"share": 1}, spare_codes=place.codes(1), seconds=600.0, seed=5
        )
        running = OVERLAYS["replay"].start(context)
        deadline = time.monotonic() + WAIT_S
        while running.path.read_text(encoding="utf-8").count(CROWD) < 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        told = running.stop()
    assert told["crowd_again"] == CODES
    assert told["crowd_other_references"] == others
    assert told["crowd_unsettled"] == 0


@pytest.mark.long
def test_overlays_fail_a_system_that_uses_no_code_up(tmp_path: Path) -> None:
    """Where any code votes and none is used up, guessing hits and replaying votes twice."""
    with served(ServedPages(forgets=True), tmp_path) as place:
        told = together(place, ALL)
    assert "codes guessed" in failed("guessing", told["guessing"])
    assert {"codes with two votes", "races of two choices with one winner"} <= failed(
        "replay", told["replay"]
    )


def test_an_overlay_ends_when_who_started_it_is_killed(tmp_path: Path) -> None:
    """The pipe that it was started with is its tether."""
    with served(ServedPages(), tmp_path) as place:
        context = json.dumps(place.context(seconds=600.0).as_json())
        starter = (
            "import json,sys,time; from loadtests.overlays.catalogue import OVERLAYS, Context\n"
            "running = OVERLAYS['botnet'].start(Context.from_json(json.loads(sys.argv[1])))\n"
            "print(running.pid, flush=True); time.sleep(600)"
        )
        with subprocess.Popen(
            [sys.executable, "-c", starter, context], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            overlay = int(process.stdout.readline())
            assert hands.alive(overlay)
            os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + WAIT_S
        while hands.alive(overlay):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_what_cannot_be_tried_voids(tmp_path: Path) -> None:
    """No spare code, an unknown parameter: the overlay says why, and its one judgement is void."""
    context = Context("http://127.0.0.1:9", "b", tmp_path, tmp_path, 1, 1.0, knobs={"people": 3, "wings": 2})
    told = OVERLAYS["reloaders"].start(context).stop()
    (judgement,) = OVERLAYS["reloaders"].judge(told)
    assert judgement.void
    assert "wings" in judgement.found


def test_the_scenarios_know_the_same_overlays() -> None:
    """What a scenario may name is what there is."""
    assert set(OVERLAYS) == set(OVERLAY_NAMES)


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_the_overlays_and_their_parameters_are_documented(name: str) -> None:
    """The table for testers has every overlay, with everything it reads."""
    rows = README.read_text(encoding="utf-8").partition("## Overlays")[2].partition("\n## ")[0].splitlines()
    (row,) = (row for row in rows if row.startswith(f"| `{name}` |"))
    _, knobs = RUNS[name]
    assert {knob for knob in knobs if f"`{knob}`" not in row} == set()


def test_a_context_goes_through_a_pipe_whole(tmp_path: Path) -> None:
    """What is read is what was written; a code is not in its representation."""
    context = Context(
        "http://127.0.0.1:1",
        "b",
        tmp_path,
        tmp_path / "out",
        3,
        2.5,
        ca=tmp_path / "ca.pem",
        spare_codes={"M1": "AAAA"},
        knobs={"rate": 2},
    )
    assert Context.from_json(json.loads(json.dumps(context.as_json()))) == context
    assert "AAAA" not in repr(context)


def test_ten_thousand_addresses_are_different_and_loopback() -> None:
    """The same seed gives the same ones; none is where voters come from."""
    addresses = drawn(7)
    assert addresses == drawn(7) != drawn(8)
    assert len(set(addresses)) == 10_000
    assert all(address.startswith("127.") and not address.startswith("127.0.") for address in addresses)


def test_overlays_go_nowhere_but_loopback(tmp_path: Path) -> None:
    """An address elsewhere is refused before anything is sent."""
    for url in ("http://192.0.2.1:80", "http://example.org", "https://127.example.org/"):
        with pytest.raises(ValueError, match="loopback"):
            Target.of(Context(url, "b", tmp_path, tmp_path, 1, 1.0))


def test_who_is_told_to_come_later_must_be_told_that_it_is_safe() -> None:
    """A 503 of the API without `retry` is counted as such, and judged strange."""
    told = {"got": {f"cast {Reply(503, b'{}', 1.0).came}": 2, "cast 403": 5}}
    assert not judging.only(told, "answers", "cast", {"403", "503"}).ok
    later = Reply(503, b'{"error":"not_confirmed","retry":true}', 1.0)
    safe = {"got": {f"cast {later.came}": 2}}
    assert judging.only(safe, "answers", "cast", {"403", "503"}).ok


def test_nothing_asked_is_void_and_not_good() -> None:
    """An overlay that never asked has shown nothing."""
    judgement = judging.only({"got": {}}, "answers", "cast", {"403"})
    assert not judgement.ok
    assert judgement.void


def test_a_stranger_may_learn_only_that_a_vote_was_received() -> None:
    """Anything beside the state, or another state, is too much."""
    assert says_only_state(b'{"state":"stored"}')
    assert not says_only_state(b'{"state":"stored","member":"M1"}')
    assert not says_only_state(b'{"state":"held"}')


def test_one_hit_fails_the_guessing() -> None:
    """A single good code among thousands is one too many; so is a victim turned away."""
    good = {"guess 403": 9_000, "hammer 403": 100, "victim 200": 5}
    told: dict[str, Any] = {"did": {"victim votes": 1}, "got": good, "receipts": 1}
    assert all(judgement.ok for judgement in guessing.judge(told))
    for bad in ({"guess 201": 1}, {"hammer 200": 1}, {"victim 403": 1}, {"guess 500": 1}):
        assert not all(judgement.ok for judgement in guessing.judge(told | {"got": good | bad}))
    assert not all(judgement.ok for judgement in guessing.judge(told | {"receipts": 0}))


def test_one_vote_too_many_fails_the_replay() -> None:
    """A second vote, another reference, a lost race: each alone is enough."""
    good: dict[str, Any] = {
        "crowd_again": 3,
        "crowd_other_references": 0,
        "crowd_unsettled": 0,
        "votes_twice": 0,
        "other_references": 0,
        "unsettled": 0,
        "untrue": 0,
        "told_too_much": 0,
        "codes": 3,
        "receipts": 3,
        "raced": 1,
        "cut_short": 0,
        "unsent": 0,
        "races_won_once": 1,
        "raced_within_5_ms": 1,
        "got": {"copy 201": 2, "copy 200": 6, "receipt 200": 2, "unknown receipt 404": 2}
        | {"voter's vote again 200": 3},
    }
    assert all(judgement.ok for judgement in replay.judge(good))
    for name in (
        "votes_twice",
        "other_references",
        "unsettled",
        "untrue",
        "told_too_much",
        "races_won_once",
        "cut_short",
        "unsent",
        "crowd_other_references",
        "crowd_unsettled",
    ):
        assert not all(judgement.ok for judgement in replay.judge(good | {name: 2}))


def test_an_old_code_that_still_works_fails_the_reissue() -> None:
    """So does a new one that does not, a command that failed, and somebody left waiting."""
    good: dict[str, Any] = {
        "asked": 9,
        "in_hand": 9,
        "still_waiting": 0,
        "commands_failed": 0,
        "wait_s": {"max": 4.0},
        "got": {"new code 200": 9, "old code 403": 9},
    }
    assert all(judgement.ok for judgement in reissue.judge(good))
    for bad in (
        {"still_waiting": 1},
        {"commands_failed": 1},
        {"got": {"new code 200": 9, "old code 200": 1}},
        {"got": {"new code 200": 8}},
    ):
        assert not all(judgement.ok for judgement in reissue.judge(good | bad))


def test_a_command_that_a_fault_of_the_run_hit_voids_the_reissue() -> None:
    """And so does who waits for it; one that failed before the fault, or somebody more who waits, fails."""
    told: dict[str, Any] = {"asked": 9, "in_hand": 4, "still_waiting": 5, "commands_failed": 1}
    told |= {"wait_s": {"max": 4.0}, "got": {"new code 200": 4, "old code 403": 4}}
    told |= {"failures": [{"from_us": 10, "to_us": 20, "members": 5}]}
    killed = {"kind": "fault", "name": "kill-voterdb", "from_us": 15, "to_us": 90}

    def found(more: dict[str, Any]) -> list[bool]:
        return [each.void for each in OVERLAYS["reissue"].expects(told | more) if not each.ok]

    assert found({"faults": [killed]}) == [True, True]
    assert found({"faults": []}) == found({"faults": [killed | {"from_us": 21}]}) == [False, False]
    assert found({"faults": [killed], "still_waiting": 6}) == [True, False]
    assert found({"faults": [killed], "commands_failed": 2}) == [False, True]


def test_faults_come_evenly_and_only_known_ones() -> None:
    """Each kind in its turn, in the middle of its share of the time."""
    knobs = {"kinds": "kill-edge, kill-worker"}
    assert [kind for _, kind in fault.planned(knobs, 40.0, rounds=2)] == ["kill-edge", "kill-worker"] * 2
    assert [at_s for at_s, _ in fault.planned(knobs, 40.0, rounds=2)] == [5.0, 15.0, 25.0, 35.0]
    with pytest.raises(Impossible, match="kill-the-queen"):
        fault.planned({"kinds": "kill-the-queen"}, 1.0, rounds=1)


def test_a_fault_that_is_not_over_fails() -> None:
    """So does one that was never done, and one that took too long."""
    hit = {"name": "kill-edge", "from_us": 0, "to_us": 1_000_000, "done": True}
    assert all(judgement.ok for judgement in fault.judge({"planned": 1, "hits": [hit]}))
    for hits in ([], [hit | {"done": False}], [hit | {"to_us": 31_000_000}]):
        assert not all(judgement.ok for judgement in fault.judge({"planned": 1, "hits": hits}))


async def test_who_reloads_gives_up_the_page_that_did_not_come() -> None:
    """A reload while an answer is owed ends that connection and asks on another; the page then comes."""
    asked: list[bytes] = []
    waiting = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        waiting.set()
        if len(asked) > 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
        person = Reloader(target, "127.9.9.9")
        request = target.request("GET", "/b/x", keep=True)
        first = asyncio.ensure_future(person.reload(request))
        async with asyncio.timeout(WAIT_S):
            await waiting.wait()
            second = await person.reload(request)
            assert await first is None
        assert second is not None
        assert (second.status, second.body) == (200, b"page")
        person.close()
