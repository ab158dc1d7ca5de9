"""What `ballot status --watch` shows, and how often it lets itself count the books."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from scrutineer import ballots, live

TOLD: dict[str, Any] = {
    "ballot": "tube-two-questions",
    "state": "open",
    "opens": "2025-07-01T09:00:00Z",
    "closes": "2025-07-29T12:00:00Z",
    "at": "2025-07-28T10:30:00Z",
    "books_at": "2025-07-28T10:29:58Z",
    "entitled": 10_424,
    "turnout": {"accepted": {"electronic": 4_512}, "stored": {"electronic": 4_510}},
    "queue_depth": 2,
    "a_second": 23.5,
    "books": {"entitled": 10_424, "issued": 10_424, "accepted": 4_512, "stored": 4_510, "quarantined": 0},
    "differences": {"stored": 0},
}


def shown(columns: int = 100, **changed: Any) -> str:
    """A round as a person sees it."""
    return "\n".join(live.lines(TOLD | changed, every_s=2.0, columns=columns))


def test_a_round_says_how_far_it_is_and_how_fast_it_goes() -> None:
    """Who voted of whom, what waits, the books with their age, and when it closes."""
    told = shown()
    assert "open, closes 2025-07-29T12:00:00Z, in 1 d 1 h" in told
    assert "43.3% of 10,424" in told
    assert "4,512  23.5 a second" in told
    assert "4,510  2 behind" in told
    assert "the books balance (as of 2025-07-28T10:29:58Z)" in told


def test_what_is_wrong_cannot_be_overlooked() -> None:
    """Books that do not balance are in capitals; more votes stored than accepted is no minus."""
    assert "THE BOOKS DO NOT BALANCE: {'stored': 2}" in shown(differences={"stored": 2, "used": 0})
    ahead = {"accepted": {"electronic": 3, "postal": 1}, "stored": {"electronic": 5}}
    told = shown(turnout=ahead)
    assert "-1" not in told
    assert "electronic 3, postal 1" in told


@pytest.mark.parametrize(
    ("state", "at", "words"),
    [
        ("scheduled", "2025-07-01T08:59:30Z", "opens 2025-07-01T09:00:00Z, in 0 min 30 s"),
        ("open", "2025-07-29T09:00:00Z", "in 3 h 0 min"),
        ("open", "2025-07-29T12:00:01Z", "closed at 2025-07-29T12:00:00Z"),
        ("closed", "2025-07-29T09:00:00Z", "closed at 2025-07-29T12:00:00Z"),
        ("created", "2025-07-02T09:00:00Z", "opens 2025-07-01T09:00:00Z"),
    ],
    ids=["before", "open", "over", "closed", "not opened in time"],
)
def test_it_says_how_long_it_is_until_then(state: str, at: str, words: str) -> None:
    """Until the opening, then until the close."""
    assert words in shown(state=state, at=at).splitlines()[0]


@pytest.mark.parametrize("columns", [40, 60, 79, 110])
def test_nothing_is_wider_than_the_terminal(columns: int) -> None:
    """A line that is too long goes on below, also with ten million voters."""
    many = {side: {"electronic": 9_999_999, "postal": 1_000_000} for side in ("accepted", "stored")}
    for line in shown(columns=columns, turnout=many, entitled=12_000_000).splitlines():
        assert len(line) <= columns


def test_rounds_are_drawn_one_over_the_other() -> None:
    """Each line ends by clearing what was longer before, and the last one clears what is below."""
    drawn = live.placed(["one", "two"])
    assert drawn == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"


async def test_the_books_take_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow books are asked seldom; the turnout is new every time, and only the last rounds are kept."""
    clock, asked, voted = [0.0], [0], [0]

    async def now() -> tuple[int, str]:
        return round(clock[0] * 1e6), f"at {clock[0]:g}"

    async def read(_desk: object, _ballot: str) -> dict[str, Any]:
        asked[0] += 1
        clock[0] += 3.0
        return dict(TOLD)

    async def on_its_way(_desk: object, _stored: object) -> dict[str, Any]:
        voted[0] += 20
        return {"turnout": {"accepted": {"electronic": voted[0]}, "stored": {"electronic": voted[0]}}}

    async def load(_desk: object, _ballot: str) -> None:
        return None

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(live, "read", read)
    monkeypatch.setattr(live, "on_its_way", on_its_way)
    monkeypatch.setattr(ballots, "load", load)
    desk: Any = SimpleNamespace(now=now)
    watching = live.Watch(desk, "made")
    told = await watching.look()
    for _ in range(99):
        clock[0] += 2.0
        told = await watching.look()
    assert asked[0] == 1 + int((clock[0] - 3.0) // 33.0)
    assert told["books_at"] != told["at"]
    assert told["a_second"] == pytest.approx(10.0, abs=2.0)
    assert len(watching._seen) == live.ROUNDS_KEPT
