"""A small deployment whose queue a test may break: databases, queue, worker and a ballot, all of its own.

Everything is real: `ballot worker` and `ballot intake` processes, codes issued by the desk's commands, and
`ballot check` at the end. The queue is kept running as the supervisor keeps it, with its back-off.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from ballot import handoff
from ballot.gate_layout import Mark
from runtime.home import Home
from runtime.servers import servers
from tests.conftest import COMMAND_WAIT_S, Stack, ballot_command, environment_for
from tests.integration import cluster_rig, deskwork
from tests.integration.intake_rig import EdgeProcess, edge, until
from tests.integration.intake_scratch import becomes
from tests.integration.queue_server import QueueServer
from tests.integration.steady_load import SteadyLoad, steady_load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ballot.vote import CastVote
    from tests.integration.cluster_rig import Rig

KEYS = ("desk", "receipts", "queue", "credential-digest", "ip", "people", "member")
OWNERS = ("voterdb-ballot_owner", "userdb-ballot_owner")
CLUSTER_SHARDS = 16
note = logging.getLogger("weather").info
"""What was measured: shown with `--log-cli-level=INFO`."""

CONFIRM_S = 2.0
LATE_S = 0.25
"""An honest 503 comes within so much of the deadline."""
BOOKS_S = 40.0


@dataclass(kw_only=True)
class Deployment:
    """The deployment and its one ballot; each voter of it is used once."""

    stack: Stack
    ballot: str = ""
    shards: int = 2
    codes: list[str] = field(default_factory=list)
    loads: list[SteadyLoad] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        """In which every process of ours finds this deployment."""
        return self.stack.env

    def run(
        self,
        *args: str | Path,
        input: str | bytes | None = None,  # noqa: A002  # as subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run the real `ballot` command here; with `check` it must succeed."""
        done = subprocess.run(
            [ballot_command(), *map(str, args)],
            input=input.decode() if isinstance(input, bytes) else input or "",
            capture_output=True,
            text=True,
            env=self.env,
            check=False,
            timeout=COMMAND_WAIT_S,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def prepare(self, ballot: str, directory: Path, *, voters: int) -> None:
        """Make the ballot with the desk's commands and open it; its window is an hour to either side."""
        self.ballot = ballot
        out = deskwork.prepare(self.run, directory, ballot, voters=voters, shards=self.shards)
        self.run("open", ballot)
        self.codes = [row["code"] for row in deskwork.read_codes(out).values()]

    def keys(self, name: Callable[[str, int], str]) -> list[str]:
        """That key of every shard; `name` is a function of `handoff`."""
        return [name(self.ballot, shard) for shard in range(self.shards)]

    def votes(self, count: int) -> Iterator[CastVote]:
        """Sealed votes of so many voters at most who have not voted yet."""
        for _ in range(count):
            yield deskwork.seal(self.stack, self.ballot, self.codes.pop(), "yes")

    @asynccontextmanager
    async def load(
        self, url: str, *, votes: int, rate: float, fresh: bool = False
    ) -> AsyncIterator[SteadyLoad]:
        """A steady load of so many votes at most; its receipts are among those that `balances` shows."""
        async with steady_load(url, self.ballot, self.votes(votes), rate=rate, fresh=fresh) as load:
            self.loads.append(load)
            yield load

    async def balances(self) -> dict[str, Any]:
        """`ballot check` finds nothing wrong with any receipt so far, all is stored, no edge met a bug."""
        receipts = [receipt for load in self.loads for receipt in load.receipts()]
        path = self.stack.home.path / "receipts.jsonl"
        path.write_text("".join(json.dumps(receipt.to_dict()) + "\n" for receipt in receipts))

        async def stored() -> dict[str, Any] | None:
            done = await asyncio.to_thread(
                self.run, "check", self.ballot, "--json", "--receipts", path, "--signatures", check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            books: dict[str, Any] = json.loads(done.stdout)["books"]
            return books if books["stored"] == books["accepted"] else None

        books: dict[str, Any] = await until(stored, seconds=BOOKS_S)
        if all(cast.status in {200, 201, 409} for load in self.loads for cast in load.casts):
            # Nobody is left, by a test that failed, who does not know whether the vote is in.
            assert books["accepted"] == len({receipt.reference for receipt in receipts})
        log = (self.stack.home.logs / "intake.log").read_text()
        assert not [line for line in log.splitlines() if '"place"' in line], "a bug, caught where it was"
        return books


@dataclass(kw_only=True)
class Weather(Deployment):
    """One with a single queue server."""

    queue: QueueServer

    def marks(self) -> list[Mark]:
        """What the gate keeps of the voters who have voted."""
        admin: Any
        with self.queue.admin() as admin:
            values = [value for key in self.keys(handoff.voted_key) for value in admin.hvals(key)]
        return [Mark.from_value(value) for value in values]


@contextmanager
def weather(
    directory: Path,
    *,
    disk: Path | None = None,
    inside: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Iterator[Weather]:
    """Databases, queue and worker; the queue's data on `disk`, its command after `inside`, in `env` too."""
    with _deployment(directory) as (home, here):
        place = disk or home.data
        queue = QueueServer(home, place, inside=inside, env={**here, **(env or {})})
        queue.start()
        # Prepared once; no command of the test's is to prepare it again, past a proxy or while it hangs.
        (home.secrets / "valkey-admin.password").unlink()
        try:
            with _working(home, here, f"redis://127.0.0.1:{queue.port}") as stack:
                yield Weather(stack=stack, queue=queue)
        finally:
            queue.end()


@contextmanager
def weather_on_a_cluster(
    directory: Path, *, primaries: int, inside: Callable[[int], Sequence[str]]
) -> Iterator[tuple[Deployment, Rig]]:
    """The same on a Cluster without replicas, `inside` as `cluster_rig.cluster` takes it."""
    with (
        _deployment(directory) as (home, here),
        cluster_rig.cluster(home, directory, primaries=primaries, replicas=0, inside=inside) as rig,
        _working(home, here, rig.url) as stack,
    ):
        yield Deployment(stack=stack, shards=CLUSTER_SHARDS), rig


@contextmanager
def _deployment(directory: Path) -> Iterator[tuple[Home, dict[str, str]]]:
    """A home with every secret, and an environment that names databases of its own."""
    there = environment_for(directory / "databases")
    databases = Home.from_environment(there)
    with servers(databases, there) as found:
        here = environment_for(directory / "home")
        home = Home.from_environment(here)
        for name in KEYS:
            home.secret(name)
        for path in databases.secrets.glob("*db-*.password"):
            shutil.copy(path, home.secrets)
        for name, port in {"voterdb": found.voterdb.port, "userdb": found.userdb.port}.items():
            here[f"BALLOT_{name.upper()}_URL"] = f"postgresql://127.0.0.1:{port}/{name}?sslmode=disable"
        yield home, here


@contextmanager
def _working(home: Home, here: dict[str, str], queue_url: str) -> Iterator[Stack]:
    """The servers as our commands find them, and a worker."""
    here["BALLOT_VALKEY_URL"] = queue_url
    for name in OWNERS:  # or every command would look for migrations first
        (home.secrets / f"{name}.password").unlink(missing_ok=True)
    with servers(home, here) as found, _worker(home, here):
        yield Stack(home, found, here)


@contextmanager
def _worker(home: Home, env: Mapping[str, str]) -> Iterator[None]:
    with (home.logs / "worker.out").open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, ballot_command(), "worker"], env=env, stdout=out, stderr=out
        )
    try:
        yield
        assert process.poll() is None, "the worker has ended"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def edge_of(
    here: Deployment, *, processes: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[EdgeProcess]:
    """An edge of this deployment with two seconds to confirm a vote in."""
    with edge(
        {**here.env, **(env or {})},
        processes=processes,
        settings={"BALLOT_CONFIRM_SECONDS": str(CONFIRM_S)},
    ) as running:
        yield running


def in_time(load: SteadyLoad) -> None:
    """Every vote got a receipt or an honest 503, no later than the deadline allows on this machine."""
    assert set(load.statuses()) <= {(201, ""), (503, "not_confirmed")}, load.statuses()
    beyond_s = load.longest(503) - CONFIRM_S
    note(f"503s {len(load.answered(503))}, longest {beyond_s:+.3f} s, lag {load.lag_s:.3f} s")
    assert beyond_s <= LATE_S + 2 * load.lag_s  # late in this process, and as late in the edge's


async def ready(here: Deployment, url: str) -> None:
    """Return when the edge takes votes and knows the ballot."""
    async with aiohttp.ClientSession(url) as web:
        await becomes(web, "ready")
        async with web.get(f"/api/v1/ballots/{here.ballot}") as response:
            assert response.status == 200
