"""Many ballots open in one second: somebody waits at each, asks four times a second, and notes when it opens.

As the pages of voters who came early do: whether a code is good is asked, and the answer before the opening
is that the ballot is not open. It is a process of its own: whoever seals votes meanwhile forks, and keeps the
interpreter busy in the second that is judged.
"""

import asyncio
import json
import multiprocessing
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ballot.code import Code
from loadtests.overlays import addresses
from loadtests.overlays.wire import Line, Target
from loadtests.staging.kept import US, now_us
from loadtests.voting.desk import each_code
from loadtests.voting.voter import FORBIDDEN, OK, access_body_of

FILE: Final = "opening.json"
BEFORE_S, AFTER_S, EVERY_S = 2.0, 15.0, 0.25
ANSWER_S: Final = 5.0
NOT_OPEN: Final = 409
OPEN: Final = frozenset({OK, FORBIDDEN})
"""A code that is good, or one that was replaced or used: either is said of an open ballot only."""


class Openings:
    """Waits for the opening, watches it, and leaves what it saw in FILE in `folder`."""

    def __init__(
        self,
        target: Target,
        ballots: Sequence[tuple[str, Path]],
        opens_us: int,
        folder: Path,
        *,
        seed: int,
    ) -> None:
        self._target = target
        self._ballots = ballots
        self._sources = addresses.drawn(seed, len(ballots), apart="openings")
        self._opens_us = opens_us
        self._folder = folder

    def begin(self) -> multiprocessing.process.BaseProcess:
        """Watch in a process of its own, which ends by itself and with ours."""
        watching = multiprocessing.get_context("spawn").Process(target=self.watch, daemon=True)
        watching.start()
        return watching

    def watch(self) -> None:
        """Everything."""
        draft = self._folder / f".{FILE}.draft"
        draft.write_text(json.dumps(asyncio.run(self._watch()), indent=2) + "\n", encoding="utf-8")
        draft.rename(self._folder / FILE)

    async def _watch(self) -> list[dict[str, Any]]:
        """All ballots side by side, their questions spread over the quarter of a second."""
        ballots = [(ballot, first_code(codes)) for ballot, codes in self._ballots]
        await asyncio.sleep(max(0.0, (self._opens_us - now_us()) / US - BEFORE_S))
        asking = [
            self._wait(ballot, code, source, EVERY_S * number / len(ballots))
            for number, ((ballot, code), source) in enumerate(zip(ballots, self._sources, strict=True))
        ]
        return list(await asyncio.gather(*asking))

    async def _wait(self, ballot: str, code: Code, source: str, begins_s: float) -> dict[str, Any]:
        """Ask about one ballot until it is open, or for too long."""
        body = access_body_of(ballot, code)
        request = self._target.request("POST", f"/api/v1/ballots/{ballot}/access", body, keep=True)
        told: dict[str, Any] = {"ballot": ballot, "opens_us": self._opens_us, "open_us": None}
        told |= {"asked": 0, "not_open": 0, "not_answered": 0, "first_asked_us": None}
        line: Line | None = None
        await asyncio.sleep(begins_s)
        while told["open_us"] is None and now_us() < self._opens_us + AFTER_S * US:
            told["first_asked_us"] = told["first_asked_us"] or now_us()
            told["asked"] += 1
            status = 0
            try:
                if line is None or line.closed:
                    line = await Line.open(self._target, source=source)
                status = (await line.ask(request, seconds=ANSWER_S)).status
            except (OSError, TimeoutError):
                line = None
            if status in OPEN:
                told["open_us"] = now_us()
                break
            told["not_open" if status == NOT_OPEN else "not_answered"] += 1
            await asyncio.sleep(EVERY_S)
        if line is not None:
            line.close()
        return told


def first_code(path: Path) -> Code:
    """The first code of a dispatch file."""
    (text,) = (code for _, code in islice(each_code(path), 1))
    return Code.parse(text)
