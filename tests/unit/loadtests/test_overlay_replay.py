"""Replaying meets a server that is away for a moment, and stops in the middle: neither is a vote lost."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.conduct.beside import Beside, Ground
from loadtests.crowds import unconfirmed
from loadtests.judging import judged_turnout, judged_votes
from loadtests.overlays import attempts, catalogue, replayer
from loadtests.overlays.catalogue import Context, Running
from loadtests.overlays.own_voters import OwnVoters, entered
from loadtests.overlays.replayer import RACED_ONE_IN, Replayer
from loadtests.overlays.wire import Line, Reply, Target
from loadtests.overlays.work import Work
from loadtests.published.scenario import OverlayCall
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import Kept
from tests.unit.loadtests.overlaid import Place, ServedPages, served

RACED = RACED_ONE_IN - 1
WAIT_S = 30.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A good system, with the folder of the overlays' files."""
    (tmp_path / "overlays").mkdir()
    with served(ServedPages(), tmp_path) as found:
        yield found


def replaying(place: Place, codes: int = RACED_ONE_IN) -> Replayer:
    """What replays there, in this process."""
    context = place.context(spare_codes=place.codes(codes))
    return Replayer(
        Work("replay", context), Target.of(context), OwnVoters(context, entered(context), "replay")
    )


@pytest.mark.parametrize(
    ("away", "raced", "unsent"), [(3, 1, 0), (10**6, 0, 1)], ids=["for a moment", "for good"]
)
async def test_a_race_finds_the_edge_away(
    place: Place, monkeypatch: pytest.MonkeyPatch, away: int, raced: int, unsent: int
) -> None:
    """It connects as often as any vote is sent; a race that never began is no code whose turn it was."""
    whole, left = Line.open, away

    async def refused(*args: Any, **more: Any) -> Line:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ConnectionRefusedError
        return await whole(*args, **more)

    monkeypatch.setattr(Line, "open", refused)
    monkeypatch.setattr(replayer, "PAUSE_SECONDS", 0.001)
    replays = await asyncio.to_thread(replaying, place)
    await replays.one(RACED)
    told = replays.told()
    assert (told["raced"], told["races_won_once"], told["receipts"]) == (raced, raced, raced)
    assert (told["codes"], told["unsent"], told["unsettled"]) == (raced, unsent, 0)


async def test_what_is_sent_is_written_down_and_what_came_of_it(place: Place) -> None:
    """A vote with its receipt is counted, the loser of a race is not, and nothing is left open."""
    replays = await asyncio.to_thread(replaying, place)
    for number in range(RACED_ONE_IN):
        await replays.one(number)
    sent = attempts.read(place.folder / "overlays", "replay")
    assert sent is not None
    assert sent.counted == replays.told()["counted"]
    assert sum(sent.counted["strike"].values()) == RACED_ONE_IN
    assert (sent.unconfirmed, sent.open) == ({}, [])


@pytest.mark.parametrize("turn", [0, RACED], ids=["copies", "race"])
async def test_a_vote_that_is_cut_short_may_be_counted(
    place: Place, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """It was sent, and nobody waited for the answer: it is told with its digest and what it may add."""
    asked = asyncio.Event()

    async def hanging(*_: Any, **__: Any) -> Reply:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(replayer, "once", hanging)
    monkeypatch.setattr(Line, "ask", hanging)
    replays = await asyncio.to_thread(replaying, place)
    turning = asyncio.ensure_future(replays.one(turn))
    async with asyncio.timeout(WAIT_S):
        await asked.wait()
    turning.cancel()
    replays.told()
    sent = attempts.read(place.folder / "overlays", "replay")
    assert sent is not None
    votes = 2 if turn == RACED else 1
    assert sum(sent.unconfirmed["strike"].values()) == len(sent.open) == votes
    assert {each["ballot"] for each in sent.open} == {place.ballot.document.definition.id}
    assert sent.counted == {}


@pytest.mark.parametrize(
    ("replies", "certain"),
    [
        ([Reply(403, b"{}", 1.0)], True),
        ([Reply(403, b"{}", 1.0, unsure=True)], True),
        ([Reply(409, b"{}", 1.0)], True),
        ([Reply(409, b"{}", 1.0, unsure=True)], False),
        ([Reply(503, b"{}", 1.0)], False),
        ([Reply(403, b"{}", 1.0), Reply(0, b"", 1.0)], False),
        ([Reply(201, b"{}", 1.0)], False),
    ],
)
def test_only_a_refusal_for_good_keeps_a_vote_out(replies: list[Reply], certain: bool) -> None:
    """One request without an answer among them, and it may have been taken before the ballot closed."""
    assert all(reply.refuses for reply in replies) is certain


def test_votes_that_an_overlay_left_open_void_and_do_not_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cut short is among the attempts, and may be counted, in turnout, options and figures alike."""

    class Killed(Running):
        def __init__(self, name: str, context: Context) -> None:
            self.path, self.url = context.out / f"{name}.jsonl", None
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text("")
            line = {"ballot": "b", "sealed_sha256": "ab", "member_id": "M", "marks": {"strike": ["yes"]}}
            (context.out / f"{name}.attempts.jsonl").write_text(json.dumps(line) + '\n{"sealed_sha')

        def stop(self) -> dict[str, Any]:
            return {"impossible": "It ended with -9 and no word."}

    monkeypatch.setattr(catalogue, "Running", Killed)
    kept = Kept(tmp_path / "run")
    context = Context("http://127.0.0.1:1", "b", tmp_path, kept.overlays, 1, 0.0)
    with Beside([OverlayCall("replay", from_s=0, seconds=1)], kept) as beside:
        beside.start(Ground(context, codes=[("M", "C")] * 99), start_us=0, close_run_s=1.0)
        beside.finish()
    voters = tmp_path / "voters"
    voters.mkdir()
    beside.append_files(voters)
    assert json.loads((voters / unconfirmed.BESIDE).read_text()) == {"ballot": "b", "sealed_sha256": "ab"}
    assert beside.papers({"unconfirmed": {}}, "b")["unconfirmed"] == {"b": {"strike": {"yes": 1}}}
    (told,) = json.loads((kept.folder / "overlays.json").read_text())
    assert told["unconfirmed"] == 1
    (kept.folder / "summary.json").write_text("{}")
    assert judged_turnout.unknown(RunDirectory(kept.folder)) == 1
    figure = {"question": "strike", "option": "yes", "published": 5, "counted": 6, "difference": 1}
    assert judged_votes.published([figure], scaled=False, more=1).ok
    assert not judged_votes.published([figure], scaled=False).ok
