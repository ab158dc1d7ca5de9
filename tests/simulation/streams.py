"""A stream and its consumer groups, as Valkey keeps them: the state; `changes.py` says what may change it.

Entry ids are pairs (milliseconds, sequence), which compare as Valkey compares them.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Id = tuple[int, int]

ZERO: Id = (0, 0)
LARGEST: Id = (2**64 - 1, 2**64 - 1)


class Refusal(Exception):  # noqa: N818  # an answer, not a mistake of ours
    """What the server answers instead of doing the command: the error's text as it is sent."""


def read_id(text: bytes, sequence: int = 0) -> Id:
    """The id in `text`; one without a sequence has the given one."""
    milliseconds, dash, rest = text.partition(b"-")
    if not milliseconds.isdigit() or (dash and not rest.isdigit()):
        raise Refusal("ERR Invalid stream ID specified as stream command argument")
    return int(milliseconds), int(rest) if dash else sequence


def written(entry: Id) -> bytes:
    """The id as it is sent."""
    return b"%d-%d" % entry


class Waiting:
    """An entry that was given out and is not acknowledged: to whom, when (ms), how often."""

    __slots__ = ("at_ms", "consumer", "count")

    def __init__(self, consumer: bytes, at_ms: int, count: int) -> None:
        self.consumer = consumer
        self.at_ms = at_ms
        self.count = count


class Consumer:
    """When it was last heard of and last given something, in milliseconds; -1 is never."""

    __slots__ = ("active_ms", "seen_ms")

    def __init__(self, seen_ms: int) -> None:
        self.seen_ms = seen_ms
        self.active_ms = -1


class Group:
    """A consumer group; `read` is None when the count of what it was given is lost."""

    __slots__ = ("consumers", "last", "pending", "read")

    def __init__(self, last: Id, read: int | None) -> None:
        self.last = last
        self.read = read
        self.pending: dict[Id, Waiting] = {}
        self.consumers: dict[bytes, Consumer] = {}

    def ordered(self) -> list[Id]:
        """The ids that wait for an acknowledgement, from the smallest."""
        return sorted(self.pending)


class Stream:
    """Entries in order, and what the stream remembers of those that are gone."""

    __slots__ = ("added", "deleted", "entries", "groups", "ids", "last")

    def __init__(self) -> None:
        self.ids: list[Id] = []
        self.entries: dict[Id, tuple[bytes, ...]] = {}
        self.last: Id = ZERO
        self.added = 0
        self.deleted: Id = ZERO
        self.groups: dict[bytes, Group] = {}

    @property
    def first(self) -> Id:
        """The id of the first entry; zero in an empty stream."""
        return self.ids[0] if self.ids else ZERO

    def next_id(self, now_ms: int) -> Id:
        """The id that `*` stands for: never smaller than the last, whatever the clock does."""
        if now_ms > self.last[0]:
            return now_ms, 0
        return self.last[0], self.last[1] + 1

    def after(self, entry: Id, count: int | None) -> list[Id]:
        """The entries after an id."""
        begin = bisect_right(self.ids, entry)
        return self.ids[begin:] if count is None else self.ids[begin : begin + count]

    def between(self, start: Id, end: Id) -> list[Id]:
        """The entries from one id to another, both included."""
        return self.ids[bisect_left(self.ids, start) : bisect_right(self.ids, end)]

    def remove(self, entry: Id) -> None:
        """Take an entry out."""
        del self.entries[entry]
        del self.ids[bisect_left(self.ids, entry)]

    def ahead_is_whole(self, entry: Id) -> bool:
        """Whether nothing was deleted between that id and the end."""
        return not self.ids or self.deleted == ZERO or entry > self.deleted

    def number_of(self, entry: Id) -> int | None:  # noqa: PLR0911  # the server's own cases, in its order
        """The how manieth entry ever an id is, as far as the server can tell."""
        if not self.added:
            return 0
        if not self.ids and entry <= self.last:
            return self.added
        if entry not in (ZERO, self.deleted) and entry < self.deleted:
            return None
        if entry >= self.last:
            return self.added if entry == self.last else None
        if self.deleted == ZERO or self.deleted < self.first:
            if entry < self.first:
                return self.added - len(self.ids)
            if entry == self.first:
                return self.added - len(self.ids) + 1
        return None

    def read_after(self, group: Group, entry: Id) -> int | None:
        """The group's count once it is given this entry."""
        if group.read is not None and group.last >= self.first and self.ahead_is_whole(group.last):
            return group.read + 1
        return self.number_of(entry) if self.added else group.read

    def lag(self, group: Group) -> int | None:
        """How many entries the group has not been given, as far as the server can tell."""
        if not self.added:
            return 0
        if group.read is not None and self.ahead_is_whole(group.last):
            return self.added - group.read
        number = self.number_of(group.last)
        return None if number is None else self.added - number
