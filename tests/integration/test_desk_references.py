"""What stands in quarantine without ever having been a vote neither blocks a result nor hides a lost vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ballot import handoff
from runtime import postgres, valkey
from tests.integration.deskwork import refusal, voted

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import RunBallot, Stack


async def add_junk(stack: Stack, ballot: str, *, copied: bool = False) -> None:
    """Add entries to the stream past the gate, as a broken edge could: nonsense, spoilt copies of a vote."""
    client = valkey.connect(stack.servers, "admin")
    key = handoff.votes_key(ballot, 0)
    try:
        await client.xadd(key, {b"k": b"v", b"r": b"junk"})
        if copied:
            entries: Any = await client.xrange(key, count=1)
            ((_, fields),) = entries
            await client.xadd(key, {**fields, b"r": b"junk", b"d": bytes(32)})
            await client.xadd(key, {b"k": b"r", b"won": b"1"})
    finally:
        await client.aclose()


async def alter(stack: Stack, statement: str, ballot: str) -> None:
    """Change the voter database as its administrator could."""
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement, ballot)
    finally:
        await connection.close()


async def test_junk_in_the_queue_does_not_stop_a_good_result(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str
) -> None:
    """An entry that the gate never accepted is quarantined, is in no book, and the export goes on."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=2)
    await add_junk(stack, ballot_id, copied=True)
    run_ballot("status", ballot_id)
    run_ballot("close", ballot_id)

    run_ballot("export", ballot_id, "--out", tmp_path / "export")

    assert (tmp_path / "export").read_bytes().count(b"\n") == 3


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "DELETE FROM ballot.votes WHERE ctid = (SELECT min(ctid) FROM ballot.votes WHERE ballot = $1)",
            "was accepted and is neither stored nor quarantined",
        ),
        (
            """UPDATE ballot.votes SET reference = 'ZZZZ-ZZZZ-ZZZZ-ZZZZ'
                WHERE ctid = (SELECT min(ctid) FROM ballot.votes WHERE ballot = $1)""",
            "vote ZZZZ-ZZZZ-ZZZZ-ZZZZ is stored but was never accepted",
        ),
    ],
    ids=["deleted", "renamed"],
)
async def test_junk_in_quarantine_does_not_hide_a_vote(
    stack: Stack, run_ballot: RunBallot, tmp_path: Path, ballot_id: str, statement: str, told: str
) -> None:
    """Each accepted vote is looked for by its reference, so totals that agree by accident do not pass."""
    await voted(stack, run_ballot, tmp_path, ballot_id, votes=2)
    await add_junk(stack, ballot_id)
    run_ballot("close", ballot_id)
    await alter(stack, statement, ballot_id)

    message = refusal(run_ballot, "export", ballot_id, "--out", tmp_path / "export")

    assert told in message
    assert not (tmp_path / "export").exists()
