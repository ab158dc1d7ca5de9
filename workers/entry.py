"""What one entry of a votes stream says outside its encryption; what is unreadable is named, never raised."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson

from ballot import handoff
from ballot.encoding import Malformed, b64encode
from ballot.receipt import parse_reference

Kind = Literal["vote", "postal", "workplace"]
Fields = Mapping[bytes, bytes]

DIGEST_BYTES: Final = 32
DIGITS_MAX: Final = 16
"""Microseconds since the epoch stay below this many decimal digits until the year 2286."""

_METHODS: Final[dict[bytes, Kind]] = {b"postal": "postal", b"workplace": "workplace"}


@dataclass(slots=True)
class Entry:
    """One entry. `whole` is false if any field is missing or odd; what could be read is there all the same.

    `at_us` is when the gate accepted the vote or recorded the return; `counted` is false only for a return
    that came after another vote. `number` is the acceptance's in its shard. It is for the books and decides
    nothing; a vote that a gate of the version before took in has none. Nobody changes an entry; a frozen one
    takes three times as long to make.
    """

    id: str
    kind: Kind
    whole: bool
    counted: bool = True
    uin: bytes | None = field(default=None, repr=False)
    reference: str | None = field(default=None, repr=False)
    digest: bytes | None = field(default=None, repr=False)
    at_us: int | None = None
    received_us: int | None = None
    channel: str | None = None
    number: int | None = None
    wrapped: bytes | None = field(default=None, repr=False)


def parse(entry_id: str, fields: Fields) -> Entry:
    """The entry in `fields`, as the gate wrote it or as far as it can be read."""
    kind = fields.get(handoff.KIND_FIELD)
    at_us = microseconds(fields.get(handoff.ACCEPTED_FIELD))
    uin = _exact(fields.get(handoff.UIN_FIELD), handoff.UIN_BYTES)
    if kind == handoff.KIND_RETURN:
        method = _METHODS.get(fields.get(handoff.METHOD_FIELD, b""))
        received_us = microseconds(fields.get(handoff.RECEIVED_FIELD))
        won = fields.get(handoff.WON_FIELD)
        if (
            method
            and uin is not None
            and at_us is not None
            and received_us is not None
            and won in {b"0", b"1"}
        ):
            return Entry(
                entry_id,
                method,
                whole=True,
                counted=won == b"1",
                uin=uin,
                at_us=at_us,
                received_us=received_us,
            )
        return Entry(entry_id, "vote", whole=False, uin=uin)
    channel = handoff.CHANNELS.get(fields.get(handoff.CHANNEL_FIELD, b""))
    reference = _reference(fields.get(handoff.REFERENCE_FIELD))
    digest = _exact(fields.get(handoff.DIGEST_FIELD), DIGEST_BYTES)
    wrapped = fields.get(handoff.RECORD_FIELD) or None
    whole = (
        kind == handoff.KIND_VOTE
        and wrapped is not None
        and None not in (uin, reference, digest, at_us, channel)  # a set would hash them
    )
    return Entry(
        entry_id,
        "vote",
        whole=whole,
        uin=uin,
        reference=reference,
        digest=digest,
        at_us=at_us,
        channel=channel,
        number=_number(fields.get(handoff.NUMBER_FIELD)),
        wrapped=wrapped,
    )


def raw_record(fields: Fields) -> bytes:
    """The entry as it came, for quarantine: a JSON object of base64url values by field name."""
    texts = {name.decode("latin-1"): b64encode(value) for name, value in fields.items()}
    return orjson.dumps(texts, option=orjson.OPT_SORT_KEYS)


def order(entry_id: str) -> tuple[int, int]:
    """What stream entries are ordered by: milliseconds, then sequence."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def microseconds(text: bytes | None) -> int | None:
    """The time in `text`; None unless it is plain decimal digits of a possible length."""
    if text is None or not text.isdigit() or len(text) > DIGITS_MAX:
        return None
    return int(text)


def _number(text: bytes | None) -> int | None:
    if text is None or not text.isdigit() or len(text) > handoff.NUMBER_DIGITS_MAX:
        return None
    return int(text) or None


def _exact(data: bytes | None, length: int) -> bytes | None:
    return data if data is not None and len(data) == length else None


def _reference(text: bytes | None) -> str | None:
    if text is None:
        return None
    try:
        reference = text.decode("ascii")
        return reference if parse_reference(reference) == reference else None
    except (UnicodeDecodeError, Malformed):
        return None
