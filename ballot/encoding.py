"""One spelling for each value: base64url, canonical JSON, RFC 3339 times; anything else is refused."""

import binascii
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import orjson
import rfc8785

from ballot import limits

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt](\d{2}:\d{2}:\d{2})(?:\.(\d{1,6}))?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
_PADDING: Final = (b"", b"===", b"==", b"=")
_LAST_SYMBOLS: Final = ("", "AQgw", "AEIMQUYcgkosw048")
"""What base64url may end with after so many bytes more than a multiple of three: no bit is left loose."""

_NOT_CANONICAL: Final = "This is not canonical base64url without padding."


class Malformed(ValueError):  # noqa: N818  # named for what it says of the bytes
    """Not in the one form we accept; the message is one plain sentence without the value."""


def b64encode(data: bytes) -> str:
    """`data` in base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def b64decode(text: str, *, length: int | None = None) -> bytes:
    """The bytes of canonical base64url `text`, of exactly `length` bytes when given.

    (1) ASCII without padding or the other alphabet's two symbols, (2) only symbols of the alphabet, which the
    decoder's strict mode checks, (3) unused bits of the last symbol are zero.
    """
    if "+" in text or "/" in text or "=" in text:
        raise Malformed(_NOT_CANONICAL)
    try:
        symbols = text.encode("ascii").translate(FROM_URL)
        data = binascii.a2b_base64(symbols + _PADDING[len(symbols) & 3], strict_mode=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Malformed(_NOT_CANONICAL) from error
    tail = len(data) % 3
    if tail and text[-1] not in _LAST_SYMBOLS[tail]:
        raise Malformed(_NOT_CANONICAL)
    if length is not None and len(data) != length:
        raise Malformed(f"This must be {length} bytes in base64url, not {len(data)}.")
    return data


def hex_decode(text: str, *, length: int) -> bytes:
    """The `length` bytes of lower-case hexadecimal `text`."""
    if len(text) != 2 * length or re.fullmatch(r"[0-9a-f]*", text) is None:
        raise Malformed(f"This must be {2 * length} lower-case hexadecimal digits.")
    return bytes.fromhex(text)


def canonical_json(value: object) -> bytes:
    """`value` as RFC 8785 canonical JSON; Malformed if JSON has no form for it."""
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # any value in, its own checks decide
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Malformed("This has no canonical JSON form.") from error


def strict_json(data: bytes, *, bytes_max: int) -> dict[str, Any]:
    """The JSON object in `data`: at most `bytes_max` bytes, UTF-8, bounded depth.

    A repeated name is not detected here (the last one wins); callers compare with a canonical form or count
    the quotes.
    """
    if len(data) > bytes_max:
        raise Malformed(f"This is too long: at most {bytes_max} bytes are read.")
    try:
        value = orjson.loads(data)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise Malformed("This is not JSON.") from error
    if not isinstance(value, dict):
        raise Malformed("This is JSON, but not an object.")
    _check_depth(value)
    return value


def canonical_object(data: bytes, *, bytes_max: int) -> dict[str, Any]:
    """The object in `data`, which must be exactly its own canonical form (so no name is repeated)."""
    value = strict_json(data, bytes_max=bytes_max)
    if canonical_json(value) != data:
        raise Malformed("This is JSON, but not in canonical form (RFC 8785).")
    return value


def _check_depth(value: dict[str, Any]) -> None:
    """Raise unless `value` nests at most JSON_DEPTH_MAX levels."""
    level: list[Any] = [value]
    for _ in range(limits.JSON_DEPTH_MAX):
        inner: list[Any] = []
        for item in level:
            children = item.values() if isinstance(item, dict) else item
            inner.extend(child for child in children if isinstance(child, (dict, list)))
        if not inner:
            return
        level = inner
    raise Malformed(f"This JSON is nested too deeply: at most {limits.JSON_DEPTH_MAX} levels are read.")


def parse_time(text: str) -> int:
    """Microseconds since the epoch of an RFC 3339 time with any offset."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise Malformed("This is not a time such as 2025-07-01T09:00:00Z.")
    date, clock, fraction, offset = match.groups()
    try:
        value = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if offset in 'Zz' else offset}")
    except ValueError as error:
        raise Malformed("This is not a time such as 2025-07-01T09:00:00Z.") from error
    return time_us(value) + int((fraction or "").ljust(6, "0"))


def time_us(value: datetime) -> int:
    """Microseconds since the epoch of a datetime that carries an offset."""
    return (value - _EPOCH) // timedelta(microseconds=1)


def format_time(us: int, *, decimals: int = 0) -> str:
    """`us` as RFC 3339 UTC ending in Z, with 0 decimals (rounded down) or 6."""
    if decimals not in {0, 6}:
        raise ValueError("A time has 0 or 6 decimals.")
    seconds, microseconds = divmod(us, 1_000_000)
    try:
        text = _format_seconds(seconds)
    except OverflowError as error:
        raise Malformed("This time is outside the calendar.") from error
    return f"{text}.{microseconds:06d}Z" if decimals else text + "Z"


@lru_cache(maxsize=64)
def _format_seconds(seconds: int) -> str:
    """The same without decimals and zone: receipts of one moment differ in their microseconds only."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds")[:-6]
