"""Collects the terms of the books from where they are known: the gate's decisions and the store."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ballot import gate_layout, handoff
from ballot.books import Books
from scrutineer import references
from scrutineer.ballots import StoredBallot
from scrutineer.closing import PAGE_ENTRIES, backlog
from scrutineer.session import Desk
from scrutineer.voters import FETCH_ROWS, chunks

#: While votes come in, gate and database are read a moment apart; an honest difference is gone the next time.
ATTEMPTS = 3
#: The methods other than casting online.
RETURNED = ("postal", "workplace")

#: The fields of a stream entry.
Fields: TypeAlias = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Account:
    """The books, and what the result needs beside them."""

    books: Books
    by_method: dict[str, int]
    quarantined: dict[str, int]
    returned_at_gate: dict[str, int]

    def differences(self) -> dict[str, int]:
        """By how much each equation is out, the returns by each method at gate and database included."""
        returned = {
            f"returned_{method}": self.returned_at_gate[method] - self.by_method[method]
            for method in RETURNED
        }
        return {**self.books.differences(), **returned}


async def account(desk: Desk, stored: StoredBallot) -> Account:
    """Read every term; again, at most twice, if they do not agree at first."""
    found = await _account_once(desk, stored)
    for _ in range(ATTEMPTS - 1):
        if not any(found.differences().values()):
            break
        found = await _account_once(desk, stored)
    return found


async def _account_once(desk: Desk, stored: StoredBallot) -> Account:
    states = await stored.gate(desk).states()
    unacknowledged = await _unacknowledged(desk, stored)
    waiting = _digests(unacknowledged)
    waiting_revoked = await _revoked_among(desk, stored, waiting)
    row = await desk.votes.fetchrow(
        """SELECT (SELECT count(*) FROM ballot.electorate WHERE ballot = $1) AS entitled,
                  (SELECT count(*) FROM ballot.register WHERE ballot = $1) AS issued, (SELECT count(*) FROM
                  ballot.votes WHERE ballot = $1) AS stored, (SELECT count(*) FROM ballot.releases WHERE
                  ballot = $1) AS released, (SELECT count(*) FROM ballot.revocations v WHERE ballot = $1 AND
                  NOT EXISTS (SELECT FROM ballot.votes b WHERE b.ballot = v.ballot AND b.credential_digest =
                  v.credential_digest) AND NOT EXISTS (SELECT FROM ballot.quarantine q LEFT JOIN
                  ballot.releases r USING (ballot, shard, entry) WHERE q.ballot = v.ballot AND
                  q.credential_digest = v.credential_digest
                                         AND r.entry IS NULL)) AS revoked""",
        stored.id,
    )
    quarantined = await references.quarantined(desk, stored)
    returned = await _counts(
        desk, "SELECT method, count(*) FROM ballot.returns WHERE ballot = $1 AND counted GROUP BY 1", stored
    )
    released_at_gate = sum(state.released for state in states)
    set_apart = sum(quarantined.values())
    books = Books(
        entitled=row["entitled"],
        issued=row["issued"],
        used=row["stored"] + set_apart - row["released"] + len(waiting),
        unused=await _unused(desk, stored),
        revoked=row["revoked"] - waiting_revoked,
        accepted=sum(state.accepted for state in states),
        unacknowledged=len(waiting),
        stored=row["stored"],
        quarantined=set_apart,
        released=released_at_gate,
        voted_electronic=sum(state.voted["electronic"] for state in states),
        returned_other=sum(returned.values()),
    )
    by_method = {
        "electronic": row["stored"],
        "postal": returned["postal"],
        "workplace": returned["workplace"],
    }
    # A return that the gate counted and the workers have yet to store is no difference.
    on_their_way = Counter(
        fields.get(handoff.METHOD_FIELD, b"").decode(errors="replace")
        for fields in unacknowledged
        if fields.get(handoff.KIND_FIELD) == handoff.KIND_RETURN and fields.get(handoff.WON_FIELD) == b"1"
    )
    at_gate = {
        method: sum(state.voted[method] for state in states) - on_their_way[method] for method in RETURNED
    }
    return Account(books, by_method, dict(quarantined), at_gate)


async def _counts(desk: Desk, statement: str, stored: StoredBallot) -> Counter[str]:
    return Counter({row[0]: row[1] for row in await desk.votes.fetch(statement, stored.id)})


async def _unused(desk: Desk, stored: StoredBallot) -> int:
    """Count the codes the gate would still take: current there, of a voter with no electronic vote."""
    unused = 0
    for shard in range(stored.shards):
        _, credentials, voted, *_ = handoff.shard_keys(stored.id, shard)
        async with desk.votes.transaction(readonly=True):
            statement = "SELECT credential_digest FROM ballot.register WHERE ballot = $1 AND shard = $2"
            cursor = await desk.votes.cursor(statement, stored.id, shard)
            while rows := await cursor.fetch(FETCH_ROWS):
                fields = [gate_layout.credential_field(bytes(row["credential_digest"])) for row in rows]
                values = await desk.gate.hmget(credentials, fields)
                found = [gate_layout.Credential.from_value(bytes(value)) for value in values if value]
                current = [credential.uin for credential in found if credential.current]
                marks = await desk.gate.hmget(voted, current) if current else []
                unused += sum(
                    1 for mark in marks if not (mark and gate_layout.Mark.from_value(bytes(mark)).by == "e")
                )
    return unused


async def _unacknowledged(desk: Desk, stored: StoredBallot) -> list[Fields]:
    """Give the entries that the workers have not acknowledged, without their records."""
    found: list[Fields] = []
    for shard in range(stored.shards):
        if not (await backlog(desk, stored, shard)).entries:
            continue
        key = handoff.votes_key(stored.id, shard)
        groups = await desk.gate.xinfo_groups(key)
        mine = next((group for group in groups if group["name"] == handoff.GROUP.encode()), None)
        position = b"(" + (bytes(mine["last-delivered-id"]) if mine else b"0-0")
        if mine and mine["pending"]:
            for entry in await desk.gate.xpending_range(key, handoff.GROUP, "-", "+", int(mine["pending"])):
                name = bytes(entry["message_id"])
                found += _kept(await desk.gate.xrange(key, min=name, max=name, count=1))
        while page := await desk.gate.xrange(key, min=position, max="+", count=PAGE_ENTRIES):
            found += _kept(page)
            position = b"(" + bytes(page[-1][0])
    return found


def _kept(entries: Sequence[tuple[bytes, Fields]]) -> list[Fields]:
    names = (handoff.KIND_FIELD, handoff.DIGEST_FIELD, handoff.METHOD_FIELD, handoff.WON_FIELD)
    return [{name: fields[name] for name in names if name in fields} for _, fields in entries]


def _digests(entries: Sequence[Fields]) -> list[bytes]:
    """Give the credential digests of the votes; an entry without one never came from the gate."""
    votes = [fields for fields in entries if fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE]
    return [fields[handoff.DIGEST_FIELD] for fields in votes if handoff.DIGEST_FIELD in fields]


async def _revoked_among(desk: Desk, stored: StoredBallot, digests: Sequence[bytes]) -> int:
    """Count codes that voted just before they were revoked, their votes not stored yet: they are used."""
    count = 0
    for block in chunks(digests, FETCH_ROWS):
        statement = (
            "SELECT count(*) FROM ballot.revocations WHERE ballot = $1 AND credential_digest = ANY($2)"
        )
        count += await desk.votes.fetchval(statement, stored.id, list(block))
    return count
