"""What is in the queue, as rows of the scratch tables: whatever bytes somebody put there.

Nothing here fails: what the gate never wrote becomes a row that fits nothing, and `findings.sql` names it.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ballot import alphabet, gate_layout, handoff
from ballot.receipt import REFERENCE_BYTES
from ops.check.scratch import place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CORRUPT = "corrupt"
"""The state of a field among the references that is none."""

UNREAD = -1
"""In place of a time or number that is none: fits no window and no vote."""

LOST_PREFIX: Final = b"lost:"
"""Of the gate's fields that remember a paper beside a vote that counts: letter, 16 digits, `:`, UIN."""

_NUMBER = re.compile(r"[0-9]{1,18}")  # fits SQLite's whole numbers
_REFERENCE = re.compile("-".join([f"[{alphabet.SYMBOLS}]{{4}}"] * 4))
_PAPER = re.compile(rb"lost:([pw])([0-9]{16}):(.{16})", re.DOTALL)
_METHODS: Final = {b"p": "postal", b"w": "workplace"}
_ELECTRONIC: Final = struct.Struct(">c16s7s10s")
"""A mark of an electronic vote (gate_layout.Mark), of which there are a million."""

Read: TypeAlias = bytes | str


def text(value: Read) -> str:
    """Read what should be plain ASCII; anything else is spelt out, so that it can be printed."""
    read = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value
    return read if read.isprintable() else ascii(read)


def number(value: Read, otherwise: int = UNREAD) -> int:
    """Read a whole number from 0."""
    read = text(value)
    return int(read) if _NUMBER.fullmatch(read) else otherwise


def reference_of(written: str) -> Read:
    """A reference in the 10 bytes that it stands for; what is spelt in any other way stays text."""
    return gate_layout.reference_field(written) if _REFERENCE.fullmatch(written) else written


def named(where: object) -> str:
    """What a finding is about, as a person reads it."""
    if isinstance(where, bytes) and len(where) == REFERENCE_BYTES:
        return gate_layout.reference_text(where)
    return str(where)


def credential(kept: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """One of the gate's credentials, under as much of its digest as the gate keeps."""
    found = gate_layout.Credential.from_value(value)
    return (kept, shard, found.uin, found.flag)


def mark(uin: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """That a voter has voted."""
    if len(value) == _ELECTRONIC.size:
        by, identity, at_us, reference = _ELECTRONIC.unpack(value)
        if by == b"e":
            return (uin, "electronic", identity, int.from_bytes(at_us, "big"), reference, shard)
    found = gate_layout.Mark.from_value(value)
    return (uin, found.method, None, found.at_us, None, shard)


def reference(field: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """A reference that the gate gave out, and how it says the vote is."""
    if len(field) != REFERENCE_BYTES:
        return (f"field {field.hex()}", CORRUPT, shard)
    return (field, text(value), shard)


def paper(field: bytes, shard: int) -> tuple[Any, ...] | None:
    """A paper that came beside a vote that counts, as the gate remembers it; None for other fields."""
    found = _PAPER.fullmatch(field)
    return None if found is None else (found[3], _METHODS[found[1]], int(found[2]), shard)


def entry(
    shard: int,
    name: str,
    fields: Mapping[bytes, bytes],
    *,
    acknowledged: Callable[[str], bool],
    places: tuple[int, int],
) -> tuple[Any, ...]:
    """One entry of a stream of votes; a vote without a reference goes by its entry.

    `places` are where the stream ended before voterdb was read, and where when the shard described itself.
    """
    is_vote = fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE
    given, method = fields.get(handoff.REFERENCE_FIELD), fields.get(handoff.METHOD_FIELD)
    unnamed = f"shard {shard} entry {name}" if is_vote else None
    counted = fields.get(handoff.NUMBER_FIELD)
    at = place(name)
    return (
        shard,
        name,
        at,
        "vote" if is_vote else "return",
        fields.get(handoff.DIGEST_FIELD),
        unnamed if given is None else reference_of(text(given)),
        number(fields.get(handoff.ACCEPTED_FIELD, b"0")),
        fields.get(handoff.UIN_FIELD),
        None if method is None else text(method),
        number(fields.get(handoff.WON_FIELD, b"0"), otherwise=0),
        None if counted is None else number(counted),
        number(fields.get(handoff.RECEIVED_FIELD, b"0")),
        acknowledged(name),
        at <= places[0],
        at > places[1],
    )
