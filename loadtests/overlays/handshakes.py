"""Thousands of new TLS connections that stop after their first words or after one request, and slow bodies.

As against PopVote in 2014, at a hundredth. Beside it one honest visitor a second opens a new connection and
asks for the ballot: what counts is whether somebody new still gets in.
"""

import asyncio
import json
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from loadtests.overlays import addresses, bare_tls
from loadtests.overlays.judging import at_most, did, got, only
from loadtests.overlays.spread import Spread
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import (
    ANSWER_SECONDS_MAX,
    CONNECT_SECONDS_MAX,
    NOT_SENT,
    Line,
    Target,
    ours,
)
from loadtests.overlays.work import Impossible, Work, handles_raised, python_module

WHAT = (
    "1,390 new TLS connections a second that stop after their first words or one request, and 500 slow bodies"
)
KNOBS: Final = frozenset({"addresses", "hold_seconds", "rate", "slow_bodies"})
RATE, SLOW_BODIES = 1_390.0, 500
HOLD_SECONDS = 3.0
BODY_BYTES = 2_000
BODY_STEP_SECONDS = 1.0
SERVER_BODY_SECONDS = 10.0
SERVER_SLACK_SECONDS = 10.0
SLOW_START_SECONDS = 5.0
AT_ONCE_MAX = 4_000
HANDLES_SPARED = 1_000
HONEST_MS_MAX = 5_000.0
HONEST_SHARE_MIN = 0.99
HELLO, REQUEST, SLOW, HONEST = "hello", "request", "slow body", "honest visitor"
HTTP_OK: Final = 200


class Flood:
    """Everything that is done to the edge's TLS port."""

    def __init__(self, work: Work, target: Target, tls: ssl.SSLContext) -> None:
        self._work = work
        self._target = target
        self._sources = addresses.drawn(work.context.seed, int(work.knob("addresses", addresses.ADDRESSES)))
        self._hello = client_hello(tls, target.host)
        self._careless = bare_tls.careless()
        self._hold_s = work.knob("hold_seconds", HOLD_SECONDS)
        self._page = target.request("GET", f"/api/v1/ballots/{work.context.ballot}")
        self._slow_head = target.request(
            "POST", f"/api/v1/ballots/{work.context.ballot}/votes", b" " * BODY_BYTES
        )[:-BODY_BYTES]
        self._visit = (target.url, f"/api/v1/ballots/{work.context.ballot}")
        self.honest, self.honest_late_ms_max = Spread(), 0.0
        self.slow_lived_s_max = 0.0

    async def one(self, number: int) -> None:
        """A connection that stops after its first words, or after one request."""
        source = self._sources[number % len(self._sources)]
        if number % 2:
            reply = await bare_tls.once(self._target, self._page, source=source, tls=self._careless)
            self._work.note(REQUEST, f"{REQUEST} {reply.came}", reply.ms)
        else:
            self._work.note(HELLO, f"{HELLO} {await self._stop_after_hello(source)}")

    async def _stop_after_hello(self, source: str) -> str:
        """Say hello, take whatever comes, and leave the server waiting for a while."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                line = await bare_tls.connected(self._target, source)
        except (OSError, TimeoutError) as error:
            return NOT_SENT if ours(error) else "no connection"
        came = b""
        with line:
            try:
                await loop.sock_sendall(line, self._hello)
                async with asyncio.timeout(self._hold_s):
                    if not (came := await loop.sock_recv(line, bare_tls.READ_BYTES)):
                        return "closed"
                    while await loop.sock_recv(line, bare_tls.READ_BYTES):
                        continue
            except TimeoutError:
                return "answered, left" if came else "none"
            except OSError:
                return "closed"
            return "answered, closed"

    async def slow_bodies(self, count: int) -> None:
        """So many at any time, until it is over."""

        async def again_and_again(number: int) -> None:
            await self._work.rest(number / count * SLOW_START_SECONDS)
            while not self._work.over.is_set():
                self._work.note(SLOW, f"{SLOW} {await self._slow_body(number)}")

        await asyncio.gather(*(again_and_again(number) for number in range(count)))

    async def _slow_body(self, number: int) -> str:
        """A vote of which one byte a second arrives."""
        try:
            line = await Line.open(self._target, source=self._sources[-1 - number % len(self._sources)])
        except (OSError, TimeoutError) as error:
            await self._work.rest(BODY_STEP_SECONDS)
            return NOT_SENT if ours(error) else "no connection"
        began = time.monotonic()
        answer = asyncio.ensure_future(line.ask(self._slow_head, seconds=2 * ANSWER_SECONDS_MAX))
        try:
            while not answer.done() and not self._work.over.is_set():
                await asyncio.wait([answer], timeout=BODY_STEP_SECONDS)
                with suppress(OSError):
                    line.send(b" ")
            # One that we end ourselves, when it is over, tells nothing of how long the server lets it live.
            self.slow_lived_s_max = max(self.slow_lived_s_max, time.monotonic() - began)
            return (await answer).came if answer.done() else "left"
        finally:
            answer.cancel()
            line.close()

    async def visitor(self) -> asyncio.subprocess.Process:
        """The honest visitor, in a process of its own."""
        ca = self._work.context.ca
        return await asyncio.create_subprocess_exec(
            *python_module("loadtests.overlays.visitor"),
            *self._visit,
            *([] if ca is None else [str(ca)]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    async def watch(self, process: asyncio.subprocess.Process) -> None:
        """Take in how the visitor fares, and end it when it is over."""
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the visitor is started with pipes")
        ending = asyncio.ensure_future(self._work.over.wait())
        ending.add_done_callback(lambda _, stdin=process.stdin: stdin.close())  # type: ignore[misc]
        while line := await process.stdout.readline():
            told = json.loads(line)
            self._work.note(HONEST, f"{HONEST} {told['status'] or 'none'}")
            if told["status"] == HTTP_OK:
                # What its own process waited for a processor is not the server's.
                self.honest.add(max(0.0, told["ms"] - told["waited_ms"]))
                self.honest_late_ms_max = max(self.honest_late_ms_max, told["waited_ms"])
        await process.wait()


def client_hello(tls: ssl.SSLContext, host: str) -> bytes:
    """The first words of a TLS connection, as any browser's library says them."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = tls.wrap_bio(coming, going, server_hostname=host)
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return going.read()


