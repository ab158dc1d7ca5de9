"""The commands on streams outside of groups, with the server's own answers.

`~` is taken as `=`: the server may keep more than asked, and what is safe when it keeps least is safe then.
"""

from __future__ import annotations

from typing import Any, Final

from tests.simulation import changes
from tests.simulation.keyspace import Command, Keyspace, syntax, whole
from tests.simulation.streams import LARGEST, ZERO, Id, Refusal, Stream, read_id, written

TOO_SMALL: Final = "ERR The ID specified in XADD is equal or smaller than the target stream top item"
NO_KEY: Final = "ERR no such key"


def rows(stream: Stream, ids: list[Id]) -> list[Any]:
    """Entries as they are sent."""
    return [[written(entry), [*stream.entries[entry]]] for entry in ids]


Trimming = tuple[bytes, bytes, int | None, int]


def _trimming(options: list[bytes]) -> Trimming:
    """What to trim by, the bound, how many entries at most, and how many arguments said so."""
    by, used = options[0].upper(), 1
    if options[1:2] in ([b"~"], [b"="]):
        used += 1
    if len(options) <= used:
        raise syntax()
    bound = options[used]
    if [each.upper() for each in options[used + 1 : used + 2]] == [b"LIMIT"]:
        if options[1] != b"~":
            raise Refusal("ERR syntax error, LIMIT cannot be used without the special ~ option")
        return by, bound, whole(options[used + 2]), used + 3
    return by, bound, None, used + 1


def _bound(stream: Stream, by: bytes, bound: bytes) -> Id:
    """The id below which entries are trimmed."""
    if by == b"MINID":
        return read_id(bound)
    most = whole(bound)
    if most < 0:
        raise Refusal("ERR The MAXLEN argument must be >= 0.")
    over = len(stream.ids) - most
    if over <= 0:
        return ZERO
    return stream.ids[over] if most else (stream.last[0], stream.last[1] + 1)


def _trim(keys: Keyspace, key: bytes, by: bytes, bound: bytes, most: int | None) -> int:
    stream = keys.stream(key)
    if stream is None:
        return 0
    before = _bound(stream, by, bound)
    if not stream.ids or stream.ids[0] >= before:
        return 0
    if most and most < len(stream.ids):
        before = min(before, stream.ids[most])
    length = len(stream.ids)
    keys.do(changes.trim, key, before)
    return length - len(stream.ids)


def xadd(keys: Keyspace, args: list[bytes]) -> bytes:
    """Append an entry, and trim."""
    key, rest = args[0], args[1:]
    trimming: Trimming | None = None
    if rest[0].upper() in {b"MAXLEN", b"MINID"}:
        trimming = _trimming(rest)
        rest = rest[trimming[3] :]
    if len(rest) < 3 or len(rest) % 2 == 0:
        raise Refusal("ERR wrong number of arguments for 'xadd' command")
    stream = keys.stream(key)
    last = stream.last if stream else ZERO
    if rest[0] == b"*":
        entry = stream.next_id(keys.now_ms) if stream else (keys.now_ms, 0)
    else:
        entry = read_id(rest[0])
        if entry == ZERO:
            raise Refusal("ERR The ID specified in XADD must be greater than 0-0")
        if entry <= last:
            raise Refusal(TOO_SMALL)
    keys.do(changes.append, key, entry, tuple(rest[1:]))
    if trimming:
        _trim(keys, key, *trimming[:3])
    return written(entry)


def xtrim(keys: Keyspace, args: list[bytes]) -> int:
    """Trim; how many entries went."""
    by, bound, most, used = _trimming(args[1:])
    if by not in {b"MAXLEN", b"MINID"} or len(args) != used + 1:
        raise syntax()
    return _trim(keys, args[0], by, bound, most)


def xdel(keys: Keyspace, args: list[bytes]) -> int:
    """Delete entries; how many were there."""
    key = args[0]
    asked = [read_id(each) for each in args[1:]]
    stream = keys.stream(key)
    there = [entry for entry in dict.fromkeys(asked) if stream and entry in stream.entries]
    if there:
        keys.do(changes.delete_entries, key, there)
    return len(there)


