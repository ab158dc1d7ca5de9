"""Queues of several servers for a test to break: a Cluster, or a primary with replicas, all on loopback.

Every server runs the embedded binary with the settings of production, with our users on each of them and our
functions on the primaries. Whatever the test did to them, they are gone when the block ends.
"""

from __future__ import annotations

import secrets
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis
from redis.crc import key_slot

from ballot import handoff
from runtime import home as home_files
from runtime import ports, processes
from runtime.addresses import ADMIN, REPLICA, ValkeyAddress
from runtime.preparation import admin_client, load_functions, users_acl
from runtime.valkey_server import SETTINGS, ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runtime.home import Home

BUS = 10_000  # a Cluster's nodes talk to each other on the port so much higher
SLOTS = 16_384
NODE_TIMEOUT_MS = 1_500
WELL_S = 60.0
POLL_S = 0.02
CLUSTER = {
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
    # Where a part of the slots has no primary, the others go on; a replica never moves to another primary.
    "cluster-require-full-coverage": "no",
    "cluster-allow-replica-migration": "no",
    "cluster-replica-validity-factor": "0",
}
MOVER = "mover"
MOVER_RULES = (
    *("on", "resetchannels", "~*", "-@all", "+@write", "-flushall", "-flushdb", "+select", "+ping"),
    *("+multi", "+exec", "+cluster|syncslots", "+psync", "+replconf"),
)
QUICK = {"repl-diskless-sync-delay": "0", "repl-ping-replica-period": "1"}


@dataclass(slots=True, eq=False)
class Node:
    """One server: its place, its process, and how to talk to it as `admin`."""

    home: Home
    port: int
    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    inside: Sequence[str] = ()
    process: processes.Process | None = None
    host = ports.LOOPBACK

    @property
    def pid(self) -> int:
        """The process id of its present life."""
        assert self.process is not None
        return self.process.pid

    @property
    def role(self) -> str:
        """`primary` or `replica`, as it says itself."""
        return "primary" if self.ask("ROLE")[0] == b"master" else "replica"

    @property
    def run(self) -> str:
        """By what workers vouch for it."""
        answer: str = self.ask("INFO", "server", "replication").decode()
        found = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
        return handoff.run_name(found["run_id"], found["master_replid"])

    @property
    def address(self) -> ValkeyAddress:
        """Where it is, as one server."""
        return ValkeyAddress(self.host, self.port)

    def start(self) -> None:
        """Start it on what its directory holds, and return when it answers."""
        self.directory.mkdir(mode=0o700, exist_ok=True)
        users = self.directory / "users.acl"
        home_files.replace(users, users_acl(self.home))
        password = self.home.password(f"valkey-{REPLICA}").reveal()
        own = {"port": str(self.port), "dir": str(self.directory), "aclfile": str(users)}
        login = {"masteruser": REPLICA, "masterauth": password}
        settings = {**SETTINGS, **QUICK, **own, **login, **self.settings}
        home_files.replace(
            self.directory / "valkey.conf", "".join(f"{name} {value}\n" for name, value in settings.items())
        )
        command = [*self.inside, str(ValkeyServer(self.home).executable), str(self.directory / "valkey.conf")]
        self.process = processes.spawn(command, log=self.directory / "log", directory=self.directory)
        until(self.answers, f"the server on port {self.port} to answer")

    def answers(self) -> bool:
        """Whether it answers; a server that has died is nothing to wait for."""
        assert self.process is not None
        assert self.process.alive, (self.directory / "log").read_text("utf-8", "replace")[-2000:]
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def ask(self, *command: str | bytes | float) -> Any:
        """The answer to one command, given by `admin` on a connection of its own."""
        password = self.home.password(f"valkey-{ADMIN}")
        with admin_client(self.address, user=ADMIN, password=password) as client:
            client.response_callbacks.clear()  # the answer as it is, not as the library reads it
            return client.execute_command(*command)

    def send(self, number: signal.Signals) -> None:
        """Signal it; after SIGKILL, return when it is gone."""
        if self.process is not None:
            processes.send(self.process, number)
            if number == signal.SIGKILL:
                processes.wait_gone(self.process, WELL_S)


