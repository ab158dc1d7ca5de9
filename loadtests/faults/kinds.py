"""Every kind of fault the harness can do, by name: what it breaks, how, and how many processes it kills.

A name is `DEED-WHAT`, such as `kill-worker` or `reset-queue`; `+` joins parts that break at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

EDGE, EDGE_CHILD = "edge", "edge-process"
WORKER, MONITOR, VALKEY, VOTERDB = "worker", "monitor", "valkey", "voterdb"
DATABASE_CHILD = "voterdb-process"
VOTERS, QUEUE = "voters", "queue"
LINKS = (VOTERS, QUEUE, VOTERDB)
"""Between voters and edge, between the queue and all who use it, between `voterdb` and all who use it."""


class UnknownKind(ValueError):  # noqa: N818  # a mistake on the command line
    """What was asked for is no kind of fault, in one sentence."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: the `deed` to do to all `parts` at once."""

    deed: str
    parts: tuple[str, ...]
    what: str
    often: int = 1
    optional: bool = False

    @property
    def name(self) -> str:
        """How it is called on the command line and in the table."""
        return f"{self.deed}-{'+'.join(self.parts)}"

    @property
    def kills(self) -> int:
        """How many processes it kills with SIGKILL."""
        return {"kill": len(self.parts), "torn": 1}.get(self.deed, 0)


def _kills() -> list[Kind]:
    """SIGKILL, alone and in pairs."""
    alone = (EDGE, EDGE_CHILD, WORKER, MONITOR, VALKEY, VOTERDB, DATABASE_CHILD)
    pairs = (
        (VALKEY, WORKER),
        (VALKEY, EDGE),
        (VALKEY, VOTERDB),
        (VOTERDB, WORKER),
        (EDGE_CHILD, WORKER),
        (EDGE, MONITOR),
    )
    often = {EDGE_CHILD: 2, WORKER: 2, VALKEY: 2}
    return [
        *(Kind("kill", (part,), "SIGKILL", often=often.get(part, 1)) for part in alone),
        *(Kind("kill", pair, "SIGKILL of both at once") for pair in pairs),
    ]


KINDS: tuple[Kind, ...] = (
    *_kills(),
    *(
        Kind("freeze", (part,), "SIGSTOP, and SIGCONT some seconds later")
        for part in (EDGE, EDGE_CHILD, WORKER, MONITOR, VALKEY, VOTERDB)
    ),
    *(
        Kind("restart", (part,), "asked to end; the supervisor starts it again")
        for part in (EDGE, WORKER, MONITOR, VALKEY, VOTERDB)
    ),
    Kind("replace", (EDGE,), "SIGHUP: new edge processes take the old ones' places"),
    *(Kind("reset", (link,), "a part of the connections, or all, are reset") for link in LINKS),
    *(Kind("slow", (link,), "every message is some tenths of a second late") for link in LINKS),
    *(Kind("hold", (link,), "nothing passes for some seconds, then all of it does") for link in LINKS),
    *(Kind("swallow", (link,), "what is sent is lost, then the connection") for link in LINKS),
    Kind("limit", (VALKEY,), "its file may not grow: it ends in the middle of a write"),
    Kind("limit", (VOTERDB,), "its files may not grow: every write fails"),
    Kind("torn", (VALKEY,), "SIGKILL, and half a command at the end of its append-only file"),
    Kind("away", (VOTERDB,), "stopped, and started again only some seconds later"),
    Kind("junk", (QUEUE,), "an entry that nobody can read, in the queue of a ballot beside this one"),
    Kind("full", ("disk",), "the servers' disk, then a small one in memory, is full", optional=True),
    Kind("step", ("clock",), "the machine's clock jumps (libfaketime)", optional=True),
)


def chosen(only: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds that `only` names, by whole name or by deed; without any, all but the optional ones."""
    if not only:
        return tuple(kind for kind in KINDS if not kind.optional)
    known = {kind.name for kind in KINDS} | {kind.deed for kind in KINDS}
    if unknown := [name for name in only if name not in known]:
        raise UnknownKind(f"There is no kind of fault '{unknown[0]}'; --list shows them.")
    return tuple(kind for kind in KINDS if kind.name in only or kind.deed in only)
