"""An in-memory Valkey for exactly what the product asks of it; anything else raises.

A command's effect is in memory at once and in the log; `sync` makes the log durable, a crash loses what was
not. So "the reply is only released after the sync" is two steps for whoever carries replies:

    reply = server.execute(session, command)     # done, and the reply is known
    server.position > server.durable             # not to be sent yet
    server.sync()                                # from here it may be sent

What waits (XREADGROUP BLOCK, WAIT, WAITAOF) answers with a `Pending`: poll it when `changed` was called, or
let its time run out. A copy is a place in a log that is only ever added to, so it costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as ConnectionLostError

from tests.simulation import group_commands, plain_commands, stream_commands
from tests.simulation.changes import Data, Step, done
from tests.simulation.keyspace import Command, Keyspace, whole
from tests.simulation.lua_gate import Library, LuaGate, gate_source, recovery_source, trimming_source
from tests.simulation.server_commands import SERVER_COMMANDS
from tests.simulation.streams import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS: Final = plain_commands.COMMANDS | stream_commands.COMMANDS | group_commands.COMMANDS
LUA: Final = LuaGate(COMMANDS)
READ_ONLY: Final = "READONLY You can't write against a read only replica."
NO_MEMORY: Final = "OOM command not allowed when used memory > 'maxmemory'."
FREEING: Final = frozenset(
    {b"HDEL", b"DEL", b"XDEL", b"XTRIM", b"XACK", b"XGROUP", b"XREADGROUP", b"XAUTOCLAIM"}
)
"""What writes but is done also when memory is used up."""

Word = bytes | str | int
Log = list[tuple[Step, ...]]
STILL: Final = object()
"""What a `Pending` that is still waiting says."""


@dataclass(slots=True)
class Pending:
    """An answer that is not there yet: `poll` gives it or STILL, `expire` once `timeout_us` is over."""

    poll: Callable[[], Any]
    expire: Callable[[], Any]
    timeout_us: int | None


@dataclass(frozen=True, slots=True)
class Copy:
    """A server's data as of some moment: a place in a log."""

    log: Log
    position: int


class Session:
    """One connection to one run of a server."""

    def __init__(self, run: object) -> None:
        self.run = run
        self.written = 0
        """Up to where the log must be kept for all that this connection wrote."""
        self.queued: list[list[bytes]] | None = None
        self.spoilt = False