async def run(work: Work) -> dict[str, Any]:
    """The flood, the slow bodies and the visitor, side by side."""
    if work.context.tls_url is None:
        raise Impossible("The deployment's edge does not speak TLS.")
    target = Target.of(work.context, work.context.tls_url)
    if target.tls is None:
        raise Impossible(f"{work.context.tls_url} is no https address.")
    slow = int(work.knob("slow_bodies", SLOW_BODIES))
    at_once = min(AT_ONCE_MAX, handles_raised() - slow - HANDLES_SPARED)
    if at_once <= 0:
        raise Impossible("This process may not have connections enough open.")
    flood = Flood(work, target, target.tls)
    rate, first_s = work.knob("rate", RATE), 0.0
    if await work.begin():
        visitor = await flood.visitor()
        work.give_way()
        # The slow bodies come first: in the flood itself hardly one of them would get as far as its body.
        first_s += min(2 * SLOW_START_SECONDS, work.context.seconds / 4) if slow else 0.0
        await asyncio.gather(
            work.paced(lambda passed_s: rate if passed_s >= first_s else 0.0, flood.one, at_once_max=at_once),
            flood.slow_bodies(slow),
            flood.watch(visitor),
        )
    return {
        "asked_for_a_second": rate,
        "begun_a_second": round(
            (work.did[HELLO] + work.did[REQUEST]) / max(1.0, work.context.seconds - first_s)
        ),
        "honest": flood.honest.told(),
        "honest_waited_ms_max": round(flood.honest_late_ms_max, 1),
        "slow_lived_s_max": round(flood.slow_lived_s_max, 1),
    }


def judge(told: Told) -> list[Judgement]:
    """Somebody new still gets in, and no slow body lives much longer than it may."""
    asked, answered = did(told, HONEST), got(told, f"{HONEST} {HTTP_OK}")
    share, lag_s = answered / asked if asked else 0.0, float(told["lag_s_max"])
    return [
        Judgement(
            "honest visitors on new TLS connections who got in",
            f"at least {HONEST_SHARE_MIN:.0%}",
            f"{answered:,} of {asked:,}",
            ok=share >= HONEST_SHARE_MIN,
            void=not asked,
        ),
        at_most(
            "p99 of an honest visit, connecting included",
            HONEST_MS_MAX,
            told["honest"]["p99"],
            "ms",
        ),
        only(told, "answers to connections that asked once", REQUEST, {"200", "503", "none"}),
        at_most(
            "longest life of a slow body",
            SERVER_BODY_SECONDS + SERVER_SLACK_SECONDS,
            told["slow_lived_s_max"],
            "s",
            lag_s=lag_s,
        ),
    ]
