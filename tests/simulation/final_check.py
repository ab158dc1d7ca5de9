"""The books, derived again from what the servers hold at the end and from the voters' receipts."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from ballot import gate_layout, handoff, merkle
from ballot.receipt import Receipt, signed_message
from tests.simulation.edges import RECEIPTS
from tests.simulation.material import BALLOT
from tests.simulation.voters import ACCEPTED

LATE_S: Final = 0.5
"""An answer may reach its voter so long after the queue has decided."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.database_tables import Vote
    from tests.simulation.world import World


def problems(world: World) -> list[str]:
    """Everything that is wrong."""
    return [
        *_receipts(world),
        *_votes(world),
        *_gate(world),
        *_window(world),
        *_numbers(world),
        *_turnout(world),
        *_recovered(world),
        *_devices(world),
        *_attempts(world),
    ]


def _receipts(world: World) -> Iterator[str]:
    """Every receipt is stored as it says, or named; no voter holds two."""
    stored = {vote.reference: vote for vote in world.database.votes()}
    held = {each.reference for each in world.database.held()}
    declared = world.witness.declared
    references: dict[int, set[str]] = {}
    for told in world.told:
        receipt = Receipt.from_dict(orjson.loads(told.body))
        name, reference = f"voter{told.voter}.{told.paper}", receipt.reference
        if not _signed(receipt):
            yield f"{name}'s receipt {reference} is not signed"
        if reference not in declared:
            references.setdefault(told.voter, set()).add(reference)
        vote = stored.get(reference)
        if vote is None:
            if reference not in declared and reference not in held:
                yield f"LOST: {name} has a receipt {reference} for a vote that is stored nowhere"
            continue
        voter = world.voters[told.voter].roll
        cast = voter.papers[told.paper].cast
        if (vote.uin, vote.accepted_us, vote.sealed) != (voter.uin, receipt.accepted_us, cast.sealed):
            yield f"{reference} is stored as another vote than {name}'s, or with another time"
        if receipt.sealed_sha256 != cast.sealed_sha256:
            yield f"{name}'s receipt {reference} is for another vote"
    for voter_number, found in references.items():
        if len(found) > 1:
            yield f"TWICE: voter{voter_number} holds receipts {', '.join(sorted(found))}"


def _signed(receipt: Receipt) -> bool:
    root = merkle.root_from_path(merkle.leaf_hash(receipt.leaf.canonical()), receipt.path)
    return receipt.signature == RECEIPTS.sign(signed_message(root))


def _votes(world: World) -> Iterator[str]:
    """Each stored vote is one that its voter cast, once."""
    cast = {
        (voter.roll.uin, hashlib.sha256(paper.cast.sealed).digest()): voter.shard
        for voter in world.voters
        for paper in voter.roll.papers
    }
    votes = world.database.votes()
    for vote in votes:
        if cast.get((vote.uin, vote.sealed_sha256)) != vote.shard:
            yield f"{vote.reference} is stored and was cast by nobody"
    for what, counts in (
        ("voter", Counter(vote.uin for vote in votes)),
        ("reference", Counter(vote.reference for vote in votes)),
    ):
        for name, count in counts.items():
            if count > 1:
                yield f"DOUBLED: {count} votes are stored of one {what}, {name!r}"
    voted = {vote.uin for vote in votes}
    for held in world.database.held():
        # Whoever was told that an older copy forgot the vote, and voted again, may have both in the end.
        if not world.witness.declared or held.reason != "conflict" or held.uin not in voted:
            yield f"{held.reference} is in quarantine: {held.reason}"


def _gate(world: World) -> Iterator[str]:
    """Accepted = stored + held + waiting; marks = accepted; each reference says what became of it."""
    votes, data = world.database.votes(), world.primary.model.data
    for shard in range(world.plan.shards):
        stored = {vote.uin: vote for vote in votes if vote.shard == shard}
        gate = _hash(data, handoff.gate_key(BALLOT, shard))
        marks = {
            uin: gate_layout.Mark.from_value(value)
            for uin, value in _hash(data, handoff.voted_key(BALLOT, shard)).items()
        }
        counted = int(gate[b"accepted"]), int(gate[b"voted_e"])
        if counted != (len(marks), len(marks)):
            yield f"shard {shard} counts {counted} and has {len(marks)} marks"
        yield from _marked(world, shard, marks, stored)
        for uin, vote in stored.items():
            if uin not in marks and vote.reference not in world.witness.declared:
                yield f"{vote.reference} is stored, and its voter is not marked"


def _marked(
    world: World, shard: int, marks: dict[bytes, gate_layout.Mark], stored: dict[bytes, Vote]
) -> Iterator[str]:
    """What became of each acceptance."""
    states = _hash(world.primary.model.data, handoff.references_key(BALLOT, shard))
    held = {each.reference for each in world.database.held()}
    waiting = _waiting(world, shard)
    for uin, mark in marks.items():
        vote = stored.get(uin)
        state = states.get(gate_layout.reference_field(mark.reference))
        if vote is not None and vote.reference == mark.reference:
            if (vote.accepted_us, state) != (mark.at_us, b"s"):
                yield f"{mark.reference} is stored, and the gate says {state!r} at {mark.at_us}"
        elif mark.reference in held:
            if state != b"h":
                yield f"{mark.reference} is held, and the gate says {state!r}"
        elif mark.reference not in waiting:
            yield f"LOST: the gate accepted {mark.reference}, which is neither stored nor waiting"


