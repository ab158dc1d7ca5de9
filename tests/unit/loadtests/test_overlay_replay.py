"""Replaying meets a server that is away for a moment, and stops in the middle: neither is a vote lost."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.overlays import replayer
from loadtests.overlays.own_voters import OwnVoters, entered
from loadtests.overlays.replayer import RACED_ONE_IN, Replayer
from loadtests.overlays.wire import Line, Target
from loadtests.overlays.work import Work
from tests.unit.loadtests.overlaid import Place, ServedPages, served

RACED = RACED_ONE_IN - 1


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
