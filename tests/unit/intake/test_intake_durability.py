"""What a primary must say of itself, and what its replicas must have, before a vote counts as kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import MovedError, ReadOnlyError, ResponseError

from ballot import handoff
from intake.durability import DURABLE, Durability, Facts, require_trust
from intake.gate import CAST, Call, Unready
from intake.node import Node, NotKept
from runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD = Facts(
    settings=dict(DURABLE),
    server={"run_id": "run"},
    replication={"role": "master", "connected_slaves": "0", "master_replid": "id"},
    persistence={"aof_enabled": "1", "aof_last_write_status": "ok", "aof_rewrite_in_progress": "0"},
    memory={"used_memory": "100", "mem_not_counted_for_evict": "0", "maxmemory": "0"},
    functions=[CAST.encode()],
)


def with_replicas(*states: str) -> Facts:
    """A primary with replicas in these states."""
    lines = {f"slave{number}": f"ip=::1,port=1,state={state}" for number, state in enumerate(states)}
    return replace(GOOD, replication={**GOOD.replication, **lines, "connected_slaves": str(len(states))})


def refusal(facts: Facts, replicas: int = 0, *, known_run: str = "") -> Unready:
    """Why this primary gets no vote."""
    with pytest.raises(Unready) as caught:
        Durability(replicas).require(facts, known_run=known_run)
    return caught.value


def test_what_is_good_enough() -> None:
    """Alone at level disk; with exactly its replicas in step at level replicated."""
    Durability().require(GOOD, known_run="")
    Durability(2).require(with_replicas("online", "online"), known_run="")
    require_trust(GOOD.run, {handoff.run_name("run", "id")})
    buffers = {"used_memory": "110", "mem_not_counted_for_evict": "10", "maxmemory": "100"}
    Durability().require(replace(GOOD, memory=buffers), known_run="")


@pytest.mark.parametrize(
    ("facts", "replicas", "reason", "remedy"),
    [
        (with_replicas("online"), 0, "has_replicas", "BALLOT_REPLICAS=1"),
        (with_replicas("online", "online"), 1, "has_replicas", "Set BALLOT_REPLICAS=2"),
        (GOOD, 1, "replicas_missing", "0 replicas in step"),
        (with_replicas("online", "wait_bgsave"), 2, "replicas_missing", "1 replicas in step"),
        (replace(GOOD, replication={"role": "slave"}), 0, "replica", "primary"),
        (
            replace(GOOD, settings={**DURABLE, "appendfsync": "everysec"}),
            0,
            "not_durable",
            "appendfsync always",
        ),
        (replace(GOOD, persistence={"aof_enabled": "1"}), 0, "not_durable", "last write"),
        (replace(GOOD, functions=[]), 0, "no_functions", "gate.lua"),
        (replace(GOOD, memory={**GOOD.memory, "maxmemory": "99"}), 0, "out_of_memory", "maxmemory"),
    ],
)
def test_what_is_not(facts: Facts, replicas: int, reason: str, remedy: str) -> None:
    """Each fault has its name and says what to change."""
    found = refusal(facts, replicas)

    assert found.reason == reason
    assert remedy in found.text


def test_a_rewrite_is_believed_only_of_a_run_seen_durable() -> None:
    """The first rewrite after the file was switched on looks like any other."""
    rewriting = replace(GOOD, persistence={**GOOD.persistence, "aof_rewrite_in_progress": "1"})

    assert refusal(rewriting).reason == "rewriting"
    assert refusal(rewriting, known_run="another").reason == "rewriting"
    Durability().require(rewriting, known_run=GOOD.run)


def test_nobody_vouched() -> None:
    """A run that no worker compared gets no vote."""
    with pytest.raises(Unready, match="start one"):
        require_trust(GOOD.run, {"another"})


class HandWire:
    """Answers exchange by exchange."""

    def __init__(self, *exchanges: list[Any]) -> None:
        self.exchanges = list(exchanges)
        self.sent: list[list[Any]] = []

    async def exchange(self, commands: Sequence[Any]) -> list[Any]:
        """The next answers; the last ones again and again."""
        self.sent.append(list(commands))
        answers = self.exchanges.pop(0) if len(self.exchanges) > 1 else self.exchanges[0]
        assert len(commands) == len(answers)
        return list(answers)


def node(wire: HandWire, replicas: int) -> Node:
    """A node whose wire is played by hand."""

    def connect() -> Any:
        raise AssertionError("nothing connects here")

    made = Node(connect, durability=Durability(replicas), clock=SystemClock(), timeout_s=2.0)
    made._wire = wire  # type: ignore[assignment]  # the seam
    return made


CALLS = [Call(CAST, "b", 0, [b"x"]), Call(CAST, "b", 1, [b"x"], asking=True)]
MOVED = MovedError("5 b:2")
TWO = b"role:master\r\nconnected_slaves:2\r\n"


@pytest.mark.parametrize("late", [[1, 1], [0, 2]])
async def test_a_round_waits_for_all_its_replicas(late: list[int]) -> None:
    """Asked again until each has it; an answer stands for its call, ASKING for none."""
    wire = HandWire([MOVED, b"OK", b"second", 2, late, TWO], [1, late, TWO], [2, [1, 2], TWO])

    assert await node(wire, 2).call(CALLS, wait_s=5.0) == [MOVED, b"second"]
    assert [[command[0] for command in commands] for commands in wire.sent] == [
        ["FCALL", "ASKING", "FCALL", "WAIT", "WAITAOF", "INFO"],
        ["WAIT", "WAITAOF", "INFO"],
        ["WAIT", "WAITAOF", "INFO"],
    ]
    assert wire.sent[-1][1][1:3] == (1, 2)


@pytest.mark.parametrize("late", [[1, 1], [0, 2]])
async def test_fewer_than_asked_for_is_not_kept(late: list[int]) -> None:
    """What the wait returns is compared with what was asked: it ends in time whatever it has."""
    with pytest.raises(NotKept):
        await node(HandWire([b"first", 0, late, TWO], [0, late, TWO]), 2).call(CALLS[:1], wait_s=0.05)


async def test_at_level_disk_there_is_no_wait() -> None:
    """One round trip, one command a call."""
    wire = HandWire([b"first"])

    assert await node(wire, 0).call(CALLS[:1], wait_s=2.0) == [b"first"]
    assert [len(commands) for commands in wire.sent] == [1]


async def test_a_wait_is_never_forever_nor_an_error_a_yes() -> None:
    """A wait of 0 would not end; an error in its place is no acknowledgement."""
    wire = HandWire([0, ResponseError("ERR WAITAOF"), TWO])
    with pytest.raises(ResponseError):
        await node(wire, 2).kept(-3.0)

    assert all(command[-1] > 0 for command in wire.sent[0][:2])


READONLY = ReadOnlyError("You can't write against a read only replica.")


async def test_a_primary_that_was_demoted_did_nothing_to_wait_for() -> None:
    """It answers the wait with an error too: its calls are handed back, to be sent on."""
    refused = ResponseError("WAITAOF cannot be used when appendonly is disabled")
    wire = HandWire([READONLY, b"OK", MOVED, refused, refused, b"role:slave\r\n"])

    assert await node(wire, 1).call(CALLS, wait_s=5.0) == [READONLY, MOVED]
    assert len(wire.sent) == 1


async def test_what_was_done_is_never_taken_as_kept_after_an_error() -> None:
    """One call was done before the wait failed: nothing of the round is confirmed."""
    refused = ResponseError("WAITAOF cannot be used with replica instances")
    wire = HandWire([b"first", b"OK", READONLY, refused, refused, b"role:slave\r\n"])

    with pytest.raises(ResponseError):
        await node(wire, 1).call(CALLS, wait_s=5.0)


async def test_a_replica_too_many_vouches_for_nobody() -> None:
    """One that came since the last check may have answered in place of one that is stuck."""
    wire = HandWire([b"first", 2, [1, 2], b"connected_slaves:3\r\n"])

    with pytest.raises(Unready, match="BALLOT_REPLICAS=3"):
        await node(wire, 2).call(CALLS[:1], wait_s=5.0)
