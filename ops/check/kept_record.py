"""What a quarantined entry was in the queue, as far as the record kept with it can be read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ballot import handoff
from ballot.encoding import Malformed, b64decode
from ops.check.queue_rows import UNREAD, number

RECORD_BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """`kind` is vote, postal, workplace or, for a paper that lost and what is not known, None."""

    kind: str | None = None
    at_us: int | None = None
    number: int | None = None


UNKNOWN = KeptRecord()


def parse(record: bytes) -> KeptRecord:
    """Read a record as workers write it: a JSON object of base64url values by field name."""
    fields = _fields(record)
    at_us, given = _number(fields, handoff.ACCEPTED_FIELD), _number(fields, handoff.NUMBER_FIELD)
    match fields.get(handoff.KIND_FIELD), fields.get(handoff.WON_FIELD), fields.get(handoff.METHOD_FIELD):
        case handoff.KIND_VOTE, _, _:
            return KeptRecord("vote", at_us, given)
        case handoff.KIND_RETURN, b"1", (b"postal" | b"workplace") as method:
            return KeptRecord(method.decode(), at_us)
        case _:
            return UNKNOWN


def _fields(record: bytes) -> dict[bytes, bytes]:
    """Return the entry's fields; none of them if this is no such record."""
    if len(record) > RECORD_BYTES_MAX:
        return {}
    try:
        texts: Any = json.loads(record)
        return {name.encode("latin-1"): b64decode(value) for name, value in texts.items()}
    except (ValueError, AttributeError, TypeError, Malformed):
        return {}


def _number(fields: dict[bytes, bytes], name: bytes) -> int | None:
    value = fields.get(name)
    read = UNREAD if value is None else number(value)
    return None if read == UNREAD else read
