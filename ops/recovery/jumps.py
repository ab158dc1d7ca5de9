"""Numbers that a recovery jumps over, so that none that was lost is given again.

What is stored and this copy of the gate prove numbers up to some largest; the gate that was lost
may have given more. How many more has a bound: since the last jump each code was good for one acceptance, and
each release for another. So the gate goes on behind that bound, and the event says which numbers were jumped
over. A journal's number is held against the same bound and proves nothing; nor does what somebody wrote into
the gate: recovery goes on behind what there can have been, and no further.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ops.recovery.numbers import NUMBER_MAX, joined
from ops.recovery.shard import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from ops.recovery.numbers import Range
    from ops.recovery.shard import Shard
    from runtime.valkey import Client

NAMED_MAX: Final = 1_000_000
JUMPS_BELIEVED: Final = 1_000
"""So far behind the last jump on record gate and votes are believed: voterdb may lack as many events."""

FIELDS: Final = ("jumped_from", "jumped_to", "released")
EARLIER: Final = """
SELECT detail -> 'ballots' -> $1 -> 'skipped', detail -> 'ballots' -> $1 -> 'unaccounted' FROM ballot.events
 WHERE kind = 'recovery.performed' AND actor = 'recovery' AND detail -> 'ballots' ? $1
 ORDER BY seq DESC LIMIT 1
"""
NAMED: Final = """
SELECT DISTINCT n.reference FROM ballot.events e,
  LATERAL (SELECT e.detail -> 'ballots' -> $1 -> 'unconfirmed') AS u (told),
  LATERAL jsonb_array_elements_text(CASE jsonb_typeof(u.told) WHEN 'array' THEN u.told ELSE '[]' END)
    AS n (reference)
 WHERE e.kind = 'recovery.performed' AND e.actor = 'recovery' AND e.detail -> 'ballots' ? $1 LIMIT $2
"""
RELEASES: Final = "SELECT shard, count(*) AS releases FROM ballot.releases WHERE ballot = $1 GROUP BY shard"
STORED: Final = """
SELECT w.shard, max(v.number) AS number FROM unnest($2::int[], $3::bigint[]) AS w (shard, most)
  JOIN ballot.votes v ON v.ballot = $1 AND v.shard = w.shard AND v.number <= w.most GROUP BY w.shard
"""
"""The largest number that a stored vote of each shard has, up to the largest that is believed there."""

#: Stored votes of a gate that did not number yet: their entries come before the first that has a number.
WITHOUT: Final = """
WITH placed AS (
    SELECT shard, number,
           split_part(entry, '-', 1)::numeric * 1e20 + split_part(entry, '-', 2)::numeric AS place
      FROM ballot.votes WHERE ballot = $1
), first AS (SELECT shard, min(place) AS place FROM placed WHERE number IS NOT NULL GROUP BY shard)
SELECT p.shard, count(*) AS votes FROM placed p LEFT JOIN first f USING (shard)
 WHERE p.number IS NULL AND (f.place IS NULL OR p.place < f.place) GROUP BY p.shard
"""


@dataclass(slots=True)
class Jump:
    """What is known of one shard before anything is put back."""

    skipped: list[Range] = field(default_factory=list)
    """The numbers that earlier recoveries jumped over."""

    gate: int = 0
    """The largest number that this copy of the gate gave out; 0 if it says one that cannot be."""

    base: int = 0
    """Where numbers began after the last jump, on record or shown by `settle`."""

    room: int = 0
    """How many can have been given since."""

    named: list[Range] = field(default_factory=list)
    """The numbers that the last recovery has named as lost."""

    stays: int = 0
    """Where this copy of the gate stands, also by a jump that is not on record; 0 if that cannot be."""

    impossible: int = 0
    """The number that this copy of the gate says it gave, if it cannot have."""

    @property
    def believed(self) -> int:
        """Up to where gate and stored votes are believed, before `settle`."""
        return self.base + JUMPS_BELIEVED * self.room

    def settle(self, stands: int, begun: int, ended: int, stored: int) -> None:
        """Follow the jumps that are not on record any more: the database was restored to before them.

        Where the gate stands, where its last jump began and ended, and the largest number of a stored vote.
        A vote beyond what can have been given since the last jump on record came after another one.
        """
        self.stays = stands if stands <= self.believed else 0
        if self.base < ended < self.stays:
            self.base = ended
        if stored > self.limit:
            self.base = stored
        gate = begun if 0 < ended == stands == self.stays else stands  # nothing was given since
        if gate <= self.limit:
            self.gate = gate
        else:
            self.impossible = gate

    @property
    def limit(self) -> int:
        """The largest number that can have been given; what is beyond is no number of the gate's."""
        return min(self.base + self.room, NUMBER_MAX)

    def beyond(self, known: int) -> int:
        """The number to go on behind, when `known` is the largest that is proved.

        A gate that says what cannot be may have given all that can be.
        """
        least = self.limit if self.impossible else self.base
        return max(max(known, least) + self.room, self.stays)

    def taken(self, known: int, number: int) -> list[Range]:
        """All that was jumped over, now that the gate goes on behind `number`."""
        first = max([known, *(last for _, last in self.skipped)]) + 1
        return joined([*self.skipped, *([(first, number)] if first <= number else [])])


async def known(
    queue: Client, database: asyncpg.Connection, ballot: str, shards: Sequence[Shard]
) -> list[Jump]:
    """Read every shard's, once its codes are there and before its marks are."""
    client: Any = queue
    earlier = await database.fetchrow(EARLIER, ballot)
    recorded, before = (_ranges(earlier[each] if earlier else None, len(shards)) for each in (0, 1))
    releases = {row["shard"]: row["releases"] for row in await database.fetch(RELEASES, ballot)}
    found: list[Jump] = []
    given: list[tuple[int, int, int]] = []
    for number, shard in enumerate(shards):
        begun, ended, released = map(whole, await client.hmget(shard.keys[0], *FIELDS))
        codes, stands = await client.hlen(shard.keys[1]), await shard.number()
        room = codes + max(releases.get(number, 0), min(released, codes))
        base = min(max([0, *(last for _, last in recorded[number])]), NUMBER_MAX)
        jump = Jump(recorded[number], base=base, room=room, named=before[number])
        given.append((stands, begun, ended))
        found.append(jump)
    most = [min(jump.believed, NUMBER_MAX) for jump in found]
    rows = await database.fetch(STORED, ballot, [*range(len(found))], most)
    stored = {row["shard"]: row["number"] for row in rows}
    for number, jump in enumerate(found):
        jump.settle(*given[number], stored.get(number, 0))
    return found


async def named(database: asyncpg.Connection, ballot: str) -> set[str]:
    """Return the references that earlier recoveries have named as lost."""
    return {row["reference"] for row in await database.fetch(NAMED, ballot, NAMED_MAX)}


async def without(database: asyncpg.Connection, ballot: str) -> dict[int, int]:
    """How many stored votes of each shard are of a gate that gave no numbers yet."""
    return {row["shard"]: row["votes"] for row in await database.fetch(WITHOUT, ballot)}


def _ranges(recorded: str | None, shards: int) -> list[list[Range]]:
    """What an event says was jumped over; what is of no such form says nothing."""
    told: Any = json.loads(recorded) if recorded else None
    found: list[list[Range]] = [[] for _ in range(shards)]
    if isinstance(told, dict):
        for number, ranges in enumerate(found):
            for each in told.get(str(number)) or ():
                match each:
                    case [int(first), int(last)] if 0 < first <= last <= NUMBER_MAX:
                        ranges.append((first, last))
                    case _:
                        continue
    return found
