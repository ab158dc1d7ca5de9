"""The commands on hashes and keys that the product uses, with the server's own answers."""

from __future__ import annotations

from typing import Any

from tests.simulation import changes
from tests.simulation.keyspace import Command, Keyspace, whole
from tests.simulation.streams import Refusal, Stream


def hset(keys: Keyspace, args: list[bytes]) -> int:
    """Set fields; how many are new."""
    if len(args) % 2 == 0:
        raise Refusal("ERR wrong number of arguments for 'hset' command")
    key = args[0]
    before = keys.fields(key)
    pairs = dict(zip(args[1::2], args[2::2], strict=True))
    new = sum(field not in before for field in pairs)
    keys.do(changes.set_fields, key, pairs)
    return new


def hsetnx(keys: Keyspace, args: list[bytes]) -> int:
    """Set a field that is not there."""
    key, field, value = args
    if field in keys.fields(key):
        return 0
    keys.do(changes.set_fields, key, {field: value})
    return 1


def hget(keys: Keyspace, args: list[bytes]) -> bytes | None:
    """One field."""
    key, field = args
    return keys.fields(key).get(field)


def hmget(keys: Keyspace, args: list[bytes]) -> list[bytes | None]:
    """Some fields."""
    found = keys.fields(args[0])
    return [found.get(field) for field in args[1:]]


def hgetall(keys: Keyspace, args: list[bytes]) -> list[bytes]:
    """All fields and values."""
    (key,) = args
    return [part for pair in keys.fields(key).items() for part in pair]


def hkeys(keys: Keyspace, args: list[bytes]) -> list[bytes]:
    """All fields."""
    (key,) = args
    return [*keys.fields(key)]


def hvals(keys: Keyspace, args: list[bytes]) -> list[bytes]:
    """All values."""
    (key,) = args
    return [*keys.fields(key).values()]


def hlen(keys: Keyspace, args: list[bytes]) -> int:
    """How many fields."""
    (key,) = args
    return len(keys.fields(key))


def hexists(keys: Keyspace, args: list[bytes]) -> int:
    """Whether a field is there."""
    key, field = args
    return int(field in keys.fields(key))


def hdel(keys: Keyspace, args: list[bytes]) -> int:
    """Take fields out; how many were there."""
    key = args[0]
    found = keys.fields(key)
    there = [field for field in dict.fromkeys(args[1:]) if field in found]
    if there:
        keys.do(changes.delete_fields, key, there)
    return len(there)


def hincrby(keys: Keyspace, args: list[bytes]) -> int:
    """Add to a field."""
    key, field, by = args
    before = keys.fields(key).get(field, b"0")
    try:
        value = whole(before)
    except Refusal:
        raise Refusal("ERR hash value is not an integer") from None
    value += whole(by)
    keys.do(changes.set_fields, key, {field: b"%d" % value})
    return value


def hscan(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """A part of a hash, from its beginning: with more than `COUNT` fields the rest comes once these are gone.

    The server is free to give more, or in another order.
    """
    key, cursor, *options = args
    if cursor != b"0" or (options and (len(options) != 2 or options[0].upper() != b"COUNT")):
        raise NotImplementedError(f"HSCAN {args!r}")
    found = keys.fields(key)
    count = int(options[1]) if options else 10
    part = [*found.items()][:count]
    return [b"0" if len(found) <= count else b"1", [text for pair in part for text in pair]]


def exists(keys: Keyspace, args: list[bytes]) -> int:
    """How many of these keys are there."""
    return sum(key in keys.data for key in args)


def delete(keys: Keyspace, args: list[bytes]) -> int:
    """Take keys out; how many were there."""
    there = [key for key in dict.fromkeys(args) if key in keys.data]
    for key in there:
        keys.do(changes.delete, key)
    return len(there)


def kind(keys: Keyspace, args: list[bytes]) -> bytes:
    """What a key holds."""
    (key,) = args
    return {type(None): b"none", bytes: b"string", dict: b"hash", Stream: b"stream"}[type(keys.data.get(key))]


def get(keys: Keyspace, args: list[bytes]) -> bytes | None:
    """A plain value."""
    (key,) = args
    found = keys.data.get(key)
    if found is not None and type(found) is not bytes:
        raise Refusal("WRONGTYPE Operation against a key holding the wrong kind of value")
    return found


def put(keys: Keyspace, args: list[bytes]) -> bytes:
    """Set a plain value."""
    key, value = args
    keys.do(changes.set_value, key, value)
    return b"OK"


def time(keys: Keyspace, _args: list[bytes]) -> list[bytes]:
    """The server's clock."""
    seconds, microseconds = divmod(keys.clock_us(), 1_000_000)
    return [b"%d" % seconds, b"%d" % microseconds]


def ping(_keys: Keyspace, _args: list[bytes]) -> bytes:
    """Whether it answers."""
    return b"PONG"


COMMANDS = {
    b"HSET": Command(hset, least=3, writes=True),
    b"HSETNX": Command(hsetnx, least=3, writes=True),
    b"HGET": Command(hget, least=2, writes=False),
    b"HMGET": Command(hmget, least=2, writes=False),
    b"HGETALL": Command(hgetall, least=1, writes=False),
    b"HKEYS": Command(hkeys, least=1, writes=False),
    b"HVALS": Command(hvals, least=1, writes=False),
    b"HLEN": Command(hlen, least=1, writes=False),
    b"HEXISTS": Command(hexists, least=2, writes=False),
    b"HDEL": Command(hdel, least=2, writes=True),
    b"HINCRBY": Command(hincrby, least=3, writes=True),
    b"HSCAN": Command(hscan, least=2, writes=False),
    b"EXISTS": Command(exists, least=1, writes=False),
    b"DEL": Command(delete, least=1, writes=True),
    b"TYPE": Command(kind, least=1, writes=False),
    b"GET": Command(get, least=1, writes=False),
    b"SET": Command(put, least=2, writes=True),
    b"TIME": Command(time, least=0, writes=False),
    b"PING": Command(ping, least=0, writes=False),
}