class QueueModel:
    """One server. `clock_us` is its wall clock; `changed` is called when a `Pending` may have its answer."""

    def __init__(
        self, clock_us: Callable[[], int], *, run_id: str = "1" * 40, source: bytes | None = None
    ) -> None:
        self.keys = Keyspace(clock_us)
        self.source = gate_source() if source is None else source
        self.run_id = run_id
        self.replication_id = run_id
        self.log: Log = []
        self.durable = 0
        self.up = True
        self.primary: QueueModel | None = None
        self.replicas: list[QueueModel] = []
        self.acknowledged = (0, 0)
        """As a replica has told its primary: so much received, so much on disk."""
        self.settings = {
            "appendonly": "yes",
            "appendfsync": "always",
            "no-appendfsync-on-rewrite": "no",
            "maxmemory-policy": "noeviction",
        }
        self.out_of_memory = False
        self.changed: Callable[[], None] = lambda: None
        self._run = object()
        self._library: Library | None = None

    # What clients do.

    def session(self) -> Session:
        """A new connection."""
        if not self.up:
            raise ConnectionLostError("the server is not up")
        return Session(self._run)

    def execute(self, session: Session, command: Sequence[Word]) -> Any:
        """Do a command: its answer in RESP2's shapes, an error as redis-py names it, or a Pending."""
        if not self.up or session.run is not self._run:
            raise ConnectionLostError("the connection to the queue is gone")
        words = [word if type(word) is bytes else str(word).encode() for word in command]
        if b" " in words[0]:
            words = [*words[0].split(), *words[1:]]
        name = words[0] = words[0].upper()
        if session.queued is not None and name not in {b"EXEC", b"DISCARD"}:
            session.queued.append(words)
            return b"QUEUED"
        before = len(self.log)
        reply = self._answer(session, name, words[1:])
        self._written(session)
        if len(self.log) > before:
            self.changed()
        return reply

    def _answer(self, session: Session, name: bytes, args: list[bytes]) -> Any:
        try:
            command = COMMANDS.get(name)
            if command is None:
                return SERVER_COMMANDS[name](self, session, args)
            self._require(name, command, args)
            if name in {b"XREADGROUP", b"XREAD"}:
                return self._read(session, name, args)
            return command.run(self.keys, args)
        except Refusal as refusal:
            return error(str(refusal))
        except KeyError as unknown:
            if unknown.args == (name,):
                raise NotImplementedError(f"the model of the queue does not know {name!r}") from None
            raise

    def _require(self, name: bytes, command: Command, args: list[bytes]) -> None:
        """Refuse to write on a replica, and to use more memory when there is none."""
        if len(args) < command.least:
            raise Refusal(f"ERR wrong number of arguments for '{name.decode().lower()}' command")
        if command.writes and self.primary is not None:
            raise Refusal(READ_ONLY)
        if command.writes and self.out_of_memory and name not in FREEING:
            raise Refusal(NO_MEMORY)

    def _read(self, session: Session, name: bytes, args: list[bytes]) -> Any:
        """A read that may wait for entries."""
        upper = [each.upper() for each in args]
        if b"BLOCK" not in upper:
            return COMMANDS[name].run(self.keys, args)
        at = upper.index(b"BLOCK")
        block_ms, args = whole(args[at + 1]), args[:at] + args[at + 2 :]

        def poll() -> Any:
            try:
                found = COMMANDS[name].run(self.keys, args)
            except Refusal as refusal:
                return error(str(refusal))
            self._written(session)
            return STILL if found is None else found

        found = poll()
        if found is not STILL:
            return found
        return Pending(poll, lambda: None, block_ms * 1000 or None)

    def function(self, name: bytes, count: int, args: Sequence[bytes], *, read_only: bool) -> Any:
        """Call a function of the gate."""
        others = (LUA.library(source()) for source in (trimming_source, recovery_source))
        library = next((each for each in (self.library, *others) if name in each.functions), None)
        if library is None:
            raise Refusal("ERR Function not found")
        if library.writes(name):
            if read_only:
                raise Refusal("ERR Can not execute a script with write flag using *_ro command.")
            if self.primary is not None:
                raise Refusal("READONLY Can not run script with write flag on readonly replica.")
        if self.out_of_memory and library.grows(name):
            raise Refusal(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
            )
        return library.call(self.keys, name, count, args, read_only=read_only)

    @property
    def library(self) -> Library:
        """The gate's functions, with what this run of the server remembers."""
        if self._library is None:
            self._library = LUA.library(self.source)
        return self._library

    def _written(self, session: Session) -> None:
        """Keep the steps of the command that is over."""
        if self.keys.steps:
            self.log.append(tuple(self.keys.steps))
            self.keys.steps = []
            session.written = len(self.log)

    # What happens to a server.

    @property
    def data(self) -> Data:
        """What is in memory, to look at."""
        return self.keys.data

    @property
    def position(self) -> int:
        """How much the log holds; on disk is `durable` of it."""
        return len(self.log)

    def sync(self, position: int | None = None) -> None:
        """Put the log on disk, or as much of it."""
        self.durable = max(self.durable, len(self.log) if position is None else position)
        self.changed()

    def crash(self, *, keep: int | None = None) -> None:
        """End at once: all connections are gone, and what was not synced is lost beyond `keep`."""
        self.up = False
        self._run = object()
        kept = self.durable if keep is None else max(self.durable, min(keep, len(self.log)))
        if kept < len(self.log):
            self.log = self.log[:kept]
            self.keys.data = {}
        self.durable = kept
        self._library = None
        for replica in self.replicas:
            replica.acknowledged = (0, 0)
        self.changed()

    def restart(self, run_id: str) -> None:
        """Start with what is on disk, as another run; after a crash or instead of one."""
        if self.up:
            self.crash()
        self._load(self.log)
        self.run_id = run_id
        if self.primary is None:
            self.replication_id = run_id
        self.up = True
        self.changed()

    def _load(self, log: Log) -> None:
        """Read a log into memory: who was heard of when is known only from then on."""
        self.keys.data, self.keys.steps = {}, []
        for steps in log:
            done(self.keys.data, steps)

    def copy(self, *, durable: bool = False) -> Copy:
        """The data as it is now, or as it is on disk."""
        return Copy(self.log, self.durable if durable else len(self.log))

    def restore(self, copy: Copy) -> None:
        """Put an older state in place of the disk's; `restart` then starts from it."""
        if self.up:
            self.crash()
        self.log = copy.log[: copy.position]
        self.durable = len(self.log)
        self.replicas.clear()

    # Replicas.

    def follow(self, primary: QueueModel) -> None:
        """Become a replica, with all that the primary has now."""
        self.leave()
        self._run = object()
        self.primary, self.replication_id = primary, primary.replication_id
        primary.replicas.append(self)
        self.log, self.durable = primary.log[:], 0
        self._load(self.log)
        self.acknowledged = (0, 0)
        primary.changed()

    def leave(self) -> None:
        """Be nobody's replica any more, as when the link is cut; still read-only."""
        if self.primary is not None and self in self.primary.replicas:
            self.primary.replicas.remove(self)

    def receive(self, commands: int | None = None) -> int:
        """Take in what the primary has on its disk and we have not, or so much of it; how much that was."""
        primary = self.primary
        if primary is None or self not in primary.replicas or not (self.up and primary.up):
            return 0
        end = primary.durable if commands is None else min(primary.durable, len(self.log) + commands)
        missing = primary.log[len(self.log) : end]
        for steps in missing:
            done(self.keys.data, steps)
        self.log.extend(missing)
        return len(missing)

    def acknowledge(self) -> None:
        """Tell the primary how far we are, in memory and on disk."""
        self.acknowledged = (len(self.log), self.durable)
        if self.primary is not None:
            self.primary.changed()

    def promote(self, replication_id: str) -> None:
        """Take the primary's place with what is here: the same run, another history."""
        self.leave()
        self.primary, self.replication_id = None, replication_id
        self.changed()

    def on_replicas(self, position: int) -> tuple[int, int]:
        """How many replicas have said that they have so much, in memory and on disk."""
        said = [replica.acknowledged for replica in self.replicas]
        return sum(each >= position for each, _ in said), sum(each >= position for _, each in said)


def error(text: str) -> Exception:
    """The error as redis-py names it."""
    found: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]  # untyped there
    return found
