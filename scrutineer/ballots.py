"""What the desk has on record of one ballot: definition, shards, keys, life cycle."""

from dataclasses import dataclass

import click

from ballot import definition as definitions
from ballot.definition import Definition
from scrutineer.gate import Gate
from scrutineer.session import Desk

#: The kind of a standing ballot for the availability monitor: in no total, and topped up while it is open.
PROBE = "probe"


@dataclass(frozen=True, slots=True)
class StoredBallot:
    """One ballot as `create` registered it."""

    id: str
    definition: Definition
    shards: int

    @property
    def probe(self) -> bool:
        """A standing ballot of the availability monitor."""
        return self.definition.kind == PROBE

    @property
    def electronic(self) -> bool:
        """Whether anybody may vote online in it; only then are there codes."""
        return "electronic" in self.definition.methods

    def gate(self, desk: Desk) -> Gate:
        """Give the ballot's shards."""
        return Gate(desk.gate, self.id, self.shards, replicated=desk.replicated)


@dataclass(frozen=True, slots=True)
class BallotKeys:
    """The public halves registered after the key holders' ceremony."""

    public_key: bytes
    result_key: bytes
    threshold: int
    shares: int
    rehearsals: int


@dataclass(frozen=True, slots=True)
class Armed:
    """The frozen document of an opened ballot and its window as last decided."""

    document: bytes
    document_signature: bytes
    opens_us: int
    closes_us: int


async def load(desk: Desk, ballot: str) -> StoredBallot:
    """Give a registered ballot, or say plainly that there is none."""
    row = await desk.votes.fetchrow("SELECT definition, shards FROM ballot.ballots WHERE ballot = $1", ballot)
    if row is None:
        raise click.ClickException(f"there is no ballot {ballot!r}; `ballot create` registers one")
    return StoredBallot(ballot, definitions.from_canonical(bytes(row["definition"])), int(row["shards"]))


async def keys(desk: Desk, ballot: str) -> BallotKeys | None:
    """Give the ballot's registered keys, or None before the ceremony."""
    row = await desk.votes.fetchrow(
        """SELECT public_key, result_key, threshold, shares,
                  (SELECT count(*) FROM ballot.rehearsals r WHERE r.ballot = k.ballot) AS rehearsals
             FROM ballot.ballot_keys k WHERE ballot = $1""",
        ballot,
    )
    if row is None:
        return None
    return BallotKeys(
        bytes(row["public_key"]), bytes(row["result_key"]), row["threshold"], row["shares"], row["rehearsals"]
    )


async def armed(desk: Desk, ballot: str) -> Armed | None:
    """Give the frozen document and the newest window, or None if the ballot was never opened."""
    rows = await desk.votes.fetch(
        """SELECT kind, opens_us, closes_us, document, document_signature FROM ballot.lifecycle
            WHERE ballot = $1 ORDER BY seq""",
        ballot,
    )
    first = next((row for row in rows if row["kind"] == "armed"), None)
    if first is None:
        return None
    last = rows[-1]
    return Armed(
        bytes(first["document"]),
        bytes(first["document_signature"]),
        int(last["opens_us"]),
        int(last["closes_us"]),
    )
