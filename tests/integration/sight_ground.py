"""What the checker's sight is tried on: all that a ballot comes to, by the real gate and a real worker.

Votes that are stored, two from entries that the trimmer has taken; one in quarantine, one released, some that
wait; papers that count, one that lost, one that waits; a retry; voters who abstained. Each item knows by
which names a finding may call it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ballot import gate_layout, handoff, receipt
from ballot.encoding import b64encode
from ballot.suite import SigningKey, key_id
from tests.integration.check_ballot import SmallBallot
from tests.integration.workers_ground import Cast, Ground, Voter, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from tests.conftest import Stack

if TYPE_CHECKING:
    Deed = Callable[["Hands"], Awaitable[object]]

RECEIVED_US = 1_751_400_000_000_000
KINDS = ("trimmed", "stored", "held", "released", "waiting")


@dataclass(slots=True)
class Item:
    """A voter, and the vote or paper of theirs that there is, if any."""

    voter: Voter
    kind: str
    reference: str = ""
    entry: str = ""
    number: int = 0
    event: str = ""
    at_us: int = 0
    given: receipt.Receipt | None = field(default=None, repr=False)

    @property
    def names(self) -> set[str]:
        """By what a finding may call it and nothing else."""
        uin, digest = self.voter.uin.hex().upper(), self.voter.digest.hex().upper()
        return {
            self.reference,
            f"UIN {uin}",
            f"credential {digest}",
            f"credential {digest[:32]}",
            f"shard 0 entry {self.entry}",
            f"shard 0 number {self.number}",
        } - {"", "shard 0 entry ", "shard 0 number 0"}

    @property
    def minute(self) -> str:
        """The minute of the turnout that it is counted in; many are in the same."""
        at = datetime.fromtimestamp(self.at_us // 60_000_000 * 60, UTC)
        return f"turnout {at:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class Sitting:
    """The ballot, and all that is in it by kind."""

    ground: Ground
    small: SmallBallot
    items: dict[str, list[Item]]

    @property
    def keys(self) -> tuple[str, ...]:
        """Its one shard's keys."""
        return handoff.shard_keys(self.ground.ballot, 0)

    def write_receipts(self, path: Path, given: list[dict[str, Any]] | None = None) -> Path:
        """Write all receipts, or those given, as voters hand them in."""
        lines = self.receipts() if given is None else given
        path.write_text("".join(json.dumps(each) + "\n" for each in lines))
        return path

    def receipts(self) -> list[dict[str, Any]]:
        """Every voter's receipt."""
        return [item.given.to_dict() for kind in KINDS for item in self.items[kind] if item.given]


@asynccontextmanager
async def sitting(stack: Stack, ballot: str) -> AsyncIterator[Sitting]:
    """Make the ballot; it is forgotten afterwards."""
    async with ground(stack, ballot) as made:
        await made.owner.execute(
            "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us) VALUES ($1, 'armed', $2, $3)",
            ballot,
            made.definition.opens_us,
            made.definition.closes_us,
        )
        voters = iter(await made.voters(18))
        async with made.worker(Verifier(0), overruled=True) as rig:
            trimmed = [await made.cast(next(voters)) for _ in range(2)]
            await rig.drain()
            stored = [await made.cast(next(voters)) for _ in range(4)]
            forger = SigningKey.from_seed(bytes(32))
            held, released = [[await made.cast(next(voters), signer=forger)] for _ in range(2)]
            await _again(made, stored[1])
            counted = [next(voters) for _ in range(3)]
            for voter in (*counted, stored[0].voter):
                await made.fcall("ballot_return", 0, voter.uin, "postal", str(RECEIVED_US))
            await rig.drain()
            while await rig.attempts.run_once("test"):
                pass
            await _release(made, released[0])
            waiting = [await made.cast(next(voters)) for _ in range(3)]
            late = [next(voters)]
            await made.fcall("ballot_return", 0, late[0].uin, "postal", str(RECEIVED_US))
            while await rig.turnout.run_once():
                pass
        casts = dict(zip(KINDS, (trimmed, stored, held, released, waiting), strict=True))
        items = {
            kind: [Item(cast.voter, kind, cast.reference) for cast in each] for kind, each in casts.items()
        }
        items["paper"] = [Item(voter, "paper") for voter in counted]
        items["late paper"] = [Item(voter, "late paper") for voter in late]
        items["abstainer"] = [Item(voter, "abstainer") for voter in voters]
        found = Sitting(made, SmallBallot(ballot, stack, [], [], []), items)
        await _describe(found, casts)
        await _trim(found)
        yield found


