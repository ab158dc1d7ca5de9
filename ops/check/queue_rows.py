"""What is in the queue, as rows of the scratch tables: whatever bytes somebody put there.

Nothing here fails: what the gate never wrote becomes a row that fits nothing, and `findings.sql` names it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ballot import gate_layout, handoff
from ballot.encoding import Malformed
from ops.check.scratch import place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CORRUPT = "corrupt"
"""The state of a field among the references that is none."""

UNREAD = -1
"""In place of a time or number that is none: fits no window and no vote."""

_NUMBER = re.compile(r"[0-9]{1,18}")  # fits SQLite's whole numbers


def text(value: bytes | str) -> str:
    """Read what should be plain ASCII; anything else is spelt out, so that it can be printed."""
    read = value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else value
    return read if read.isprintable() else ascii(read)


def number(value: bytes | str, otherwise: int = UNREAD) -> int:
    """Read a whole number from 0."""
    read = text(value)
    return int(read) if _NUMBER.fullmatch(read) else otherwise


def credential(kept: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """One of the gate's credentials; its whole digest, which only the register has, is filled in later."""
    found = gate_layout.Credential.from_value(value)
    return (kept, shard, None, found.uin, found.flag)


def mark(uin: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """That a voter has voted."""
    found = gate_layout.Mark.from_value(value)
    return (uin, found.method, found.identity or None, found.at_us, found.reference or None, shard)


def reference(field: bytes, value: bytes, shard: int) -> tuple[Any, ...]:
    """A reference that the gate gave out, and how it says the vote is."""
    try:
        return (gate_layout.reference_text(field), text(value), shard)
    except Malformed:
        return (f"field {field.hex()}", CORRUPT, shard)


def entry(
    shard: int,
    name: str,
    fields: Mapping[bytes, bytes],
    *,
    acknowledged: Callable[[str], bool],
    last_place: int,
) -> tuple[Any, ...]:
    """One entry of a stream of votes; a vote without a reference goes by its entry."""
    is_vote = fields.get(handoff.KIND_FIELD) == handoff.KIND_VOTE
    given, method = fields.get(handoff.REFERENCE_FIELD), fields.get(handoff.METHOD_FIELD)
    unnamed = f"shard {shard} entry {name}" if is_vote else None
    return (
        shard,
        name,
        place(name),
        "vote" if is_vote else "return",
        fields.get(handoff.DIGEST_FIELD),
        unnamed if given is None else text(given),
        number(fields.get(handoff.ACCEPTED_FIELD, b"0")),
        fields.get(handoff.UIN_FIELD),
        None if method is None else text(method),
        number(fields.get(handoff.WON_FIELD, b"0"), otherwise=0),
        acknowledged(name),
        place(name) > last_place,
    )
