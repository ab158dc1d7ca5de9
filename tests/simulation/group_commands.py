"""The commands on consumer groups, and what streams say of themselves, with the server's own answers."""

from __future__ import annotations

from typing import Any, Final

from tests.simulation import changes
from tests.simulation.keyspace import Command, Keyspace, syntax, whole
from tests.simulation.stream_commands import NO_KEY, interval, rows
from tests.simulation.streams import ZERO, Group, Id, Refusal, Stream, read_id, written

BUSY: Final = "BUSYGROUP Consumer Group name already exists"
NO_STREAM: Final = (
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
    "MKSTREAM option to create an empty stream automatically."
)
CLAIM_LOOKS: Final = 10
"""XAUTOCLAIM looks at so many entries for each one it may give."""


def _no_group(key: bytes, group: bytes) -> str:
    return f"NOGROUP No such key '{key.decode()}' or consumer group '{group.decode()}'"


def _no_such(key: bytes, group: bytes) -> str:
    return f"NOGROUP No such consumer group '{group.decode()}' for key name '{key.decode()}'"


def xgroup(keys: Keyspace, args: list[bytes]) -> Any:
    """One of the subcommands."""
    return GROUP_COMMANDS[args[0].upper()](keys, args[1:])


def _read_option(options: list[bytes]) -> int | None:
    if not options:
        return None
    if len(options) != 2 or options[0].upper() != b"ENTRIESREAD":
        raise syntax()
    read = whole(options[1])
    if read < -1:
        raise Refusal("ERR value for ENTRIESREAD must be positive or -1")
    return None if read == -1 else read


def _group_create(keys: Keyspace, args: list[bytes]) -> bytes:
    key, group, begin, *options = args
    make = [each.upper() for each in options[:1]] == [b"MKSTREAM"]
    read = _read_option(options[1:] if make else options)
    stream = keys.stream(key)
    if stream is None and not make:
        raise Refusal(NO_STREAM)
    last = (stream.last if stream else ZERO) if begin == b"$" else read_id(begin)
    if stream is None:
        keys.do(changes.make_stream, key)
    elif group in stream.groups:
        raise Refusal(BUSY)
    keys.do(changes.make_group, key, group, last, read)
    return b"OK"


def _group_setid(keys: Keyspace, args: list[bytes]) -> bytes:
    key, group, begin, *options = args
    read = _read_option(options)
    stream = keys.stream(key)
    if stream is None:
        raise Refusal(NO_STREAM)
    keys.group(key, group, _no_such(key, group))
    last = stream.last if begin == b"$" else read_id(begin)
    keys.do(changes.set_group, key, group, last, read)
    return b"OK"


def _group_destroy(keys: Keyspace, args: list[bytes]) -> int:
    key, group = args
    stream = keys.stream(key)
    if stream is None:
        raise Refusal(NO_STREAM)
    if group not in stream.groups:
        return 0
    keys.do(changes.delete_group, key, group)
    return 1


def _create_consumer(keys: Keyspace, args: list[bytes]) -> int:
    key, group, name = args
    if keys.stream(key) is None:
        raise Refusal(NO_STREAM)
    _, found = keys.group(key, group, _no_such(key, group))
    if name in found.consumers:
        return 0
    keys.do(changes.make_consumer, key, group, name, keys.now_ms)
    return 1


def _delete_consumer(keys: Keyspace, args: list[bytes]) -> int:
    key, group, name = args
    if keys.stream(key) is None:
        raise Refusal(NO_STREAM)
    _, found = keys.group(key, group, _no_such(key, group))
    if name not in found.consumers:
        return 0
    held = sum(waiting.consumer == name for waiting in found.pending.values())
    keys.do(changes.delete_consumer, key, group, name)
    return held


def _heard(keys: Keyspace, key: bytes, group: bytes, found: Group, name: bytes) -> None:
    """The consumer spoke: made when it is new."""
    consumer = found.consumers.get(name)
    if consumer is None:
        keys.do(changes.make_consumer, key, group, name, keys.now_ms)
    else:
        consumer.seen_ms = keys.now_ms


