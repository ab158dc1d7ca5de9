"""People who wait and reload the page every five seconds, more and more of them, as in Moscow and Florida.

Whoever has no answer yet when the time comes gives it up and asks again, as a browser does: what counts is
how many pages arrive, not how many are asked for.
"""

import asyncio
from typing import Any, Final

from loadtests.overlays import addresses
from loadtests.overlays.judging import did, got, only
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import Line, Reply, Target, ours
from loadtests.overlays.work import Work

WHAT = "people who wait reload the page every 5 s, up to ten times as many as at first"
KNOBS: Final = frozenset({"every_seconds", "grows", "people"})
PEOPLE, EVERY_SECONDS, GROWS = 1_000, 5.0, 10.0
AT_ONCE_MAX = 4_000
HTTP_OK = 200
RELOAD = "reload"


class Reloader:
    """One person's browser: one connection, given up when an answer is still owed."""

    def __init__(self, target: Target, source: str) -> None:
        self._target = target
        self._source = source
        self._line: Line | None = None
        self._asking: asyncio.Task[Reply] | None = None

    async def reload(self, request: bytes) -> Reply | None:
        """The page; None when this person gave it up to ask again."""
        if self._asking is not None:
            self._asking.cancel()
            self.close()
        asking = asyncio.ensure_future(self._ask(request))
        self._asking = asking
        try:
            return await asking
        except asyncio.CancelledError:
            if not asking.cancelled():
                raise
            return None
        finally:
            if self._asking is asking:
                self._asking = None

    async def _ask(self, request: bytes) -> Reply:
        line = self._line
        if line is None or line.closed:
            try:
                line = await Line.open(self._target, source=self._source)
            except (OSError, TimeoutError) as error:
                return Reply(0, b"", 0.0, sent=not ours(error))
            if self._asking is not asyncio.current_task():
                line.close()  # given up while the connection came about
                raise asyncio.CancelledError
            self._line = line
        return await line.ask(request)

    def close(self) -> None:
        """Leave."""
        if self._line is not None:
            self._line.close()
            self._line = None


async def run(work: Work) -> dict[str, Any]:
    """The number of people grows evenly over the first half of the time, and stays."""
    target = Target.of(work.context)
    most = int(work.knob("people", PEOPLE))
    every = work.knob("every_seconds", EVERY_SECONDS)
    least = max(1, int(most / work.knob("grows", GROWS)))
    sources = addresses.drawn(work.context.seed, most, apart="reloaders")
    people = [Reloader(target, source) for source in sources]
    request = target.request("GET", f"/b/{work.context.ballot}", keep=True)
    grown_s = work.context.seconds / 2

    def there(passed_s: float) -> int:
        return min(most, least + int((most - least) * passed_s / max(grown_s, 1e-9)))

    began = 0.0

    async def one(number: int) -> None:
        person = people[number % there(asyncio.get_running_loop().time() - began)]
        reply = await person.reload(request)
        if reply is None:
            work.note(RELOAD, f"{RELOAD} given up")
        else:
            work.note(RELOAD, f"{RELOAD} {reply.came}", reply.ms)

    if await work.begin():
        work.give_way()
        began = asyncio.get_running_loop().time()
        await work.paced(lambda passed_s: there(passed_s) / every, one, at_once_max=AT_ONCE_MAX)
    for person in people:
        person.close()
    return {"people": most, "goodput": work.got[f"{RELOAD} {HTTP_OK}"]}


def judge(told: Told) -> list[Judgement]:
    """Pages arrive, and who gets none is told to come back or gave up: nobody sees a broken page."""
    asked, pages = did(told, RELOAD), got(told, f"{RELOAD} {HTTP_OK}")
    share = f"{pages:,} of {asked:,} ({pages / asked:.1%})" if asked else "nothing asked"
    return [
        only(told, "answers to people who reload", RELOAD, {"200", "503", "none", "given up"}),
        Judgement("pages that arrived", "at least 1", share, ok=pages > 0, void=not asked),
    ]