@dataclass(slots=True)
class Rig:
    """The servers of one queue. In a Cluster the first `primaries` of `nodes` began as primaries."""

    home: Home
    nodes: list[Node]
    replicas: int
    cluster: bool

    @property
    def url(self) -> str:
        """What BALLOT_VALKEY_URL is to say; users and passwords are the home's."""
        if not self.cluster:
            return f"valkey://{self.nodes[0].host}:{self.nodes[0].port}"
        return f"valkey-cluster://{','.join(f'{node.host}:{node.port}' for node in self.nodes)}"

    @property
    def alive(self) -> list[Node]:
        """The nodes whose process runs (a stopped one does)."""
        return [node for node in self.nodes if node.process is not None and node.process.alive]

    def primaries(self) -> list[Node]:
        """Those that say they are primaries now."""
        return [node for node in self.alive if node.role == "primary"]

    def replicas_of(self, primary: Node) -> list[Node]:
        """The nodes that replicate from `primary`, as they say themselves."""
        found = []
        for node in self.alive:
            role = node.ask("ROLE") if node is not primary else [b"master"]
            if role[0] == b"slave" and int(role[2]) == primary.port:
                found.append(node)
        return found

    def owner(self, key: str) -> Node:
        """The primary that holds a key now, as the primaries say."""
        for node in self.primaries():
            for low, high, primary, *_ in node.ask("CLUSTER SLOTS") if self.cluster else []:
                if low <= key_slot(key.encode()) <= high and primary[1] == node.port:
                    return node
        assert not self.cluster, f"nobody holds {key}"
        return self.primaries()[0]

    def kill(self, node: Node) -> None:
        """SIGKILL; returns when it is gone."""
        node.send(signal.SIGKILL)

    def stop(self, node: Node) -> None:
        """SIGSTOP: it keeps its connections and answers nobody."""
        node.send(signal.SIGSTOP)

    def resume(self, node: Node) -> None:
        """SIGCONT."""
        node.send(signal.SIGCONT)

    def restart(self, node: Node) -> None:
        """Start a killed node again on its own data; it finds its place in the Cluster by itself."""
        node.start()

    def promote(self, replica: Node) -> None:
        """Make a replica a primary, whether its primary is there or not."""
        if self.cluster:
            replica.ask("CLUSTER FAILOVER", "TAKEOVER")
        else:
            replica.ask("REPLICAOF", "NO", "ONE")
        until(lambda: replica.role == "primary", f"the replica on port {replica.port} to be a primary")

    def migrate_slots(self, source: Node, target: Node, low: int, high: int) -> None:
        """Move slots between primaries while they are used; returns when every node has heard of it.

        What the source hands over, the target carries out as commands of the source's `masteruser`. So there
        is a user for it, with a password of its own, only while slots move.
        """
        name = target.ask("CLUSTER MYID").decode()
        password = secrets.token_hex(32)
        target.ask("ACL SETUSER", MOVER, "reset", *MOVER_RULES, f">{password}")
        source.ask("CONFIG SET", "masteruser", MOVER, "masterauth", password)
        try:
            source.ask("CLUSTER MIGRATESLOTS", "SLOTSRANGE", low, high, "NODE", name)
            until(
                lambda: all(_holder(node, low) == _holder(node, high) == target.port for node in self.alive),
                f"slots {low} to {high} to move",
            )
        finally:
            replica = self.home.password(f"valkey-{REPLICA}").reveal()
            source.ask("CONFIG SET", "masteruser", REPLICA, "masterauth", replica)
            target.ask("ACL DELUSER", MOVER)

    def wait_well(self) -> None:
        """Return once each slot has its primary, and all a primary has is on its replicas' disks."""
        until(self._well, "the servers to be well")

    def _well(self) -> bool:
        try:
            if self.cluster and not all(_is_whole(node, len(self.nodes)) for node in self.nodes):
                return False
            holders = self.primaries()
            return len(holders) * (1 + self.replicas) == len(self.nodes) and all(
                self._replicated(node) for node in holders
            )
        except (redis.RedisError, AssertionError):
            return False

    def _replicated(self, primary: Node) -> bool:
        """Whether a write of its own reaches every replica's disk."""
        held = _slots_of(primary) if self.cluster else range(SLOTS)
        key = next(f"rig:{number}" for number in range(10 * SLOTS) if key_slot(b"rig:%d" % number) in held)
        password = self.home.password(f"valkey-{ADMIN}")
        with admin_client(primary.address, user=ADMIN, password=password) as client:
            pipe = client.pipeline(transaction=False)
            pipe.execute_command("SET", key, "1")
            pipe.execute_command("DEL", key)
            pipe.execute_command("WAITAOF", 1, self.replicas, 1_000)
            local, replicas = pipe.execute()[-1]
        return bool(local == 1 and replicas == self.replicas)