def _new(keys: Keyspace, key: bytes, stream: Stream, place: tuple[bytes, bytes], count: int | None) -> Any:
    """What the group has not been given: to this consumer."""
    group, name = place
    found = stream.groups[group]
    ids = stream.after(found.last, count)
    for entry in ids:
        if entry > found.last:
            keys.do(changes.set_group, key, group, entry, stream.read_after(found, entry))
        keys.do(changes.give, key, group, name, entry, keys.now_ms, 1)
    if ids:
        found.consumers[name].active_ms = keys.now_ms
    return rows(stream, ids)


def _own(keys: Keyspace, stream: Stream, place: tuple[bytes, bytes], after: Id, count: int | None) -> Any:
    """What this consumer was given after an id and has not acknowledged.

    That it was read again is in memory only: the server neither logs nor replicates it.
    """
    group, name = place
    found = stream.groups[group]
    given: list[list[Any]] = []
    for entry in found.ordered():
        if entry <= after or found.pending[entry].consumer != name:
            continue
        if count is not None and len(given) >= count:
            break
        if entry in stream.entries:
            found.pending[entry].at_ms = keys.now_ms
            found.pending[entry].count += 1
            given.append([written(entry), [*stream.entries[entry]]])
        else:
            given.append([written(entry), None])
    return given


def xreadgroup(keys: Keyspace, args: list[bytes]) -> list[Any] | None:
    """Entries for a consumer: new ones after `>`, its own unacknowledged ones after an id."""
    if args[0].upper() != b"GROUP":
        raise syntax()
    group, name, *rest = args[1:]
    upper = [each.upper() for each in rest]
    at = upper.index(b"STREAMS")
    options = dict(zip(upper[:at:2], rest[1:at:2], strict=True))
    if options.keys() - {b"COUNT", b"BLOCK"}:
        raise NotImplementedError(f"XREADGROUP {options!r}")
    count = whole(options[b"COUNT"]) if b"COUNT" in options else 0
    rest = rest[at + 1 :]
    places, asked = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    if len(places) != len(asked) or not places:
        raise Refusal(
            "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
        )
    streams = []
    for key, after in zip(places, asked, strict=True):
        text = (
            f"NOGROUP No such key '{key.decode()}' or consumer group '{group.decode()}' "
            "in XREADGROUP with GROUP option"
        )
        stream, found = keys.group(key, group, text)
        streams.append((key, stream, found, None if after == b">" else read_id(after)))
    answer = []
    for key, stream, found, begin in streams:
        _heard(keys, key, group, found, name)
        if begin is not None:
            answer.append([key, _own(keys, stream, (group, name), begin, count or None)])
        elif given := _new(keys, key, stream, (group, name), count or None):
            answer.append([key, given])
    return answer or None


def xack(keys: Keyspace, args: list[bytes]) -> int:
    """Entries are dealt with; how many waited for that."""
    key, group, *texts = args
    stream = keys.stream(key)
    found = stream.groups.get(group) if stream else None
    asked = [read_id(each) for each in texts]
    if found is None:
        return 0
    there = [entry for entry in dict.fromkeys(asked) if entry in found.pending]
    if there:
        keys.do(changes.settle, key, group, there)
    return len(there)


