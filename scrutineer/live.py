"""`ballot status --watch`: a ballot as it goes, drawn anew every few seconds; never a choice.

The turnout and what waits are asked every time. The books count every row, so they are asked again only while
that takes at most a tenth of the time, and say how old they are. Nothing is kept but the last rounds' counts.
"""

import asyncio
import json
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

import asyncpg
import click
from redis.exceptions import RedisError

from ballot.encoding import parse_time
from scrutineer import ballots
from scrutineer.session import Desk, run_desk
from scrutineer.status import on_its_way, read

SHARE_OF_TIME: Final = 10
ROUNDS_KEPT: Final = 15
"""The rate is that of the last so many rounds."""

BAR_CHARS: Final = 40
WIDTH: Final = (40, 110)
US: Final = 1_000_000
AWAY_S: Final = 1.0
AWAY: Final = (
    *(OSError, RedisError, asyncpg.InterfaceError),
    *(asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError),
)
"""What a server that ends, is away or is only just starting makes of a question."""

HOME, LINE_END, SCREEN_END = "\x1b[H", "\x1b[K\n", "\x1b[J"


class Watch:
    """One ballot on the screen of whoever holds `desk`; `look` asks, `lines` says."""

    def __init__(self, desk: Desk, ballot: str) -> None:
        self._desk = desk
        self._ballot = ballot
        self._told: dict[str, Any] = {}
        self._books_due_s = 0.0
        self._seen: deque[tuple[int, int]] = deque(maxlen=ROUNDS_KEPT)

    async def look(self) -> dict[str, Any]:
        """What `ballot status` shows, now, with `at`, `books_at` and the accepted votes `a_second`."""
        began_s = time.monotonic()
        if began_s >= self._books_due_s:
            self._told = await read(self._desk, self._ballot)
            took_s = time.monotonic() - began_s
            self._told["books_at"] = (await self._desk.now())[1]
            self._books_due_s = time.monotonic() + took_s * SHARE_OF_TIME
        else:
            self._told |= await on_its_way(self._desk, await ballots.load(self._desk, self._ballot))
        now_us, self._told["at"] = await self._desk.now()
        self._seen.append((now_us, sum(self._told["turnout"]["accepted"].values())))
        self._told["a_second"] = round(self._rate(), 1)
        return self._told

    def _rate(self) -> float:
        (first_us, before), (last_us, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last_us - first_us) * US if last_us > first_us else 0.0


def watch(ballot: str, *, every_s: float, as_json: bool) -> None:
    """Show it every `every_s` seconds until Ctrl-C: a line of JSON, in place on a terminal, or in blocks.

    Servers that go away after the first round are waited for.
    """
    seen = False

    async def body(desk: Desk) -> None:
        nonlocal seen
        live = Watch(desk, ballot)
        while True:
            show(await live.look(), every_s=every_s, as_json=as_json)
            seen = True
            await asyncio.sleep(every_s)

    while True:
        try:
            run_desk(body)
        except BrokenPipeError:
            raise
        except AWAY as error:
            if not seen:
                raise
            click.echo(f"no answer ({type(error).__name__}): trying again", err=True)
            time.sleep(max(every_s, AWAY_S))


def show(told: Mapping[str, Any], *, every_s: float, as_json: bool) -> None:
    """Print one round."""
    if as_json:
        click.echo(json.dumps(told))
        return
    in_place = sys.stdout.isatty()
    columns = min(max(shutil.get_terminal_size().columns - 1, WIDTH[0]), WIDTH[1])
    shown = list(lines(told, every_s=every_s, columns=columns))
    click.echo(placed(shown) if in_place else "\n".join([*shown, ""]), nl=not in_place)


def placed(shown: list[str]) -> str:
    """The lines over those of the round before: nothing scrolls, nothing of a longer round stays."""
    return HOME + "".join(line + LINE_END for line in shown) + SCREEN_END


def lines(told: Mapping[str, Any], *, every_s: float, columns: int) -> Iterator[str]:
    """What `look` gave, for a person, no line longer than `columns`."""
    for line in _lines(told, every_s=every_s):
        yield from textwrap.wrap(line, columns, subsequent_indent="    ", drop_whitespace=True) or [""]


def _lines(told: Mapping[str, Any], *, every_s: float) -> Iterator[str]:
    accepted, stored = (sum(told["turnout"][side].values()) for side in ("accepted", "stored"))
    entitled = told["entitled"]
    yield f"{told['ballot']}: {told['state']}, {_time_left(told)}"
    yield f"{told['at']}, every {every_s:g} s; Ctrl-C ends"
    yield ""
    share = accepted / entitled if entitled else 0.0
    filled = min(BAR_CHARS, int(share * BAR_CHARS))
    yield f"[{'#' * filled}{'.' * (BAR_CHARS - filled)}] {share:.1%} of {entitled:,}"
    yield f"accepted {accepted:>11,}  {told['a_second']:,.1f} a second{_methods(told['turnout']['accepted'])}"
    yield f"stored   {stored:>11,}  {_apart(accepted, stored)}"
    yield f"waiting  {told['queue_depth']:>11,}  in the queue"
    yield ""
    wrong = {name: value for name, value in told["differences"].items() if value}
    verdict = "the books balance" if not wrong else f"THE BOOKS DO NOT BALANCE: {wrong}"
    yield f"{verdict} (as of {told['books_at']})"
    yield ", ".join(f"{name} {value:,}" for name, value in told["books"].items())


def _apart(accepted: int, stored: int) -> str:
    """Two readers count the same stream: either may be ahead for a moment."""
    if accepted == stored:
        return "all of them"
    return f"{accepted - stored:,} behind" if accepted > stored else "(accepted are still being counted)"


def _methods(counts: Mapping[str, int]) -> str:
    if set(counts) <= {"electronic"}:
        return ""
    return ": " + ", ".join(f"{method} {votes:,}" for method, votes in sorted(counts.items()))


def _time_left(told: Mapping[str, Any]) -> str:
    """When it opens or closes, and how long it is until then."""
    moment = "opens" if told["state"] in {"created", "arming", "scheduled"} else "closes"
    left_us = parse_time(told[moment]) - parse_time(told["at"])
    if left_us <= 0 or told["state"] == "closed":
        return f"closed at {told['closes']}" if moment == "closes" else f"opens {told['opens']}"
    days, seconds = divmod(left_us // US, 86_400)
    hours, minutes = seconds // 3_600, seconds % 3_600 // 60
    left = (
        f"{days} d {hours} h"
        if days
        else f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {seconds % 60} s"
    )
    return f"{moment} {told[moment]}, in {left}"