def _waiting(world: World, shard: int) -> set[str]:
    stream = world.stream(shard)
    if stream is None:
        return set()
    group = stream.groups.get(handoff.GROUP.encode())
    found = set()
    for entry in stream.ids:
        if group is None or entry > group.last or entry in group.pending:
            fields = stream.entries[entry]
            found.add(dict(zip(fields[::2], fields[1::2], strict=True))[handoff.REFERENCE_FIELD].decode())
    return found


def _window(world: World) -> Iterator[str]:
    """Nothing was accepted before the opening or from the closing on, which is one instant on all shards.

    Unless the desk was told that a shard which does not answer may still take a time that was given up,
    and whoever closed was told afterwards which shard closed when.
    """
    data, desk = world.primary.model.data, world.desk
    gates = {shard: _hash(data, handoff.gate_key(BALLOT, shard)) for shard in range(world.plan.shards)}
    closes = {shard: int(gate[b"closes_us"]) for shard, gate in gates.items()}
    if len({int(gate[b"opens_us"]) for gate in gates.values()}) > 1:
        yield "the shards have different opening times"
    if len({*closes.values()}) > 1 and not desk.unsure:
        yield f"the shards have different closing times: {closes}"
    told = {shard: desk.earlier.get(shard, desk.closes_us) for shard in closes}
    if desk.done and closes != told:
        yield f"the desk was told {told}, the shards close at {closes}"
    if desk.done and any(gate[b"state"] != b"closed" for gate in gates.values()):
        yield "the desk was told that all is closed, and a shard is not"
    for vote in world.database.votes():
        if not world.plan.opens_us <= vote.accepted_us < closes[vote.shard]:
            yield f"{vote.reference} was accepted at {vote.accepted_us}, outside of the window"


def _numbers(world: World) -> Iterator[str]:
    """Each shard's acceptances are numbered 1, 2, 3 …, none twice, none left out.

    But for what a recovery found lost, and for the numbers that it jumped over.
    """
    numbers: dict[int, list[int]] = {shard: [] for shard in range(world.plan.shards)}
    for vote in world.database.votes():
        numbers[vote.shard].append(vote.number or 0)
    lost = world.witness.lost or ()
    for shard, found in numbers.items():
        gone = {
            each.number for each in world.witness.accepted if each.shard == shard and each.reference in lost
        }
        jumped = _skipped(world, shard)
        whole = {*range(1, max(found, default=0) + 1)} <= {*found, *gone, *jumped}
        if len({*found}) < len(found) or 0 in found or not whole:
            yield f"shard {shard}'s stored votes have the numbers {sorted(found)}, lost are {sorted(gone)}"


def _skipped(world: World, shard: int) -> set[int]:
    """The numbers that the last recovery said it had jumped over."""
    ranges: list[tuple[int, int]] = []
    for event in world.database.events():
        if event.kind == "recovery.performed":
            ranges = event.detail["ballots"][BALLOT]["skipped"].get(str(shard), [])
    return {number for first, last in ranges for number in range(first, last + 1)}


def _recovered(world: World) -> Iterator[str]:
    """What a recovery has named as lost is stored by nobody; no number is given twice, lost or not."""
    lost = world.witness.lost
    if lost is None:
        return
    for vote in world.database.votes():
        if vote.reference in lost:
            yield f"{vote.reference} was stored after a recovery had given it up: its voter may vote twice"
    for (shard, number), count in Counter(
        (each.shard, each.number) for each in world.witness.accepted
    ).items():
        if count > 1:
            yield f"shard {shard} gave number {number} to {count} votes"


def _turnout(world: World) -> Iterator[str]:
    """Turnout as accepted is what the gate accepted; as stored, what is stored."""
    accepted, stored = world.database.turnout("accepted"), world.database.turnout("stored")
    added = sum(stream.added for shard in range(world.plan.shards) if (stream := world.stream(shard)))
    if accepted != added:
        yield f"the turnout counts {accepted} accepted, the streams have had {added}"
    if stored != len(world.database.votes()):
        yield f"the turnout counts {stored} stored, {len(world.database.votes())} are"


def _devices(world: World) -> Iterator[str]:
    """Whoever was refused has no vote counted; whoever's vote counts was told, or still waits."""
    counted = {vote.sealed_sha256: vote.reference for vote in world.database.votes()}
    for device in world.devices:
        reference = counted.get(device.kept.cast.sealed_sha256)
        if reference is not None and device.refused and reference not in world.witness.declared:
            yield f"{device.name} was told {device.refused}, and its vote {reference} counts"


def _attempts(world: World) -> Iterator[str]:
    """A vote that was sent again and answered from the gate's memory is in the log of attempts."""
    if world.plan.has("older_database"):
        return  # attempts are deleted once stored: with a database of yesterday they are gone, and no vote is
    outcomes = Counter((row[2], row[1]) for row in world.database.attempts())
    for told in world.told:
        digest = world.voters[told.voter].roll.digest
        since = told.at_s > world.witness.older_s + LATE_S  # what an older copy lacks was before that
        if since and told.status != ACCEPTED and not outcomes[digest, "repeated"]:
            yield f"voter{told.voter} was answered again, and no attempt is logged"


def _hash(data: Any, key: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = data.get(key.encode(), {})
    return found
