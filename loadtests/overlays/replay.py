"""Votes are sent again bit for bit, codes vote twice within milliseconds, and strangers ask after references.

Each spare code votes once: two in three have their vote sent again from elsewhere, one in three sends two
different votes side by side. No code may have two votes, and a reference tells a stranger nothing but that
it was received. A share of the crowd's own votes is sent again as well.
"""

import asyncio
from typing import Any, Final

from loadtests.overlays import addresses
from loadtests.overlays.crowd_casts import CROWD, CrowdReplayer
from loadtests.overlays.judging import UNSETTLED, equal, got, none_of, only
from loadtests.overlays.own_voters import OwnVoters, entered
from loadtests.overlays.replayer import COPY, RECEIPT, UNKNOWN, Replayer
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import Target
from loadtests.overlays.work import Impossible, Work

WHAT = (
    "votes sent again bit for bit, the same code with another choice within 5 ms, others' receipts asked for"
)
KNOBS: Final = frozenset({"rate", "share"})
AT_ONCE_MAX = 200
SHARE, STRANGERS = 0.01, 1_000
LAST_SECONDS = 60.0


async def run(work: Work) -> dict[str, Any]:
    """Each spare code's turn, spread evenly over the time."""
    if not work.context.spare_codes:
        raise Impossible("There are no spare codes to vote with.")
    target = Target.of(work.context)
    booth = await asyncio.to_thread(entered, work.context)
    replayer = Replayer(work, target, OwnVoters(work.context, booth, work.name))
    sources = addresses.drawn(work.context.seed, STRANGERS, apart="strangers")
    crowd = CrowdReplayer(work, target, sources, replayer.settled)
    rate = work.knob("rate", len(work.context.spare_codes) / max(1.0, 0.9 * work.context.seconds))
    if await work.begin():
        voters = work.context.voters
        following = (
            None if voters is None else asyncio.ensure_future(crowd.follow(voters, work.knob("share", SHARE)))
        )
        await work.paced(lambda _: rate, replayer.one, at_once_max=AT_ONCE_MAX, last_seconds=LAST_SECONDS)
        if following is not None:
            await asyncio.wait([following], timeout=LAST_SECONDS)
    return replayer.told() | crowd.told()


def judge(told: Told) -> list[Judgement]:
    """Every code has one vote and one reference, whatever is sent again."""
    raced = int(told["raced"])
    crowd = [
        equal(
            "voters' votes that got another reference when sent again", 0, int(told["crowd_other_references"])
        ),
        Judgement(
            "voters' votes sent again that were never settled",
            "0",
            f"{told['crowd_unsettled']:,} of {told['crowd_again']:,}",
            ok=not told["crowd_unsettled"],
        ),
        only(told, "answers to voters' votes sent again", CROWD, {"200", *UNSETTLED}),
    ]
    return [
        *(crowd if told["crowd_again"] else not_again(told)),
        equal("codes with two votes", 0, int(told["votes_twice"])),
        equal("votes with two references", 0, int(told["other_references"])),
        Judgement(
            "codes whose turn was cut short",
            "0",
            f"{told['cut_short']:,}",
            ok=not told["cut_short"],
            void=bool(told["cut_short"]),
        ),
        Judgement(
            "races that nobody was there for, so that nothing was sent",
            "0",
            f"{told['unsent']:,}",
            ok=not told["unsent"],
            void=bool(told["unsent"]),
        ),
        equal("receipts, one a code", int(told["codes"]), int(told["receipts"])),
        equal("codes of which nothing was ever settled", 0, int(told["unsettled"])),
        equal("receipts that do not hold", 0, int(told["untrue"])),
        equal("races of two choices with one winner", raced, int(told["races_won_once"])),
        Judgement(
            "races whose two votes left within 5 ms",
            "at least half",
            f"{told['raced_within_5_ms']:,} of {raced:,}",
            ok=(close := 2 * int(told["raced_within_5_ms"]) >= raced > 0),
            void=not close,
        ),
        only(told, "answers to copies", COPY, {"200", "201"}),
        equal("answers about others' references that say more than a state", 0, int(told["told_too_much"])),
        none_of(told, "references nobody was given that were found", (f"{UNKNOWN} 200",)),
        Judgement(
            "others' references that were found",
            "at least 1",
            f"{got(told, f'{RECEIPT} 200'):,}",
            ok=got(told, f"{RECEIPT} 200") > 0,
        ),
    ]


def not_again(told: Told) -> list[Judgement]:
    """Where there was a crowd, that none of its votes was sent again leaves that part untried."""
    if not told["crowd_there"]:
        return []
    return [Judgement("voters' votes sent again", "at least 1", "0", ok=False, void=True)]
