"""The commands about the server or the connection: what it says of itself, functions, transactions, waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.keyspace import syntax, whole
from tests.simulation.streams import Refusal

if TYPE_CHECKING:
    from tests.simulation.queue_model import QueueModel, Session

NOT_HERE: Final = (
    "cannot be used with replica instances. Please also note that writes to replicas are just local and are "
    "not propagated."
)
ServerCommand = Callable[["QueueModel", "Session", list[bytes]], Any]


def fcall(server: QueueModel, _session: Session, args: list[bytes]) -> Any:
    """Call a function of the gate."""
    return _call(server, args, read_only=False)


def fcall_ro(server: QueueModel, _session: Session, args: list[bytes]) -> Any:
    """Call a function that does not write."""
    return _call(server, args, read_only=True)


def _call(server: QueueModel, args: list[bytes], *, read_only: bool) -> Any:
    count = whole(args[1])
    if count > len(args) - 2:
        raise Refusal("ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise Refusal("ERR Number of keys can't be negative")
    return server.function(args[0], count, args[2:], read_only=read_only)


def function(server: QueueModel, _session: Session, args: list[bytes]) -> Any:
    """FUNCTION LIST LIBRARYNAME of one library."""
    if [each.upper() for each in args[:2]] != [b"LIST", b"LIBRARYNAME"]:
        raise NotImplementedError(f"FUNCTION {args!r}")
    if args[2] != b"ballot":
        return []
    functions = [
        [b"name", name, b"description", None, b"flags", [*flags]]
        for name, (_, flags) in server.library.functions.items()
    ]
    return [[b"library_name", b"ballot", b"engine", b"LUA", b"functions", functions]]


def config(server: QueueModel, _session: Session, args: list[bytes]) -> Any:
    """CONFIG GET of the settings that are looked at."""
    if args[0].upper() != b"GET":
        raise NotImplementedError(f"CONFIG {args!r}")
    asked = [each.decode() for each in args[1:]]
    if missing := [name for name in asked if name not in server.settings]:
        raise NotImplementedError(f"CONFIG GET {missing!r}")
    return [part.encode() for name in asked for part in (name, server.settings[name])]


def info(server: QueueModel, _session: Session, args: list[bytes]) -> bytes:
    """Some sections, with the fields that are looked at."""
    sections = [each.decode().lower() for each in args]
    if not sections or (unknown := [each for each in sections if each not in INFORMATION]):
        raise NotImplementedError(f"INFO {unknown if sections else 'of everything'}")
    return "\r\n".join(INFORMATION[section](server) for section in sections).encode()


def _section(name: str, fields: dict[str, str | int]) -> str:
    return f"# {name}\r\n" + "".join(f"{field}:{value}\r\n" for field, value in fields.items())


def _server(server: QueueModel) -> str:
    return _section("Server", {"run_id": server.run_id, "server_time_usec": server.keys.clock_us()})


def _replication(server: QueueModel) -> str:
    connected = [replica for replica in server.replicas if replica.up]
    fields: dict[str, str | int] = {
        "role": "slave" if server.primary else "master",
        "connected_slaves": len(connected),
    }
    for number, replica in enumerate(connected):
        place, offset = f"ip=127.0.0.1,port={7000 + number}", replica.acknowledged[0]
        fields[f"slave{number}"] = f"{place},state=online,offset={offset},lag=0,type=replica"
    fields["master_replid"] = server.replication_id
    fields["master_repl_offset"] = server.position
    return _section("Replication", fields)


def _persistence(_server: QueueModel) -> str:
    fields: dict[str, str | int] = {
        "loading": 0,
        "aof_enabled": 1,
        "aof_rewrite_in_progress": 0,
        "aof_rewrite_scheduled": 0,
        "aof_last_write_status": "ok",
    }
    return _section("Persistence", fields)


def _memory(server: QueueModel) -> str:
    used, bound = (2, 1) if server.out_of_memory else (1, 0)
    return _section("Memory", {"used_memory": used, "maxmemory": bound, "mem_not_counted_for_evict": 0})


INFORMATION = {
    "server": _server,
    "replication": _replication,
    "persistence": _persistence,
    "memory": _memory,
}


def multi(_server: QueueModel, session: Session, _args: list[bytes]) -> bytes:
    """Begin a transaction."""
    session.queued = []
    return b"OK"


def discard(_server: QueueModel, session: Session, _args: list[bytes]) -> bytes:
    """Forget the transaction."""
    if session.queued is None:
        raise Refusal("ERR DISCARD without MULTI")
    session.queued = None
    return b"OK"


def execute(server: QueueModel, session: Session, _args: list[bytes]) -> Any:
    """Do what was queued, in one step: it is in the log as one, and so on disk all or not at all."""
    queued, session.queued = session.queued, None
    if queued is None:
        raise Refusal("ERR EXEC without MULTI")
    if any(name in {b"WAIT", b"WAITAOF", b"XREADGROUP", b"XREAD", b"MULTI"} for name, *_ in queued):
        raise NotImplementedError("what may wait, in a transaction")
    return [server._answer(session, words[0], words[1:]) for words in queued]  # one thing in two files


def wait(server: QueueModel, session: Session, args: list[bytes]) -> Any:
    """Until so many replicas have what this connection wrote."""
    replicas, timeout_ms = whole(args[0]), whole(args[1])
    if server.primary is not None:
        raise Refusal(f"ERR WAIT {NOT_HERE}")
    return _pending(
        lambda: server.on_replicas(session.written)[0], lambda found: found >= replicas, timeout_ms
    )


def waitaof(server: QueueModel, session: Session, args: list[bytes]) -> Any:
    """Until what this connection wrote is on our disk and on so many replicas' disks."""
    local, replicas, timeout_ms = (whole(each) for each in args)
    if server.primary is not None:
        raise Refusal(f"ERR WAITAOF {NOT_HERE}")
    if local > 1:
        raise syntax()

    def found() -> list[int]:
        return [int(server.durable >= session.written), server.on_replicas(session.written)[1]]

    return _pending(found, lambda said: said[0] >= local and said[1] >= replicas, timeout_ms)


def _pending(found: Callable[[], Any], enough: Callable[[Any], bool], timeout_ms: int) -> Any:
    from tests.simulation.queue_model import STILL, Pending  # noqa: PLC0415  # each of the two needs the other

    now = found()
    if enough(now):
        return now

    def poll() -> Any:
        said = found()
        return said if enough(said) else STILL

    return Pending(poll, found, timeout_ms * 1000 or None)


def asking(_server: QueueModel, _session: Session, _args: list[bytes]) -> bytes:
    """The next command is about a slot that is only just coming."""
    return b"OK"


SERVER_COMMANDS: dict[bytes, ServerCommand] = {
    b"FCALL": fcall,
    b"FCALL_RO": fcall_ro,
    b"FUNCTION": function,
    b"CONFIG": config,
    b"INFO": info,
    b"MULTI": multi,
    b"DISCARD": discard,
    b"EXEC": execute,
    b"WAIT": wait,
    b"WAITAOF": waitaof,
    b"ASKING": asking,
}
