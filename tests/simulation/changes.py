"""What may change a server's data: a handful of small steps, each of which can be done again from the log.

A command decides what happens; these do it. A server's log is a list of commands' steps, so that any earlier
state, a restart and a replica are the same thing: the steps up to there, done again. A step never decides
anything and reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.streams import Consumer, Group, Id, Stream, Waiting

Value = bytes | dict[bytes, bytes] | Stream
Data = dict[bytes, Value]
Step = tuple[Any, ...]
"""The function and its arguments after the data."""

Change = Callable[..., None]


def done(data: Data, steps: Sequence[Step]) -> None:
    """Do a command's steps again."""
    for step in steps:
        step[0](data, *step[1:])


def set_value(data: Data, key: bytes, value: bytes) -> None:
    """A plain value."""
    data[key] = value


def delete(data: Data, key: bytes) -> None:
    """A key and all under it."""
    del data[key]


def set_fields(data: Data, key: bytes, pairs: dict[bytes, bytes]) -> None:
    """Fields of a hash."""
    found: Any = data.get(key)
    if found is None:
        data[key] = dict(pairs)
    else:
        found.update(pairs)


def delete_fields(data: Data, key: bytes, fields: Sequence[bytes]) -> None:
    """Fields that are there; a hash without any is gone."""
    found: Any = data[key]
    for field in fields:
        del found[field]
    if not found:
        del data[key]


def make_stream(data: Data, key: bytes) -> None:
    """An empty stream."""
    data[key] = Stream()


def append(data: Data, key: bytes, entry: Id, fields: tuple[bytes, ...]) -> None:
    """An entry at the end."""
    stream: Any = data.get(key)
    if stream is None:
        stream = data[key] = Stream()
    stream.ids.append(entry)
    stream.entries[entry] = fields
    stream.last = entry
    stream.added += 1


def trim(data: Data, key: bytes, before: Id) -> None:
    """All entries below an id, as XTRIM takes them out: nobody's mark of deletions moves."""
    stream: Any = data[key]
    gone = [entry for entry in stream.ids if entry < before]
    for entry in gone:
        del stream.entries[entry]
    del stream.ids[: len(gone)]


def delete_entries(data: Data, key: bytes, entries: Sequence[Id]) -> None:
    """Entries that are there, as XDEL takes them out."""
    stream: Any = data[key]
    for entry in entries:
        stream.remove(entry)
        stream.deleted = max(stream.deleted, entry)


def set_last(data: Data, key: bytes, last: Id, added: int | None, deleted: Id | None) -> None:
    """What the stream says of its past."""
    stream: Any = data[key]
    stream.last = last
    if added is not None:
        stream.added = added
    if deleted is not None:
        stream.deleted = deleted


def make_group(data: Data, key: bytes, group: bytes, last: Id, read: int | None) -> None:
    """A group on a stream."""
    stream: Any = data[key]
    stream.groups[group] = Group(last, read)


def set_group(data: Data, key: bytes, group: bytes, last: Id, read: int | None) -> None:
    """A group's place in the stream."""
    stream: Any = data[key]
    found = stream.groups[group]
    found.last, found.read = last, read


def delete_group(data: Data, key: bytes, group: bytes) -> None:
    """A group, with its consumers."""
    stream: Any = data[key]
    del stream.groups[group]


def make_consumer(data: Data, key: bytes, group: bytes, name: bytes, seen_ms: int) -> None:
    """A consumer of a group."""
    stream: Any = data[key]
    stream.groups[group].consumers[name] = Consumer(seen_ms)


def delete_consumer(data: Data, key: bytes, group: bytes, name: bytes) -> None:
    """A consumer, and with it all that it was given and has not acknowledged."""
    stream: Any = data[key]
    found = stream.groups[group]
    del found.consumers[name]
    for entry in [entry for entry, waiting in found.pending.items() if waiting.consumer == name]:
        del found.pending[entry]


def give(data: Data, key: bytes, group: bytes, name: bytes, entry: Id, at_ms: int, count: int) -> None:
    """An entry to a consumer; it may have been another's."""
    stream: Any = data[key]
    stream.groups[group].pending[entry] = Waiting(name, at_ms, count)


def settle(data: Data, key: bytes, group: bytes, entries: Sequence[Id]) -> None:
    """Entries that wait no longer for an acknowledgement."""
    stream: Any = data[key]
    pending = stream.groups[group].pending
    for entry in entries:
        del pending[entry]
