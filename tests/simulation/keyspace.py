"""A server's keys as commands see them: what is there, what time it is, the one way to change anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.streams import Group, Refusal, Stream

if TYPE_CHECKING:
    from tests.simulation.changes import Change, Data, Step

WRONG_KIND: Final = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOTHING: Final[dict[bytes, bytes]] = {}


class Keyspace:
    """The data, the clock (microseconds), and the steps of the command under way.

    The time stands still during a command, as it does in the server.
    """

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self.clock_us = clock_us
        self.data: Data = {}
        self.steps: list[Step] = []

    @property
    def now_ms(self) -> int:
        """The server's time in milliseconds."""
        return self.clock_us() // 1000

    def do(self, change: Change, *arguments: Any) -> None:
        """Change something, and keep it for the log."""
        change(self.data, *arguments)
        self.steps.append((change, *arguments))

    def fields(self, key: bytes) -> dict[bytes, bytes]:
        """The hash under a key; an empty one if there is none."""
        found = self.data.get(key)
        if found is None:
            return NOTHING
        if type(found) is not dict:
            raise Refusal(WRONG_KIND)
        return found

    def stream(self, key: bytes) -> Stream | None:
        """The stream under a key."""
        found = self.data.get(key)
        if found is not None and type(found) is not Stream:
            raise Refusal(WRONG_KIND)
        return found

    def group(self, key: bytes, name: bytes, text: str) -> tuple[Stream, Group]:
        """The group on a stream; refused with `text` when either is not there."""
        stream = self.stream(key)
        group = stream.groups.get(name) if stream else None
        if stream is None or group is None:
            raise Refusal(text)
        return stream, group


Run = Callable[[Keyspace, list[bytes]], Any]


class Command:
    """A command of the server: what it does, and whether it may write."""

    __slots__ = ("least", "run", "writes")

    def __init__(self, run: Run, *, least: int, writes: bool) -> None:
        self.run = run
        self.least = least
        self.writes = writes


def whole(text: bytes) -> int:
    """An integer argument."""
    digits = text[1:] if text[:1] == b"-" else text
    if not digits.isdigit():
        raise Refusal("ERR value is not an integer or out of range")
    return int(text)


def syntax() -> Refusal:
    """What the server says to arguments it does not understand."""
    return Refusal("ERR syntax error")
