"""Ten thousand addresses ask for the landing page and cast votes that nobody has a code for.

As in the NDP's vote of 2012: 28 requests a second, 300 for a minute, half of them on the page that leads to
the vote.
"""

import asyncio
from typing import Any, Final

from ballot.suite import SEAL_OVERHEAD_BYTES
from loadtests.overlays import addresses
from loadtests.overlays.judging import UNSETTLED, none_of, only
from loadtests.overlays.own_voters import entered, nonsense
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import Target, once
from loadtests.overlays.work import Work

WHAT = "a botnet of 10,000 loopback addresses: half on the landing page, half casting votes without a code"
KNOBS: Final = frozenset({"addresses", "rate", "burst_rate", "burst_seconds"})
RATE, BURST_RATE, BURST_SECONDS = 28.0, 300.0, 60.0
AT_ONCE_MAX = 1_000
PAGE, CAST = "page", "cast"


async def run(work: Work) -> dict[str, Any]:
    """Ask at an even rate, and in a burst in the middle; every request has a connection of its own."""
    target = Target.of(work.context)
    booth = await asyncio.to_thread(entered, work.context)
    sources = addresses.drawn(work.context.seed, int(work.knob("addresses", addresses.ADDRESSES)))
    burst_s = min(
        work.knob("burst_seconds", min(BURST_SECONDS, work.context.seconds / 5)), work.context.seconds
    )
    burst_from = (work.context.seconds - burst_s) / 2
    usual, burst = work.knob("rate", RATE), work.knob("burst_rate", BURST_RATE)
    page = target.request("GET", f"/b/{work.context.ballot}")
    sealed_bytes = SEAL_OVERHEAD_BYTES + booth.document.padded_size
    seen: set[str] = set()

    def rate(passed_s: float) -> float:
        return burst if burst_from <= passed_s < burst_from + burst_s else usual

    async def one(number: int) -> None:
        source = sources[number % len(sources)]
        seen.add(source)
        if number % 2:
            reply = await once(target, page, source=source)
            work.note(PAGE, f"{PAGE} {reply.came}", reply.ms)
            return
        body = nonsense(sealed_bytes, booth.document.suite)
        reply = await once(target, target.request("POST", f"{booth.path}/votes", body), source=source)
        work.note(CAST, f"{CAST} {reply.came}", reply.ms)

    if await work.begin():
        work.give_way()
        await work.paced(rate, one, at_once_max=AT_ONCE_MAX)
    return {"addresses": len(seen), "burst_seconds": burst_s}


def judge(told: Told) -> list[Judgement]:
    """None is accepted, and everyone gets an answer that the protocol knows, or none."""
    return [
        none_of(told, "a botnet's votes that were accepted", (f"{CAST} 201", f"{CAST} 200")),
        only(told, "answers to the botnet's votes", CAST, {"201", "200", "403", "409", *UNSETTLED}),
        only(told, "answers to the botnet on the landing page", PAGE, {"200", "503", "none"}),
    ]
