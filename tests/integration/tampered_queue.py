"""What the queue holds deleted, doubled, altered, exchanged and added, as only its administrator can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ballot.gate_layout import credential_field, reference_field
from tests.integration.sight_ground import RECEIVED_US, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.sight_ground import Deed, Hands, Item, Sitting

INVENTED = "ZZZZ-ZZZZ-ZZZZ-ZZZZ"
Entries = list[Any]


def hashes(sitting: Sitting) -> Iterator[Case]:
    """Marks, references, credentials and the count of the gate."""
    stored, trimmed = sitting.items["stored"], sitting.items["trimmed"]
    [held], waiting, paper = sitting.items["held"], sitting.items["waiting"], sitting.items["paper"][0]
    abstainer, other = sitting.items["abstainer"][:2]
    places: dict[str, tuple[int, Callable[[Item], bytes]]] = {
        "mark": (2, lambda item: item.voter.uin),
        "reference": (3, lambda item: reference_field(item.reference)),
        "credential": (1, lambda item: credential_field(item.voter.digest)),
    }
    changes: dict[str, tuple[Callable[[bytes], bytes], ...]] = {
        "mark": (lambda v: v[:3] + bytes([v[3] ^ 1]) + v[4:], lambda v: v[:22] + bytes([v[22] ^ 1]) + v[23:]),
        "reference": (lambda v: b"h" if v == b"s" else b"s" if v == b"h" else b"x",),
        "credential": (
            lambda v: abstainer.voter.uin + v[16:] if not v.startswith(abstainer.voter.uin) else bytes(16),
        ),
    }
    votes = (stored[2], trimmed[1], held, waiting[0])
    for name, (number, field) in places.items():
        for item in (*votes, paper) if name == "mark" else votes:
            at = number, field(item)
            yield Case(f"{name}: delete {item.kind}", _delete(*at), (item,))
            if name != "mark" or item is not paper:
                # The identity of what is not stored is in its sealed record, which the checker cannot open.
                known = name != "mark" or any(item is each for each in (*stored, *trimmed))
                for change in changes[name] if known else changes[name][1:]:
                    yield Case(
                        f"{name}: alter {item.kind}", _alter(*at, change), (item,), frozenset(abstainer.names)
                    )
        yield Case(
            f"{name}: swap",
            _swap(number, field(held), field(stored[3])),
            () if name == "reference" else (held, stored[3]),
            also=frozenset(held.names | stored[3].names),
            must=frozenset({held.reference}) if name == "reference" else frozenset(),
        )
    yield Case(
        "mark: duplicate",
        _copy(2, stored[1].voter.uin, abstainer.voter.uin),
        (stored[1],),
        frozenset(abstainer.names),
    )
    yield Case(
        "mark: add a paper", _set(2, abstainer.voter.uin, b"p" + RECEIVED_US.to_bytes(7, "big")), (abstainer,)
    )
    yield Case("reference: add", _set(3, reference_field(INVENTED), b"s"), must=frozenset({INVENTED}))
    yield Case(
        "credential: add",
        _set(1, bytes(16), other.voter.uin + b"ce"),
        must=frozenset({"credential " + "00" * 16}),
    )
    last = max(item.number for item in waiting)
    yield Case(
        "number: higher",
        _set(0, b"number", b"%d" % (last + 2)),
        must=frozenset({f"shard 0 number {last + 1} to {last + 2}"}),
    )


VOTE_FIELDS = {
    b"u": None,
    b"d": bytes(32),
    b"t": b"1751400000000001",
    b"ref": INVENTED.encode(),
    b"n": b"999",
}
PAPER_FIELDS = {b"u": None, b"m": b"workplace", b"rt": b"17", b"won": b"0"}
ANY_ENTRY = "shard 0 entry *"
"""Of an entry that got its place only when it was added."""


def entries(sitting: Sitting) -> Iterator[Case]:
    """Entries of the stream: acknowledged ones and ones that wait, votes and papers."""
    stored, waiting = sitting.items["stored"], sitting.items["waiting"]
    [held], [late], paper = sitting.items["held"], sitting.items["late paper"], sitting.items["paper"][1]
    abstainer, other = sitting.items["abstainer"][:2]
    invented = abstainer.names | {INVENTED, "credential " + "00" * 32}
    for item in (stored[1], held, waiting[1], paper, late):
        yield Case(f"entry: delete {item.kind}", _stream(_without(item)), (item,))
        yield Case(f"entry: duplicate {item.kind}", _append(item, {}), (item,))
        for name, value in (VOTE_FIELDS if item.reference else PAPER_FIELDS).items():
            altered = _stream(_with(item, name, value or abstainer.voter.uin))
            yield Case(f"entry: alter {name!r} of {item.kind}", altered, (item,), frozenset(invented))
    yield Case("entry: swap stored", _stream(_exchanged(stored[1], stored[2])), (stored[1], stored[2]))
    added = {b"ref": INVENTED.encode(), b"u": other.voter.uin, b"d": other.voter.digest, b"n": b"12"}
    also, must = frozenset(other.names), frozenset({INVENTED})
    yield Case("entry: add a vote", _append(stored[1], added), also=also, must=must)
    paper_of_other = _append(late, {b"u": other.voter.uin})
    yield Case("entry: add a paper", paper_of_other, also=also, must=frozenset({ANY_ENTRY}))
    yield Case("entry: trimmed before it was stored", _trimmed, (waiting[0],))


def _delete(number: int, field: bytes) -> Deed:
    async def deed(hands: Hands) -> None:
        assert await hands.queue.hdel(hands.keys[number], field) == 1

    return deed


def _set(number: int, field: bytes, value: bytes) -> Deed:
    async def deed(hands: Hands) -> None:
        await hands.queue.hset(hands.keys[number], field, value)

    return deed


def _alter(number: int, field: bytes, change: Callable[[bytes], bytes]) -> Deed:
    async def deed(hands: Hands) -> None:
        value = await hands.queue.hget(hands.keys[number], field)
        assert value is not None
        assert change(value) != value
        await hands.queue.hset(hands.keys[number], field, change(value))

    return deed


def _swap(number: int, one: bytes, other: bytes) -> Deed:
    async def deed(hands: Hands) -> None:
        values = await hands.queue.hmget(hands.keys[number], one, other)
        await hands.queue.hset(hands.keys[number], mapping={one: values[1], other: values[0]})

    return deed


def _copy(number: int, one: bytes, other: bytes) -> Deed:
    async def deed(hands: Hands) -> None:
        await hands.queue.hset(hands.keys[number], other, await hands.queue.hget(hands.keys[number], one))

    return deed


def _stream(change: Callable[[Entries], Entries]) -> Deed:
    async def deed(hands: Hands) -> None:
        await hands.stream(change)

    return deed


def _without(item: Item) -> Callable[[Entries], Entries]:
    return lambda found: [each for each in found if each[0].decode() != item.entry]


def _with(item: Item, name: bytes, value: bytes) -> Callable[[Entries], Entries]:
    return lambda found: [
        (entry, fields | {name: value} if entry.decode() == item.entry else fields) for entry, fields in found
    ]


def _exchanged(one: Item, other: Item) -> Callable[[Entries], Entries]:
    def change(found: Entries) -> Entries:
        fields = {entry.decode(): each for entry, each in found}
        fields[one.entry], fields[other.entry] = fields[other.entry], fields[one.entry]
        return [(entry, fields[entry.decode()]) for entry, _ in found]

    return change


def _append(item: Item, changed: dict[bytes, bytes]) -> Deed:
    async def deed(hands: Hands) -> None:
        [(_, fields)] = await hands.queue.xrange(hands.keys[4], item.entry, item.entry)
        await hands.queue.xadd(hands.keys[4], fields | changed)

    return deed


async def _trimmed(hands: Hands) -> None:
    """Take one entry too many from the front, as a trimmer that goes too far would."""
    await hands.queue.xtrim(hands.keys[4], minid=hands.sitting.items["waiting"][1].entry, approximate=False)
