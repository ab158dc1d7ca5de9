"""The user database as the desk knows it: members found by digest, contact details sealed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from ballot.suite import AeadKey, hmac_sha256

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    import asyncpg

    from runtime.home import Home

T = TypeVar("T")

#: Rows fetched from a server-side cursor at a time.
FETCH_ROWS = 5_000


@dataclass(frozen=True, slots=True, repr=False)
class Person:
    """Whom a code goes to. Shown nowhere but in the dispatch file."""

    uin: bytes
    member_id: str
    email: str
    mobile: str
    address: str

    def __repr__(self) -> str:
        return "<person>"

    def channel(self) -> tuple[str, str]:
        """Give a code's channel and destination: email if there is one, else text message, else post."""
        if self.email:
            return "email", self.email
        if self.mobile:
            return "sms", self.mobile
        return "post", self.address


@dataclass(frozen=True, slots=True)
class PeopleKeys:
    """The two keys of the user database: one seals what a row says, the other finds a member's row."""

    sealing: AeadKey
    member: bytes = field(repr=False)

    @classmethod
    def from_home(cls, home: Home) -> PeopleKeys:
        """Take both from the desk's secrets."""
        return cls(AeadKey(home.secret("people")), home.secret("member"))

    def member_digest(self, ballot: str, member_id: str) -> bytes:
        """Give the digest a member's row is found by."""
        return hmac_sha256(self.member, ballot.encode() + b"\x00" + member_id.encode())

    def seal(self, ballot: str, uin: bytes, details: dict[str, str], *, nonce: bytes) -> bytes:
        """Seal one voter's details to the row they belong to."""
        return self.sealing.seal(orjson.dumps(details), aad=ballot.encode() + uin, nonce=nonce)

    def open(self, ballot: str, uin: bytes, sealed: bytes) -> Person:
        """Open one row."""
        details: dict[str, Any] = orjson.loads(self.sealing.open(sealed, aad=ballot.encode() + uin))
        return Person(uin, details["member_id"], details["email"], details["mobile"], details["address"])


async def everyone(people: asyncpg.Connection, ballot: str, keys: PeopleKeys) -> AsyncIterator[Person]:
    """Give every voter of the ballot in order of UIN, which is random; must run inside a transaction."""
    statement = "SELECT uin, sealed FROM people.voters WHERE ballot = $1 ORDER BY uin"
    async for row in people.cursor(statement, ballot, prefetch=FETCH_ROWS):
        yield keys.open(ballot, bytes(row["uin"]), bytes(row["sealed"]))


async def sealed(people: asyncpg.Connection, ballot: str) -> AsyncIterator[Sequence[tuple[bytes, bytes]]]:
    """Give every voter's UIN and sealed row in order of UIN, in blocks; must run inside a transaction."""
    statement = "SELECT uin, sealed FROM people.voters WHERE ballot = $1 ORDER BY uin"
    cursor = await people.cursor(statement, ballot)
    while rows := await cursor.fetch(FETCH_ROWS):
        yield [(uin, details) for uin, details in rows]


async def sealed_of(
    people: asyncpg.Connection, ballot: str, wanted: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
    """Give the UIN and sealed row of each of these voters, in order of UIN."""
    statement = "SELECT uin, sealed FROM people.voters WHERE ballot = $1 AND uin = ANY($2) ORDER BY uin"
    return [(uin, details) for uin, details in await people.fetch(statement, ballot, list(wanted))]


async def uins(people: asyncpg.Connection, ballot: str) -> AsyncIterator[bytes]:
    """Give every UIN in its own random order; must run inside a transaction."""
    statement = "SELECT uin FROM people.voters WHERE ballot = $1 ORDER BY uin"
    async for row in people.cursor(statement, ballot, prefetch=FETCH_ROWS):
        yield bytes(row["uin"])


async def find(
    people: asyncpg.Connection, ballot: str, keys: PeopleKeys, member_ids: Sequence[str]
) -> tuple[dict[str, Person], list[str]]:
    """Look members up by id; gives those found and, in order, those who are not on the roll."""
    by_digest = {keys.member_digest(ballot, member): member for member in member_ids}
    found: dict[str, Person] = {}
    for digests in chunks(list(by_digest), FETCH_ROWS):
        rows = await people.fetch(
            "SELECT uin, member, sealed FROM people.voters WHERE ballot = $1 AND member = ANY($2)",
            ballot,
            digests,
        )
        for row in rows:
            member = by_digest[bytes(row["member"])]
            found[member] = keys.open(ballot, bytes(row["uin"]), bytes(row["sealed"]))
    return found, [member for member in dict.fromkeys(member_ids) if member not in found]


def chunks(items: Sequence[T], size: int) -> Iterable[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
