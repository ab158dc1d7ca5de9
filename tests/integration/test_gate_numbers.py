"""Each shard numbers its acceptances: none twice, none left out, whatever the version of the edge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff
from ballot.receipt import draw_reference
from intake.gate import decisions
from tests.integration.intake_rig import Booth, Voter, booth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.conftest import Stack

SEALED = b"s" * 32
NUMBER = "number"


@pytest.fixture
async def gate(stack: Stack, ballot_id: str) -> AsyncIterator[Booth]:
    """One shard of an open ballot."""
    async with booth(stack.servers, ballot_id) as found:
        await found.arm()
        yield found


async def cast(gate: Booth, voters: Sequence[Voter], *, identity: bytes = b"i" * 16) -> list[Any]:
    """Cast one vote for each in one call; the gate's whole answer."""
    args: list[bytes | str] = []
    for voter in voters:
        reference = draw_reference(0, 1, random=os.urandom)
        args += [voter.digest, identity, reference, b"record", SEALED, b"ip"]
    return list(await gate.call("ballot_cast", *args))


async def numbers(gate: Booth) -> list[int | None]:
    """The number of each entry of the votes stream."""
    found = [entry.get(handoff.NUMBER_FIELD) for entry in await gate.stored()]
    return [None if number is None else int(number) for number in found]


async def kept(gate: Booth, *, change: dict[Any, Any] | None = None, drop: bool = False) -> str | None:
    """The last number as the gate keeps it, after changing its fields behind its back."""
    key = handoff.gate_key(gate.id, 0)
    if drop:
        await gate.desk.hdel(key, NUMBER)
    if change:
        await gate.desk.hset(key, mapping=change)
    value: Any = await gate.desk.hget(key, NUMBER)
    return None if value is None else str(value.decode())


async def test_acceptances_are_numbered_one_two_three(gate: Booth) -> None:
    """Across calls and within one; what is refused, repeated or returned takes none, a release gives none."""
    one, two, three, four = await gate.issue(4)

    first = await cast(gate, [one])
    again = await cast(gate, [one])
    rows = (await cast(gate, [two, one, two, three], identity=b"j" * 16))[3:]
    await gate.call("ballot_return", four.uin, "postal", "1")
    assert await gate.call("ballot_release", one.uin, first[3][1]) == 1

    assert first[3][4:] == [1]
    assert again[3] == [b"repeated", *first[3][1:4]]
    assert [(row[0], row[4:]) for row in rows] == [
        (b"accepted", [2]),
        (b"not_accepted", []),
        (b"repeated", []),
        (b"accepted", [3]),
    ]
    assert await numbers(gate) == [1, 2, 3, None]
    assert await kept(gate) == "3"


async def test_an_edge_reads_the_number_and_one_of_the_version_before_need_not(gate: Booth) -> None:
    """The first four values of a row are what they always were; the fifth is the number."""
    (voter,) = await gate.issue()

    reply = await cast(gate, [voter])
    older = [*reply[:3], *(row[:4] for row in reply[3:])]

    (decision,), (unnumbered,) = decisions(reply), decisions(older)
    assert (decision.number, unnumbered.number) == (1, 0)
    assert decision.outcome == "accepted"
    assert (decision.reference, decision.accepted_us, decision.sealed_sha256) == (
        unnumbered.reference,
        unnumbered.accepted_us,
        SEALED,
    )


@pytest.mark.parametrize(
    ("number", "following"),
    [(None, 6), ("5", 6), ("2", 6), ("70", 71), ("", 6), ("1e9", 6), ("-1", 6), ("inf", 6), ("9" * 17, 6)],
)
async def test_numbers_go_on_from_the_larger_of_both_counts(
    gate: Booth, number: str | None, following: int
) -> None:
    """After a gate that did not number, after recovery, whatever was written there: never one twice."""
    (voter,) = await gate.issue()
    change = {"accepted": "5"} | ({} if number is None else {NUMBER: number})
    await kept(gate, change=change, drop=number is None)

    reply = await cast(gate, [voter])

    assert reply[3][4] == following
    assert await numbers(gate) == [following]
    assert await kept(gate) == str(following)