def xautoclaim(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """What others were given long ago, to this consumer; what is gone from the stream is forgotten."""
    key, group, name, idle_text, start, *options = args
    idle_ms = max(0, whole(idle_text))
    low, _ = interval(start, b"+")
    if options and (len(options) != 2 or options[0].upper() != b"COUNT"):
        raise NotImplementedError(f"XAUTOCLAIM {options!r}")
    count = whole(options[1]) if options else 100
    if count < 1:
        raise Refusal("ERR COUNT must be > 0")
    stream, found = keys.group(key, group, _no_group(key, group))
    _heard(keys, key, group, found, name)
    now_ms, looks = keys.now_ms, count * CLAIM_LOOKS
    claimed: list[Id] = []
    gone: list[Id] = []
    waiting = [entry for entry in found.ordered() if entry >= low]
    at = 0
    while at < len(waiting) and looks and count:
        entry, looks, at = waiting[at], looks - 1, at + 1
        if entry not in stream.entries:
            gone.append(entry)
            count -= 1
            continue
        held = found.pending[entry]
        if idle_ms and now_ms - held.at_ms < idle_ms:
            continue
        keys.do(changes.give, key, group, name, entry, now_ms, held.count + 1)
        found.consumers[name].active_ms = now_ms
        claimed.append(entry)
        count -= 1
    if gone:
        keys.do(changes.settle, key, group, gone)
    cursor = written(waiting[at]) if at < len(waiting) else b"0-0"
    return [cursor, rows(stream, claimed), [written(entry) for entry in gone]]


def xpending(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """What is not acknowledged: in all, or one by one."""
    key, group, *rest = args
    idle_ms = 0
    if rest and rest[0].upper() == b"IDLE":
        idle_ms, rest = whole(rest[1]), rest[2:]
    _, found = keys.group(key, group, _no_group(key, group))
    ordered = found.ordered()
    if not rest:
        if not ordered:
            return [0, None, None, None]
        held = [waiting.consumer for waiting in found.pending.values()]
        names = [[name, b"%d" % held.count(name)] for name in sorted(set(held))]
        return [len(ordered), written(ordered[0]), written(ordered[-1]), names]
    low, high = interval(rest[0], rest[1])
    count, only = max(0, whole(rest[2])), rest[3:]
    answer = []
    for entry in ordered:
        waiting = found.pending[entry]
        idle = max(0, keys.now_ms - waiting.at_ms)
        if low <= entry <= high and (not only or waiting.consumer == only[0]) and idle >= idle_ms:
            answer.append([written(entry), waiting.consumer, idle, waiting.count])
    return answer[:count]


def xinfo(keys: Keyspace, args: list[bytes]) -> list[Any]:
    """One of the subcommands."""
    return INFO_COMMANDS[args[0].upper()](keys, args[1:])


def _info_stream(keys: Keyspace, args: list[bytes]) -> list[Any]:
    (key,) = args
    stream = keys.stream(key)
    if stream is None:
        raise Refusal(NO_KEY)
    ends = rows(stream, [stream.ids[0], stream.ids[-1]]) if stream.ids else [None, None]
    said = {
        b"length": len(stream.ids),
        b"radix-tree-keys": 0,
        b"radix-tree-nodes": 0,
        b"last-generated-id": written(stream.last),
        b"max-deleted-entry-id": written(stream.deleted),
        b"entries-added": stream.added,
        b"recorded-first-entry-id": written(stream.first),
        b"groups": len(stream.groups),
        b"first-entry": ends[0],
        b"last-entry": ends[1],
    }
    return [part for pair in said.items() for part in pair]


def _info_groups(keys: Keyspace, args: list[bytes]) -> list[Any]:
    (key,) = args
    stream = keys.stream(key)
    if stream is None:
        raise Refusal(NO_KEY)
    return [
        [
            *(b"name", name, b"consumers", len(group.consumers), b"pending", len(group.pending)),
            *(b"last-delivered-id", written(group.last)),
            *(b"entries-read", group.read, b"lag", stream.lag(group)),
        ]
        for name, group in sorted(stream.groups.items())
    ]


def _info_consumers(keys: Keyspace, args: list[bytes]) -> list[Any]:
    key, group = args
    if keys.stream(key) is None:
        raise Refusal(NO_KEY)
    _, found = keys.group(key, group, _no_such(key, group))
    held = [waiting.consumer for waiting in found.pending.values()]
    now_ms = keys.now_ms
    return [
        [
            *(b"name", name, b"pending", held.count(name), b"idle", max(0, now_ms - consumer.seen_ms)),
            *(b"inactive", -1 if consumer.active_ms == -1 else now_ms - consumer.active_ms),
        ]
        for name, consumer in sorted(found.consumers.items())
    ]


GROUP_COMMANDS = {
    b"CREATE": _group_create,
    b"SETID": _group_setid,
    b"DESTROY": _group_destroy,
    b"CREATECONSUMER": _create_consumer,
    b"DELCONSUMER": _delete_consumer,
}
INFO_COMMANDS = {b"STREAM": _info_stream, b"GROUPS": _info_groups, b"CONSUMERS": _info_consumers}
COMMANDS = {
    b"XGROUP": Command(xgroup, least=3, writes=True),
    b"XREADGROUP": Command(xreadgroup, least=6, writes=True),
    b"XACK": Command(xack, least=3, writes=True),
    b"XAUTOCLAIM": Command(xautoclaim, least=5, writes=True),
    b"XPENDING": Command(xpending, least=2, writes=False),
    b"XINFO": Command(xinfo, least=2, writes=False),
}
