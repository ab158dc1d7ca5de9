"""The deployment that faults are done to: servers in one home, all that uses them in another, relays between.

voters -> relay -> ballot up (edge, worker, monitor) -> relays -> ballot servers (queue, two clusters)
"""

import os
import re
import secrets
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from loadtests.faults import hands, servers, spoil
from loadtests.faults.hands import Freezer
from loadtests.faults.kinds import (
    DATABASE_CHILD,
    EDGE,
    EDGE_CHILD,
    MONITOR,
    QUEUE,
    VALKEY,
    VOTERDB,
    VOTERS,
    WORKER,
)
from loadtests.faults.relay import Address, Relays
from loadtests.staging.stage import (
    READY_SECONDS_MAX,
    STOP_SECONDS_MAX,
    Stage,
    StageFault,
    ballot_command,
    end,
    wait_until,
)

KEYS = ("desk", "receipts", "queue", "credential-digest", "ip", "people", "member", "complaints")
"""With configured servers nothing is made up: who sets them up makes the keys, as the README says."""

KEY_BYTES = 32
USERDB = "userdb"
EDGE_PROCESSES = 2
PATTERNS = {
    EDGE: r"ballot intake\b",
    EDGE_CHILD: r"ballot intake\b",
    WORKER: r"ballot worker\b",
    MONITOR: r"ballot monitor\b",
    VALKEY: r"valkey-server",
    VOTERDB: r"postgres\b.*voterdb",
    DATABASE_CHILD: r"postgres\b.*voterdb",
}
SERVERS = frozenset({VALKEY, VOTERDB, DATABASE_CHILD})
NOT_FIRST = frozenset({EDGE_CHILD, DATABASE_CHILD})
"""Parts that are children of the first process with their pattern."""


class Ground(Stage):
    """A stage whose servers are in a home of their own, behind relays; a context manager."""

    def __init__(self, *, keep: bool = False, folder: Path | None = None) -> None:
        super().__init__(keep=keep, folder=folder)
        self.servers_home = self.folder / "servers"
        self.servers_home.mkdir(mode=0o700, exist_ok=True)
        self.freezer = Freezer()
        self.relays = Relays()
        self._added: dict[str, str] = {}
        self._told = self.files / "servers.out"
        self._ports: dict[str, int] = {}
        self._servers: subprocess.Popen[bytes] | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        self._open.enter_context(self.relays)
        return self

    def add(self, environment: dict[str, str]) -> None:
        """Let everything that is started from here on find this in its environment too."""
        self._added |= environment

    def keep(self) -> None:
        """Leave the folder behind."""
        self._keep = True

    @property
    def env(self) -> dict[str, str]:
        """As on any stage; once the relays are there, the servers are somebody else's, behind them."""
        env = super().env | self._added
        if self._ports:
            env["BALLOT_VALKEY_URL"] = f"valkey://127.0.0.1:{self._ports[QUEUE]}"
            for variable, name in (("BALLOT_VOTERDB_URL", VOTERDB), ("BALLOT_USERDB_URL", USERDB)):
                env[variable] = f"postgresql://127.0.0.1:{self._ports[name]}/{name}?sslmode=disable"
        return env

    @property
    def voters_url(self) -> str:
        """Where the voters go: the relay in front of the edge."""
        return f"http://127.0.0.1:{self._ports[VOTERS]}"

    @property
    def servers_pid(self) -> int:
        """The process id of `ballot servers`."""
        if self._servers is None or self._servers.poll() is not None:
            raise StageFault("`ballot servers` is not running.")
        return self._servers.pid

    @property
    def data(self) -> Path:
        """The servers' data, as they see it."""
        return Path(f"/proc/{self.servers_pid}/root{self.servers_home}/data")

    def start(self, *, monitor: bool = True, small_disk: bool = False) -> None:
        """Start the servers, the relays, and `ballot up` behind them; return when votes would be taken."""
        command = [*ballot_command(), "servers"]
        if small_disk:
            (self.servers_home / "data").mkdir(mode=0o700, exist_ok=True)
            command = spoil.on_small_disk(command, self.servers_home / "data")
        self._start_servers(command)
        targets = {QUEUE: VALKEY, VOTERDB: VOTERDB, USERDB: USERDB}
        ports = {
            link: self.relays.add(link, lambda name=name: self.address(name))  # type: ignore[misc]
            for link, name in targets.items()
        }
        ports[VOTERS] = self.relays.add(VOTERS, lambda: ("127.0.0.1", self.port))
        self._ports = ports
        self._share_secrets()
        processes = ("--processes", str(EDGE_PROCESSES))
        self.up(extra=processes if monitor else (*processes, "--no-monitor"))

    def _start_servers(self, command: list[str]) -> None:
        log = self.files / "servers.err"
        env = super().env | self._added | {"BALLOT_HOME": str(self.servers_home)}
        with self._told.open("wb") as out, log.open("ab") as err:
            self._servers = subprocess.Popen(
                command,
                env=env | {"BALLOT_PARENT_PID": str(os.getpid())},  # a killed run leaves nothing behind
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )

        def ready() -> bool:
            return self.servers_pid > 0 and "ready" in self._told.read_text(encoding="utf-8").splitlines()

        wait_until(ready, seconds=READY_SECONDS_MAX, what="`ballot servers` to be ready")

    def _share_secrets(self) -> None:
        """Give the other home the servers' passwords, and keys of its own."""
        there = self.home / "secrets"
        there.mkdir(mode=0o700, exist_ok=True)
        for password in (self.servers_home / "secrets").glob("*.password"):
            shutil.copy(password, there)
        for key in KEYS:
            path = there / f"{key}.key"
            path.touch(mode=0o600)
            path.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")

    def address(self, name: str) -> Address:
        """Where the server `name` is, by the last word of `ballot servers`."""
        told = self._told.read_text(encoding="utf-8")
        found = re.findall(rf"(?m)^{name} +([\d.]+):(\d+)$", told)
        if not found:
            raise OSError(f"nobody has said where {name} is")
        host, port = found[-1]
        return host, int(port)

    def pids(self, part: str) -> list[int]:
        """The processes of a part: those that a fault can be done to."""
        root = self.servers_pid if part in SERVERS else self.up_pid
        found = hands.below(root, PATTERNS[part])
        if part in NOT_FIRST:
            return found[1:]
        return found[:1]

    def family(self, part: str) -> list[int]:
        """The processes of a part with all that it started."""
        first = self.pids(part)
        return [*first, *(below for pid in first for below in hands.descendants(pid))]

    def serves(self, part: str) -> bool:
        """Whether the part can do its work, as far as that shows from outside."""
        match part:
            case "valkey":
                return servers.valkey_answers(self.address(VALKEY)[1])
            case "voterdb" | "voterdb-process":
                return servers.postgres_answers(self.address(VOTERDB)[1])
            case "edge":
                return bool(self.pids(EDGE_CHILD)) and servers.listens(self.port)
            case _:
                return bool(self.pids(part))

    def calm(self) -> None:
        """Undo what can be undone: everything runs and everything passes."""
        self.freezer.thaw()
        self.relays.calm()

    def stop(self) -> None:
        """Stop all of it, whatever state it is in: first what uses the servers, then the servers."""
        self.freezer.thaw()
        try:
            super().stop()
        finally:
            if self._servers is not None:
                end(self._servers, seconds=STOP_SECONDS_MAX)
                self._servers = None
            self._open.close()
