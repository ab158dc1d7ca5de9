"""The checker sees: what is deleted, doubled, altered, exchanged or added is named, and nothing else."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ballot import receipt
from ballot.suite import SigningKey
from runtime import postgres
from tests.integration import tampered_queue, tampered_rows
from tests.integration.check_ballot import examined
from tests.integration.sight_ground import Case, Hands, Sitting, sitting
from tests.integration.tampered_queue import ANY_ENTRY, INVENTED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import asyncpg

    from tests.conftest import Stack

TABLES = ("votes", "ip_records", "quarantine", "releases", "returns", "register", "electorate")
CONSTRAINTS = """
SELECT conrelid::regclass::text AS on_table, conname, pg_get_constraintdef(oid) AS said, contype::text AS kind
  FROM pg_constraint WHERE connamespace = 'ballot'::regnamespace
   AND (contype IN ('p', 'u') AND conrelid = ANY ($1::regclass[])
     OR contype = 'f' AND confrelid = ANY ($1::regclass[]))
 ORDER BY contype = 'f'
"""


@pytest.mark.timeout(900)  # as many checks as a minute has seconds, and more; a busy machine takes its time
async def test_every_tampering_is_named_and_nothing_else(
    stack: Stack, ballot_id: str, tmp_path: Path
) -> None:
    """On a real ballot: each row, entry, mark, code, number and receipt in every way there is."""
    async with sitting(stack, ballot_id) as found, found.small.owner() as owner:
        given = found.write_receipts(tmp_path / "receipts.jsonl")
        clean = examined(found.small, receipts=given)
        assert clean[0] == 0, clean[1]["findings"]
        cases = [
            *tampered_rows.rows(found),
            *tampered_rows.counts(found),
            *tampered_rows.evidence(found),
            *tampered_queue.hashes(found),
            *tampered_queue.entries(found),
        ]
        async with _unconstrained(owner):
            faults = [await _fault(found, case, given) for case in cases]
        faults += [
            await _fault(found, case, found.write_receipts(tmp_path / "tampered.jsonl", case.receipts))
            for case in _receipts(found)
        ]

    assert len(faults) > 100
    assert not any(faults), "\n".join(each for each in faults if each)


async def test_what_a_recovery_put_on_record_is_a_note(stack: Stack, ballot_id: str) -> None:
    """Exactly the numbers that it named and jumped over: a loss after it is a finding, whatever it said."""
    async with sitting(stack, ballot_id) as found, found.small.queue() as queue:
        told: dict[str, Any] = {"unconfirmed": [INVENTED], "unaccounted": {"0": [[12, 12]]}}
        await queue.hset(found.keys[0], "number", "13")  # 11 were accepted
        before = examined(found.small)
        await _recovered(found, told)  # it made no jump: its numbers may come again, and explain nothing
        unjumped = examined(found.small)
        await _recovered(found, told | {"skipped": {"0": [[14, 20]]}})
        partly = examined(found.small)
        told |= {"unaccounted": {"0": [[12, 13], [21, 50_000_000]]}, "skipped": {"0": [[14, 20]]}}
        await _recovered(found, told)
        await queue.hset(found.keys[0], "number", "20")
        after = examined(found.small)
        await queue.hset(found.keys[0], "number", "25")  # five more that nobody has
        later = examined(found.small)

    assert [each["where"] for each in before[1]["findings"]] == ["shard 0 number 12 to 13"]
    assert [each["where"] for each in unjumped[1]["findings"]] == ["shard 0 number 12 to 13"]
    assert [each["where"] for each in partly[1]["findings"]] == ["shard 0 number 13"]
    assert (after[0], after[1]["findings"]) == (0, [])
    given_up = [each["where"] for each in after[1]["notes"]["numbers given up"]]
    assert given_up == ["shard 0 number 12", "shard 0 number 13"]  # an event each
    assert [each["where"] for each in after[1]["notes"]["numbers jumped over"]] == ["shard 0 number 14 to 20"]
    assert {each["where"] for each in after[1]["notes"]["given up"]} == {INVENTED}
    assert [each["where"] for each in later[1]["findings"]] == ["shard 0 number 21 to 25"]


async def test_who_was_told_of_a_vote_that_is_gone_is_excused_in_bounds(stack: Stack, ballot_id: str) -> None:
    """Before the recovery, and as many as numbers were lost in that shard: no more, and none since."""
    async with sitting(stack, ballot_id) as found, found.small.queue() as queue:
        await queue.hset(found.keys[0], "number", "20")
        now_us = time.time_ns() // 1000
        await _repeated(found, 1, now_us - 60_000_000)
        await _recovered(found, {"unaccounted": {"0": [[12, 12]]}, "skipped": {"0": [[13, 20]]}})
        excused = examined(found.small)
        await _repeated(found, 2, now_us - 50_000_000)
        too_many = examined(found.small)
        await _recovered(found, {"unaccounted": {"0": [[12, 13]]}, "skipped": {"0": [[14, 20]]}})
        two = examined(found.small)
        await _repeated(found, 3, now_us + 60_000_000)
        since = examined(found.small)

    names = [f"credential {bytes([number] * 32).hex().upper()}" for number in range(4)]
    assert (excused[0], excused[1]["findings"]) == (0, [])
    assert {each["where"] for each in too_many[1]["findings"]} == set(names[1:3])
    assert (two[0], two[1]["findings"]) == (0, [])
    assert [each["where"] for each in since[1]["findings"]] == names[3:]


async def _recovered(found: Sitting, told: dict[str, Any]) -> None:
    """Write what a recovery writes, as its role."""
    connection = await postgres.connect(found.ground.stack.servers, "voterdb", "ballot_recovery")
    try:
        await connection.execute(
            "INSERT INTO ballot.events (kind, actor, detail) VALUES ('recovery.performed', 'recovery', $1)",
            json.dumps({"ballots": {found.ground.ballot: told}}),
        )
    finally:
        await connection.close()


async def _repeated(found: Sitting, number: int, at_us: int) -> None:
    """Let a code have been told that its vote was taken."""
    await found.ground.owner.execute(
        "INSERT INTO ballot.attempts"
        " (ballot, shard, entry, kind, outcome, credential_digest, sealed_ip, at_us)"
        " VALUES ($1, 0, $2, 'vote', 'repeated', $3, '', $4)",
        found.ground.ballot,
        f"1-{number}",
        bytes([number] * 32),
        at_us,
    )


async def _fault(found: Sitting, case: Case, given: Path) -> str:
    """What is wrong with what the checker said after a tampering; nothing if it said what it should."""
    async with found.small.restored():
        async with found.small.owner() as owner, found.small.queue() as queue:
            await owner.execute("SET session_replication_role = replica")  # what triggers would refuse
            await case.deed(Hands(found, owner, queue))
        status, report = examined(found.small, receipts=given)
    named = {each["where"] for each in report["findings"]}
    told = named | {each["where"] for name in NOTES for each in report["notes"][name]}
    minutes = {where for where in named if where.startswith("turnout ")}
    allowed = set(case.also | case.must).union(*(item.names for item in case.touched))
    allowed |= {f"event {item.event}" for item in case.touched}
    if ANY_ENTRY in case.must:  # it got its place only when it was added
        named = {where for where in named if not where.startswith("shard 0 entry ")}
    wanted = [item for item in case.touched if not item.names & told]
    strays = named - minutes - allowed
    if (status == 1 or not case.fails) and not wanted and case.must - {ANY_ENTRY} <= told and not strays:
        return ""
    return (
        f"{case.name}: exit {status}, not named {[i.kind for i in wanted]}, strays {strays}, said "
        + json.dumps([[each["where"], each["what"]] for each in report["findings"]])
    )


NOTES = ("unconfirmed attempts", "receipts handed in twice", "releasing")


def _receipts(found: Sitting) -> Iterator[Case]:
    """Receipts lost, handed in twice, changed, exchanged and invented, with the receipts' key or not."""
    key = SigningKey.from_seed(found.ground.stack.home.secret("receipts"))
    whole = found.receipts()
    one, other = found.items["stored"][1], found.items["trimmed"][0]
    rest = [each for each in whole if each["reference"] not in {one.reference, other.reference}]
    assert one.given is not None
    assert other.given is not None

    def signed(reference: str, at_us: int, digest: bytes) -> dict[str, Any]:
        [made] = receipt.issue([receipt.Leaf(found.ground.ballot, reference, at_us, digest)], key)
        return made.to_dict()

    mine, theirs = one.given.to_dict(), other.given.to_dict()
    both = frozenset({one.reference, other.reference})
    yield Case("receipt: delete", _nothing, (one,), receipts=[*rest, theirs], fails=False)
    yield Case("receipt: duplicate", _nothing, (one,), receipts=[*rest, theirs, mine, mine], fails=False)
    for name, value in {"accepted_at": "2025-07-02T00:00:00.000000Z", "sealed_sha256": "00" * 32}.items():
        yield Case(f"receipt: alter {name}", _nothing, (one,), receipts=[*rest, theirs, mine | {name: value}])
    yield Case(
        "receipt: swap",
        _nothing,
        (one, other),
        receipts=[
            *rest,
            mine | {"reference": theirs["reference"]},
            theirs | {"reference": mine["reference"]},
        ],
    )
    yield Case(
        "receipt: swap, signed",
        _nothing,
        (one, other),
        receipts=[
            *rest,
            signed(one.reference, one.at_us, other.given.sealed_sha256),
            signed(other.reference, other.at_us, one.given.sealed_sha256),
        ],
    )
    yield Case(
        "receipt: add",
        _nothing,
        must=frozenset({"ABCD-EFGH-JKMN-PQRS"}),
        receipts=[*whole, signed("ABCD-EFGH-JKMN-PQRS", one.at_us, bytes(32))],
    )
    yield Case(
        "receipt: alter, signed",
        _nothing,
        (one,),
        both,
        receipts=[*rest, theirs, signed(one.reference, one.at_us + 1, one.given.sealed_sha256)],
    )


async def _nothing(_hands: Hands) -> None:
    """Leave queue and database as they are."""


@asynccontextmanager
async def _unconstrained(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Without the keys that keep a row single, as only the owner can take them away."""
    tables = [f"ballot.{table}" for table in TABLES]
    found = await owner.fetch(CONSTRAINTS, tables)
    for row in reversed(found):
        await owner.execute(f"ALTER TABLE {row['on_table']} DROP CONSTRAINT {row['conname']}")
    counted = await owner.fetchval("SELECT pg_get_indexdef('ballot.returns_counted'::regclass)")
    await owner.execute("DROP INDEX ballot.returns_counted")
    try:
        yield
    finally:
        await owner.execute(counted)
        for row in found:
            # Rows of other tests may break one, as only a database administrator can: they stay as they are.
            unread = " NOT VALID" if row["said"].startswith("FOREIGN KEY") else ""
            await owner.execute(
                f"ALTER TABLE {row['on_table']} ADD CONSTRAINT {row['conname']} {row['said']}{unread}"
            )
