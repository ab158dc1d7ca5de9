"""What the contract does to a queue: short operations that are drawn; each becomes one or a few commands.

An operation names voters, entries and consumers by small numbers, so that a failing run shrinks to a short
one. Which entry a number means is looked up in the model, where the same commands have just been done.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hypothesis import strategies as st

from ballot import handoff
from ballot.alphabet import SYMBOLS
from tests.simulation.streams import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.queue_model import QueueModel

BALLOT: Final = "b"
BEGIN_US: Final = 1_750_000_000_000_000
HOUR_US: Final = 3_600_000_000
VOTERS: Final = 6
SHARDS: Final = 2
CONSUMERS: Final = (b"one", b"two", b"three")
GROUP: Final = handoff.GROUP.encode()
MANY: Final = 1024

Command = tuple[bytes | str | int, ...]
Op = tuple[Any, ...]


@dataclass(slots=True)
class Script:
    """Turns operations into commands; `salt` makes the credentials of one run its own."""

    model: QueueModel
    salt: bytes
    now_us: int = BEGIN_US
    drawn: int = 0
    keys: dict[int, tuple[str, ...]] = field(
        default_factory=lambda: {shard: handoff.shard_keys(BALLOT, shard) for shard in range(SHARDS)}
    )

    def digest(self, voter: int, code: int) -> bytes:
        """A voter's credential: code 0, or one that was issued in its place."""
        return hashlib.sha256(self.salt + bytes([voter, code])).digest()

    def uin(self, voter: int) -> bytes:
        """A voter's number."""
        return hashlib.sha256(b"uin%d" % voter).digest()[:16]

    def reference(self, number: int) -> str:
        """A small number as a reference."""
        symbols = SYMBOLS[number // 32 % 32] + SYMBOLS[number % 32]
        return f"0000-0000-0000-00{symbols}"

    def call(self, function: str, shard: int, *args: bytes | str | int) -> Command:
        """A call of the gate."""
        return ("FCALL", function, 9, *self.keys[shard], *args)

    def stream(self, which: int) -> str:
        """A votes or attempts stream of a shard."""
        return self.keys[which % SHARDS][4 + which // SHARDS % 2]

    def entry(self, stream: str, number: int) -> bytes:
        """An entry that is in the stream, or the last one that was, or none that ever was."""
        found = self.model.data.get(stream.encode())
        ids = getattr(found, "ids", [])
        if not ids or number % (len(ids) + 2) == len(ids):
            return written(getattr(found, "last", (5, 5)))
        place = number % (len(ids) + 2)
        return b"1-1" if place > len(ids) else written(ids[place])

    def fresh(self) -> str:
        """A reference that was not drawn before in this run."""
        self.drawn += 1
        return self.reference(self.drawn)

    def commands(self, op: Op) -> list[Command]:
        """The commands of an operation."""
        return OPERATIONS[op[0]][0](self, *op[1:])


def _vote(script: Script, voter: int, code: int, device: int, again: int | None) -> list[bytes | str]:
    reference = script.fresh() if again is None else script.reference(again)
    identity, sealed = bytes([device]) * 16, bytes([device]) * 32
    return [script.digest(voter, code), identity, reference, b"record", sealed, b"address%d" % device]


def _cast(script: Script, shard: int, votes: list[tuple[int, int, int, int | None]]) -> list[Command]:
    args = [part for vote in votes for part in _vote(script, *vote)]
    return [script.call("ballot_cast", shard, *args)]


def _access(script: Script, shard: int, tries: list[tuple[int, int]]) -> list[Command]:
    args = [part for voter, code in tries for part in (script.digest(voter, code), b"ip")]
    return [script.call("ballot_access", shard, *args)]


def _flood(script: Script, shard: int, voter: int, code: int) -> list[Command]:
    return [script.call("ballot_access", shard, *([script.digest(voter, code), b"flood"] * MANY))]


def _issue(script: Script, shard: int, codes: list[tuple[int, int, int]]) -> list[Command]:
    args = [
        part
        for voter, code, owner in codes
        for part in (script.digest(voter, code), script.uin(owner), b"espx"[code % 4 : code % 4 + 1])
    ]
    return [script.call("ballot_issue", shard, *args)]


def _release(script: Script, shard: int, voter: int, number: int) -> list[Command]:
    return [script.call("ballot_release", shard, script.uin(voter), script.reference(number))]


def _return(script: Script, shard: int, papers: list[tuple[int, str, int]]) -> list[Command]:
    args = [
        part for voter, method, hour in papers for part in (script.uin(voter), method, str(hour * HOUR_US))
    ]
    return [script.call("ballot_return", shard, *args)]


def _arm(script: Script, shard: int, opens: int, closes: int) -> list[Command]:
    times = (BEGIN_US + opens * HOUR_US, BEGIN_US + closes * HOUR_US)
    return [script.call("ballot_arm", shard, *map(str, times))]


def _odd(script: Script, function: str, args: list[bytes]) -> list[Command]:
    return [script.call(f"ballot_{function}", 0, *args)]


def _look(script: Script, shard: int) -> list[Command]:
    voters = [script.uin(voter) for voter in range(VOTERS)]
    return [script.call("ballot_state", shard), script.call("ballot_voted", shard, *voters)]


def _read(script: Script, name: int, count: int, streams: list[int]) -> list[Command]:
    keys = [script.stream(each) for each in dict.fromkeys(streams)]
    where = ("STREAMS", *keys, *([">"] * len(keys)))
    return [("XREADGROUP", "GROUP", GROUP, CONSUMERS[name], "COUNT", count, *where)]


def _again(script: Script, name: int, count: int, which: int, after: int | None) -> list[Command]:
    key = script.stream(which)
    begin = b"0" if after is None else script.entry(key, after)
    return [("XREADGROUP", "GROUP", GROUP, CONSUMERS[name], "COUNT", count, "STREAMS", key, begin)]


def _acknowledge(script: Script, which: int, entries: list[int]) -> list[Command]:
    key = script.stream(which)
    ids = [script.entry(key, each) for each in entries]
    states = [part for each in ids for part in (b"r" + each, b"s")]
    references = script.keys[which % SHARDS][3]
    return [("MULTI",), ("HSET", references, *states), ("XACK", key, GROUP, *ids), ("EXEC",)]


def _remove(script: Script, which: int, entries: list[int]) -> list[Command]:
    key = script.stream(which)
    ids = [script.entry(key, each) for each in entries]
    return [("MULTI",), ("XACK", key, GROUP, *ids), ("XDEL", key, *ids), ("EXEC",)]


def _claim(script: Script, name: int, which: int, idle_ms: int, count: int) -> list[Command]:
    where = (script.stream(which), GROUP, CONSUMERS[name])
    return [("XAUTOCLAIM", *where, idle_ms, "0-0", "COUNT", count)]


def _trim(script: Script, which: int, before: int) -> list[Command]:
    key = script.stream(which)
    return [("XTRIM", key, "MINID", script.entry(key, before))]


def _sweep(script: Script, which: int, below: int, age_ms: int) -> list[Command]:
    """The trimmer's own call."""
    key = script.stream(which)
    return [("FCALL", "ballot_trim", 1, key, script.entry(key, below), age_ms)]


def _copy(script: Script, which: int, number: int) -> list[Command]:
    """An entry's fields under a new id: a junk entry, or a copied vote."""
    key = script.stream(which)
    found = script.model.data.get(key.encode())
    entry = script.entry(key, number)
    fields = next((f for i, f in getattr(found, "entries", {}).items() if written(i) == entry), (b"k", b"?"))
    return [("XADD", key, "*", *fields)]


def _ask(script: Script, which: int, number: int) -> list[Command]:
    """Every question that workers, the trimmer and the checker have."""
    key = script.stream(which)
    entry = script.entry(key, number)
    return [
        ("XINFO", "STREAM", key),
        ("XINFO", "GROUPS", key),
        ("XINFO", "CONSUMERS", key, GROUP),
        ("XPENDING", key, GROUP),
        ("XPENDING", key, GROUP, "-", "+", 3),
        ("XRANGE", key, entry, entry),
        ("XRANGE", key, b"(" + entry, "+", "COUNT", 2),
        ("XREVRANGE", key, entry, "-", "COUNT", 2),
        ("XREAD", "COUNT", 3, "STREAMS", key, entry),
        ("XLEN", key),
        ("TYPE", key),
        ("EXISTS", key, "nothing"),
    ]


def _trust(_script: Script, run: int, what: str) -> list[Command]:
    key = handoff.TRUST_KEY
    by_name: dict[str, Command] = {
        "give": ("HSET", key, f"run{run}", "1"),
        "take": ("HDEL", key, f"run{run}", "other"),
        "ask": ("HKEYS", key),
        "get": ("HMGET", key, f"run{run}", "run0"),
        "odd": ("SET", key, "an earlier version"),
        "mend": ("DEL", key),
        "count": ("HINCRBY", key, f"run{run}", 2),
        "all": ("HGETALL", key),
        "one": ("HGET", key, f"run{run}"),
    }
    return [by_name[what]]


def _group(script: Script, which: int, what: str, number: int) -> list[Command]:
    key = script.stream(which)
    name = CONSUMERS[number % len(CONSUMERS)]
    by_name: dict[str, Command] = {
        "make": ("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM"),
        "make here": ("XGROUP", "CREATE", key, GROUP, "0"),
        "rewind": ("XGROUP SETID", key, GROUP, "0", "ENTRIESREAD", "0"),
        "set": ("XGROUP", "SETID", key, GROUP, script.entry(key, number)),
        "enter": ("XGROUP", "CREATECONSUMER", key, GROUP, name),
        "leave": ("XGROUP", "DELCONSUMER", key, GROUP, name),
        "forget": ("XGROUP", "DESTROY", key, GROUP),
        "lose": ("DEL", key),
    }
    return [by_name[what]]


def _set_last(script: Script, which: int, number: int, added: int | None) -> list[Command]:
    key = script.stream(which)
    more = () if added is None else ("ENTRIESADDED", added)
    return [("XSETID", key, script.entry(key, number), *more)]


def _about(_script: Script) -> list[Command]:
    return [
        ("CONFIG", "GET", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"),
        ("FUNCTION", "LIST", "LIBRARYNAME", handoff.GATE_LIBRARY),
        ("TIME",),
        ("INFO", "replication"),
        ("INFO", "persistence"),
        ("WAIT", 0, 10),
        ("WAITAOF", 0, 0, 10),
    ]


def _wait_on(script: Script, step_us: int) -> list[Command]:
    script.now_us += step_us
    return [("TIME",)]


_shard = st.sampled_from([0, 0, 0, 1])
_which = st.sampled_from([0, 0, 0, 1, 2, 2])
_voter = st.integers(0, VOTERS - 1)
_code = st.sampled_from([0, 0, 0, 1, 9])
_number = st.integers(0, 7)
_name = st.integers(0, len(CONSUMERS) - 1)
_some = st.lists(_number, min_size=1, max_size=3)
_device = st.integers(1, 2)

OPERATIONS: Final[dict[str, tuple[Callable[..., list[Command]], tuple[Any, ...]]]] = {
    "cast": (
        _cast,
        (_shard, st.lists(st.tuples(_voter, _code, _device, st.none() | _number), min_size=1, max_size=4)),
    ),
    "access": (_access, (_shard, st.lists(st.tuples(_voter, _code), min_size=1, max_size=3))),
    "flood": (_flood, (_shard, _voter, _code)),
    "issue": (_issue, (_shard, st.lists(st.tuples(_voter, _code, _voter), min_size=1, max_size=3))),
    "revoke": (
        lambda s, shard, v, c: [s.call("ballot_revoke", shard, s.digest(v, c))],
        (_shard, _voter, _code),
    ),
    "return": (
        _return,
        (
            _shard,
            st.lists(
                st.tuples(_voter, st.sampled_from(["postal", "workplace"]), st.integers(1, 2)),
                min_size=1,
                max_size=2,
            ),
        ),
    ),
    "release": (_release, (_shard, _voter, _number)),
    "closes": (
        lambda s, shard, h: [s.call("ballot_set_closes", shard, str(BEGIN_US + h * HOUR_US))],
        (_shard, st.integers(-1, 3)),
    ),
    "arm": (_arm, (_shard, st.integers(-1, 1), st.integers(1, 2))),
    "latch": (lambda s, shard: [s.call("ballot_latch", shard)], (_shard,)),
    "odd": (
        _odd,
        (
            st.sampled_from(["cast", "access", "arm", "issue", "revoke", "return", "release", "nothing"]),
            st.lists(st.sampled_from([b"", b"x", b"d" * 32, b"u" * 16, b"postal", b"17"]), max_size=6),
        ),
    ),
    "look": (_look, (_shard,)),
    "read": (_read, (_name, st.integers(1, 4), st.lists(_which, min_size=1, max_size=2))),
    "again": (_again, (_name, st.integers(1, 4), _which, st.none() | _number)),
    "acknowledge": (_acknowledge, (_which, _some)),
    "remove": (_remove, (_which, _some)),
    "claim": (_claim, (_name, _which, st.sampled_from([0, 1, 5_000]), st.integers(1, 3))),
    "trim": (_trim, (_which, _number)),
    "sweep": (_sweep, (_which, _number, st.sampled_from([0, 1_000]))),
    "copy": (_copy, (_which, _number)),
    "ask": (_ask, (_which, _number)),
    "trust": (
        _trust,
        (
            st.integers(0, 2),
            st.sampled_from(["give", "take", "ask", "get", "odd", "mend", "count", "all", "one"]),
        ),
    ),
    "group": (
        _group,
        (
            _which,
            st.sampled_from(["make", "make here", "rewind", "set", "enter", "leave", "forget", "lose"]),
            _number,
        ),
    ),
    "last": (_set_last, (_which, _number, st.none() | st.integers(0, 9))),
    "about": (_about, ()),
    "wait": (
        _wait_on,
        (st.sampled_from([0, 1, 1_000, 2_500_000, 6_000_000, 61_000_000, HOUR_US, -1_500_000]),),
    ),
}

RARE: Final = frozenset({"flood", "about", "odd", "last"})
USUAL: Final = [name for name in OPERATIONS if name not in RARE]
WEIGHTS: Final = [*USUAL, *USUAL, *(["cast", "read", "acknowledge", "ask"] * 4), *sorted(RARE)]
OPERATION: Final = st.sampled_from(WEIGHTS).flatmap(
    lambda name: st.tuples(st.just(name), *OPERATIONS[name][1])
)
STREAM_OPERATION: Final = st.sampled_from(
    [
        "copy",
        "copy",
        "copy",
        "read",
        "again",
        "claim",
        "acknowledge",
        "remove",
        "trim",
        "sweep",
        "group",
        "last",
        "ask",
    ]
).flatmap(lambda name: st.tuples(st.just(name), *OPERATIONS[name][1]))
"""The same for streams alone: what trims, deletions and rewinds leave of a group's counts."""

BEGINNING: Final[list[Op]] = [
    ("arm", 0, 0, 1),
    ("arm", 1, -1, 2),
    ("issue", 0, [(voter, 0, voter) for voter in range(VOTERS)]),
    ("issue", 1, [(voter, 0, voter) for voter in range(VOTERS)]),
    *(("group", which, "make", 0) for which in range(4)),
]
"""What nearly every run begins with: an open ballot, codes, groups."""