async def _again(made: Ground, cast: Cast) -> None:
    """Send a vote again, as a voter whose answer was lost."""
    record = cast.record
    identity = gate_layout.identity(record.sealed, record.nonce, record.signature)
    reference = receipt.draw_reference(0, 1, random=secrets.token_bytes)
    digest = hashlib.sha256(record.sealed).digest()
    row = (cast.voter.digest, identity, reference, b"wrapped", digest, b"")
    reply = await made.fcall("ballot_cast", 0, *row)
    assert reply[3][0] == b"repeated", reply


async def _release(made: Ground, cast: Cast) -> None:
    """Release the voter of a vote in quarantine, as the desk does."""
    await made.owner.execute(
        "INSERT INTO ballot.releases SELECT ballot, shard, entry, uin, reference FROM ballot.quarantine"
        " WHERE ballot = $1 AND reference = $2",
        made.ballot,
        cast.reference,
    )
    assert await made.fcall("ballot_release", 0, cast.voter.uin, cast.reference) == 1


async def _describe(found: Sitting, casts: dict[str, list[Cast]]) -> None:
    """Look up where each item is, and issue the receipts that its voter holds."""
    made = found.ground
    by_uin = {item.voter.uin: item for each in found.items.values() for item in each}
    for entry, fields in await made.admin.xrange(found.keys[4]):
        item = by_uin[fields[b"u"]]
        if item.entry == "":  # the first is the one that counts
            item.entry, item.at_us = entry.decode(), int(fields[b"t"])
            item.number = int(fields.get(b"n", 0))
    rows = await made.owner.fetch("SELECT uin, event FROM ballot.votes WHERE ballot = $1", made.ballot)
    for row in rows:
        by_uin[row["uin"]].event = row["event"].hex()
    key = SigningKey.from_seed(made.stack.home.secret("receipts"))
    file = made.stack.home.public / "receipts.json"
    if not file.exists():
        entry = {"id": key_id(key.public), "use": "receipts", "alg": "Ed25519"}
        file.write_text(json.dumps({**entry, "public_key": b64encode(key.public)}))
    for kind, each in casts.items():
        for item, cast in zip(found.items[kind], each, strict=True):
            digest = hashlib.sha256(cast.sealed).digest()
            leaf = receipt.Leaf(made.ballot, item.reference, item.at_us, digest)
            [item.given] = receipt.issue([leaf], key)


async def _trim(found: Sitting) -> None:
    """Take the first entries from the stream, as the trimmer does."""
    first = found.items["stored"][0]
    taken = await found.ground.admin.xtrim(found.keys[4], minid=first.entry, approximate=False)
    assert taken == len(found.items["trimmed"])


@dataclass(frozen=True, slots=True)
class Case:
    """One tampering: what is done, to which items, and what else may be named because of it."""

    name: str
    deed: Deed
    touched: tuple[Item, ...] = ()
    also: frozenset[str] = frozenset()
    must: frozenset[str] = frozenset()
    receipts: list[dict[str, Any]] | None = None
    fails: bool = True


@dataclass(frozen=True, slots=True)
class Hands:
    """What somebody has who can change anything: both databases, as their owners."""

    sitting: Sitting
    owner: asyncpg.Connection
    queue: Any

    @property
    def keys(self) -> tuple[str, ...]:
        """The shard's keys."""
        return self.sitting.keys

    async def sql(self, statement: str, *arguments: object) -> None:
        """Change rows; `@` stands for this ballot, and something must change."""
        done = await self.owner.execute(statement.replace("@", f"'{self.sitting.ground.ballot}'"), *arguments)
        assert not done.endswith(" 0"), (statement, done)

    async def stream(self, change: Callable[[list[Any]], list[Any]]) -> None:
        """Write the stream anew with other entries; what was given out and acknowledged stays so."""
        key = self.keys[4]
        [group] = await self.queue.xinfo_groups(key)
        pending = await self.queue.xpending_range(key, handoff.GROUP, "-", "+", 100)
        assert not pending
        last = (await self.queue.xinfo_stream(key))["last-generated-id"]
        entries = change(await self.queue.xrange(key))
        await self.queue.delete(key)
        for entry, fields in entries:
            await self.queue.xadd(key, fields, id=entry)
        if (await self.queue.xinfo_stream(key))["last-generated-id"] < last:
            await self.queue.execute_command("XSETID", key, last)
        await self.queue.xgroup_create(key, handoff.GROUP, id=group["last-delivered-id"])