def xlen(keys: Keyspace, args: list[bytes]) -> int:
    """How many entries are there."""
    (key,) = args
    stream = keys.stream(key)
    return len(stream.ids) if stream else 0


def _start(text: bytes) -> Id:
    if text == b"-":
        return ZERO
    if text == b"+":
        return LARGEST
    if text[:1] != b"(":
        return read_id(text)
    entry = read_id(text[1:])
    if entry == LARGEST:
        raise Refusal("ERR invalid start ID for the interval")
    return (entry[0], entry[1] + 1) if entry[1] < LARGEST[1] else (entry[0] + 1, 0)


def _end(text: bytes) -> Id:
    if text == b"-":
        return ZERO
    if text == b"+":
        return LARGEST
    if text[:1] != b"(":
        return read_id(text, LARGEST[1])
    entry = read_id(text[1:], LARGEST[1])
    if entry == ZERO:
        raise Refusal("ERR invalid end ID for the interval")
    return (entry[0], entry[1] - 1) if entry[1] else (entry[0] - 1, LARGEST[1])


def interval(start: bytes, end: bytes) -> tuple[Id, Id]:
    """The two ends of an interval, both included."""
    return _start(start), _end(end)


def _count(options: list[bytes]) -> int | None:
    if not options:
        return None
    if len(options) != 2 or options[0].upper() != b"COUNT":
        raise syntax()
    return max(0, whole(options[1]))


def xrange(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """Entries of an interval, upwards."""
    key, start, end, *options = args
    low, high = interval(start, end)
    count = _count(options)
    stream = keys.stream(key)
    return rows(stream, stream.between(low, high)[:count]) if stream else []


def xrevrange(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """Entries of an interval, downwards."""
    key, end, start, *options = args
    low, high = interval(start, end)
    count = _count(options)
    stream = keys.stream(key)
    return rows(stream, stream.between(low, high)[::-1][:count]) if stream else []


def xread(keys: Keyspace, args: list[bytes]) -> list[Any] | None:
    """Entries after the given ones; None when there are none."""
    names = [each.upper() for each in args]
    at = names.index(b"STREAMS")
    options, rest = args[:at], args[at + 1 :]
    count = _count(options)
    places, asked = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    if len(places) != len(asked) or not places:
        raise Refusal(
            "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be "
            "specified."
        )
    found = []
    for key, after in zip(places, asked, strict=True):
        stream = keys.stream(key)
        ids = stream.after(read_id(after), count or None) if stream else []
        if stream and ids:
            found.append([key, rows(stream, ids)])
    return found or None


def xsetid(keys: Keyspace, args: list[bytes]) -> bytes:
    """Say what the last id was, how many were ever added, and up to where some were deleted."""
    key, last_text, *options = args
    last = read_id(last_text)
    named = dict(zip([each.upper() for each in options[::2]], options[1::2], strict=True))
    added = whole(named[b"ENTRIESADDED"]) if b"ENTRIESADDED" in named else None
    deleted = read_id(named[b"MAXDELETEDID"]) if b"MAXDELETEDID" in named else None
    if deleted is not None and last < deleted:
        raise Refusal("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id")
    stream = keys.stream(key)
    if stream is None:
        raise Refusal(NO_KEY)
    if last < stream.deleted:
        raise Refusal("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    if stream.ids:
        if last < stream.ids[-1]:
            raise Refusal("ERR The ID specified in XSETID is smaller than the target stream top item")
        if added is not None and len(stream.ids) > added:
            raise Refusal(
                "ERR The entries_added specified in XSETID is smaller than the target stream length"
            )
    keys.do(changes.set_last, key, last, added, None if deleted in (None, ZERO) else deleted)
    return b"OK"


COMMANDS = {
    b"XADD": Command(xadd, least=4, writes=True),
    b"XTRIM": Command(xtrim, least=3, writes=True),
    b"XDEL": Command(xdel, least=2, writes=True),
    b"XLEN": Command(xlen, least=1, writes=False),
    b"XRANGE": Command(xrange, least=3, writes=False),
    b"XREVRANGE": Command(xrevrange, least=3, writes=False),
    b"XREAD": Command(xread, least=3, writes=False),
    b"XSETID": Command(xsetid, least=2, writes=True),
}