@contextmanager
def cluster(
    home: Home,
    directory: Path,
    *,
    primaries: int = 3,
    replicas: int = 1,
    inside: Callable[[int], Sequence[str]] = lambda _number: (),
) -> Iterator[Rig]:
    """A Cluster, whole and replicated; its users' passwords are those of `home`.

    What `inside` gives goes before the command of the node of that number.
    """
    count = primaries * (1 + replicas)
    with _running(home, directory, count, settings=CLUSTER, inside=inside) as nodes:
        rig = Rig(home, nodes, replicas, cluster=True)
        _form(nodes, primaries)
        rig.wait_well()
        for node in rig.primaries():
            load_functions(node.address, user=ADMIN, password=home.password(f"valkey-{ADMIN}"))
        rig.wait_well()
        yield rig


@contextmanager
def replicated(home: Home, directory: Path, *, replicas: int = 1) -> Iterator[Rig]:
    """A primary with replicas and no Cluster; nobody promotes a replica but the test."""
    with _running(home, directory, 1 + replicas, settings={}) as nodes:
        rig = Rig(home, nodes, replicas, cluster=False)
        load_functions(nodes[0].address, user=ADMIN, password=home.password(f"valkey-{ADMIN}"))
        for node in nodes[1:]:
            node.ask("REPLICAOF", nodes[0].host, nodes[0].port)
        rig.wait_well()
        yield rig


@contextmanager
def _running(
    home: Home,
    directory: Path,
    count: int,
    *,
    settings: dict[str, str],
    inside: Callable[[int], Sequence[str]] = lambda _number: (),
) -> Iterator[list[Node]]:
    nodes: list[Node] = []
    try:
        for number in range(count):
            port = _free_port(taken={node.port for node in nodes})
            nodes.append(Node(home, port, directory / f"valkey-{port}", dict(settings), inside(number)))
            nodes[-1].start()
        yield nodes
    finally:
        for node in nodes:
            node.send(signal.SIGKILL)


def _form(nodes: Sequence[Node], primaries: int) -> None:
    """Give the first nodes the slots and make the others their replicas, in turn."""
    for number, node in enumerate(nodes[:primaries]):
        low, high = SLOTS * number // primaries, SLOTS * (number + 1) // primaries - 1
        node.ask("CLUSTER SET-CONFIG-EPOCH", number + 1)
        node.ask("CLUSTER ADDSLOTSRANGE", low, high)
    for node in nodes[1:]:
        nodes[0].ask("CLUSTER MEET", node.host, node.port)
    names = [node.ask("CLUSTER MYID").decode() for node in nodes]
    for number, node in enumerate(nodes[primaries:]):
        until(lambda node=node: _knows(node, names), "the nodes to know each other")  # type: ignore[misc]
        node.ask("CLUSTER REPLICATE", names[number % primaries])


def _knows(node: Node, names: Sequence[str]) -> bool:
    lines = node.ask("CLUSTER NODES").decode().splitlines()
    known = {line.split()[0] for line in lines if "handshake" not in line}
    return known == set(names)


def _is_whole(node: Node, nodes: int) -> bool:
    info = dict(line.split(":", 1) for line in node.ask("CLUSTER INFO").decode().split())
    return (info["cluster_state"], info["cluster_slots_ok"], info["cluster_known_nodes"]) == (
        "ok",
        str(SLOTS),
        str(nodes),
    )


def _holder(node: Node, slot: int) -> int | None:
    """The port of the primary that holds a slot, as `node` knows."""
    for low, high, primary, *_ in node.ask("CLUSTER SLOTS"):
        if low <= slot <= high:
            return int(primary[1])
    return None


def _slots_of(node: Node) -> range:
    """The first range of slots that a primary holds."""
    return next(
        range(low, high + 1)
        for low, high, primary, *_ in node.ask("CLUSTER SLOTS")
        if primary[1] == node.port
    )


def _free_port(taken: set[int]) -> int:
    port = ports.draw(taken={*taken})
    return port if ports.is_free(port + BUS) else _free_port(taken)


def until(there: Callable[[], bool], what: str, *, seconds: float = WELL_S) -> None:
    """Return once `there` gives true."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(POLL_S)
