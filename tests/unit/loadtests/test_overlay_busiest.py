"""A relay that was the bottleneck for a minute was one, however long it had nothing to do."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.overlays.busiest import Busiest
from loadtests.overlays.cap import NarrowLine
from loadtests.overlays.catalogue import OVERLAYS


def readings(busy: range, *, seconds: int = 9_000, every_s: float = 1.0) -> Iterator[tuple[float, float]]:
    """The CPU of a process that rests for two hours and a half, but for those seconds."""
    used_s, at_s = 0.0, 0.0
    while at_s < seconds:
        yield at_s, used_s
        used_s += every_s * (0.98 if int(at_s) in busy else 0.01)
        at_s += every_s


@pytest.mark.parametrize("every_s", [0.5, 1.0, 3.0])
def test_its_worst_ten_seconds_are_told(every_s: float) -> None:
    """Not the mean of the whole run, of which the minute is a hundredth; nor what a second alone was like."""
    minute, second = Busiest(), Busiest()
    for reading in readings(range(5_000, 5_060), every_s=every_s):
        minute.note(*reading)
    for reading in readings(range(5_000, 5_001), every_s=1.0):
        second.note(*reading)
    assert minute.share() == pytest.approx(0.98)
    assert second.share() == pytest.approx(0.107)


def test_less_than_ten_seconds_are_all_there_is() -> None:
    """Of no readings nothing, of a few what they say together."""
    short = Busiest()
    assert short.share() == 0.0
    short.note(5.0, 1.0)
    assert short.share() == 0.0
    short.note(9.0, 3.0)
    assert short.share() == 0.5


def test_a_relay_that_was_busy_for_a_minute_voids(monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the process in the namespace says a second to the judgement."""
    told = iter([*readings(range(50, 110), seconds=600), None])
    at = [0.0]

    async def line(_self: NarrowLine) -> dict[str, Any]:
        reading = next(told)
        if reading is None:
            return {}
        at[0] = reading[0]
        return {"bytes_in": 1, "cpu_ms": round(reading[1] * 1000)}

    monkeypatch.setattr(NarrowLine, "_line", line)
    monkeypatch.setattr("loadtests.overlays.cap.time", SimpleNamespace(monotonic=lambda: at[0]))
    narrow = NarrowLine()
    asyncio.run(narrow.listen())
    ended: dict[str, Any] = {"how": "kernel", "bits_a_second": 8_000.0, "capped_from_us": 0}
    ended |= {"capped_to_us": 10_000_000, "capped_bytes_in": 9_000, "turned_away": 0}
    *_, judgement = OVERLAYS["cap"].judge(ended | {"cpu_share": narrow.busiest.share()})
    assert (judgement.ok, judgement.void) == (False, True)
