"""A home of its own with a ballot, backups of all three, a line written at each step; then everything stops.

Each test restores into a copy of it, so that none sees what another did.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from ballot.encoding import format_time
from ops.backup import keys
from ops.backup.cluster import ClusterSource
from ops.backup.place import Place
from ops.backup.postgres import Manner
from ops.backup.restore import restore
from ops.backup.restore_cluster import ask
from ops.backup.serve import make
from ops.backup.wal import WalArchive
from runtime import postgres
from runtime.addresses import OWNER
from runtime.home import Home
from runtime.postgres_server import PostgresServer
from runtime.servers import Servers, servers
from tests.benchmarks import million
from tests.benchmarks.filling import Filling, Wanted
from tests.conftest import ballot_command, environment_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest
    from click.testing import Result

    from ops.backup.catalogue import Entry
    from ops.backup.keys import What

WAIT_S = 30.0
BALLOT = "r-1"
ROLL = 24
VOTERS = 12
"""Of them these have voted."""
LATE = 5
KINDS = (
    "SELECT coalesce(string_agg(kind, ' ' ORDER BY seq), '') AS answer FROM ballot.events WHERE actor = '{}'"
)

COMMAND_WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Ground:
    """A home, where its backups are, and the medium with the private halves."""

    home: Home
    target: Path
    medium: Path

    @property
    def env(self) -> dict[str, str]:
        """What our commands are run with."""
        return {**environment_for(self.home.path), "BALLOT_BACKUP": str(self.target)}

    def key(self, what: What) -> Path:
        """The private half of one key."""
        return keys.private_file(self.medium, what)

    def restore(self, what: What, *options: str | Path, key: Path | None = None) -> Result:
        """Run `ballot backup restore` in this process."""
        arguments = [what, "--key", str(key or self.key(what)), *map(str, options)]
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            return CliRunner().invoke(restore, arguments, catch_exceptions=False)
        finally:
            os.environ.clear()
            os.environ.update(before)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ballot …` to its end."""
        return subprocess.run(
            [ballot_command(), *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_WAIT_S,
        )

    def rig_events(self, cluster_home: Home | None = None, *, actor: str = "rig") -> list[str]:
        """The rig's own lines in a stopped voterdb, in order."""
        (answer,) = ask(PostgresServer(cluster_home or self.home, "voterdb"), KINDS.format(actor))
        return answer.split()

    def changed(self) -> dict[str, tuple[int, float]]:
        """What tells whether anything in the data directories was put in another's place or touched."""
        found = {}
        for path in sorted(self.home.data.iterdir()):
            stat = path.stat()
            found[path.name] = (stat.st_ino, stat.st_mtime)
        return found


@dataclass(frozen=True, slots=True)
class Origin:
    """What every test copies: stopped, with the moments and backups that the tests ask for."""

    ground: Ground
    full: Entry
    incremental: Entry
    between: str
    """After the line `before`, before the line `after`; both are later than the last base backup."""
    no_vote: str
    """After the full backup, before the first vote."""
    later: str
    """After the line `after`, before the line `last`."""
    unspent: tuple[str, ...]
    """The codes of those who have not voted."""
    receipts: Path
    """Of those who have."""
    late: str
    """After the line `late-4` of five, each at the end of a segment; all five were sealed at once, later."""

    def copied(self, directory: Path, *started: str) -> Ground:
        """A home and a target of a test's own, in which only the servers named in `started` may be started.

        What is never written to in place is not copied, only linked: whoever alters it unlinks it first.
        """
        home, target = directory / "home", directory / "target"
        unused = tuple(name for name in ("voterdb", "userdb", "valkey") if name not in started)
        shutil.copytree(
            self.ground.home.path, home, ignore=lambda at, _: unused if at.endswith("data") else ()
        )
        for name in unused:
            shutil.copytree(self.ground.home.data / name, home / "data" / name, copy_function=os.link)
        shutil.copytree(self.ground.target, target, copy_function=_linked_or_copied)
        return Ground(Home(home), target, self.ground.medium)


def _linked_or_copied(source: str, target: str) -> None:
    (os.link if source.endswith(".sealed") else shutil.copyfile)(source, target)


_made: list[Origin] = []


def the_origin(directories: pytest.TempPathFactory) -> Origin:
    """Made once a process, for whichever module asks."""
    if not _made:
        _made.append(_make(directories.mktemp("origin")))
    return _made[0]


def _make(directory: Path) -> Origin:
    """Lines `full`, `added`, `before`, `after`, `last`: the last is in the spool, in no sealed segment."""
    home = Home(directory / "home")
    home.make()
    target, medium = directory / "target", directory / "medium"
    target.mkdir()
    keys.make(home, medium)
    ground = Ground(home, target, medium)
    with servers(home, {}) as running:
        codes = million.set_up(ground.env, directory, BALLOT, votes=ROLL, shards="1", seconds={})
        (everyone,) = million.batches(codes)
        receipts = directory / "receipts.jsonl"
        with receiving(ground, running) as archive:
            write(running, "full")
            full = back_up(ground, running, "voterdb", full=True)
            back_up(ground, running, "userdb", full=True)
            back_up(ground, running, "queue")
            no_vote = _now()
        late = _while_the_target_was_away(running)
        with receiving(ground, running) as archive:
            until(lambda: len(list((target / "voterdb").glob("*-wal-*.sealed"))) >= LATE)
            _some_vote(home, running, everyone[:VOTERS], receipts)
            write(running, "added")
            incremental = back_up(ground, running, "voterdb")
            write(running, "before")
            between = _now()
            write(running, "after")
            later = _now()
            switch(running, archive, ground)
            write(running, "last")
            until(lambda: b"last" in _spooled(archive))
    unspent = tuple(everyone[VOTERS:])
    return Origin(ground, full, incremental, between, no_vote, later, unspent, receipts, late)


def _while_the_target_was_away(running: Servers) -> str:
    """Nobody receives: each line fills a segment, and the next one comes later; after the last but one."""
    moments = []
    for number in range(1, LATE + 1):
        write(running, f"late-{number}", actor="late")
        moments.append(_now())
        ClusterSource(running, "voterdb").switch_wal(None)
    return moments[-2]


def _some_vote(home: Home, running: Servers, codes: list[str], receipts: Path) -> None:
    wanted = Wanted(BALLOT, len(codes), 1, jobs=1, entries=True, receipts=receipts)
    asyncio.run(Filling(home, running, wanted, advance=lambda _: None).fill(iter([codes])))


def _now() -> str:
    return format_time(time.time_ns() // 1000, decimals=6)


def back_up(ground: Ground, running: Servers, what: What, *, full: bool = False) -> Entry:
    """Make a backup as the commands do."""
    place = Place.of(ground.home, what, ground.target)
    return make(place, running, full=full, manner=Manner(), wait_s=WAIT_S)


def write(running: Servers, kind: str, *, actor: str = "rig") -> None:
    """Write one line into voterdb's audit log."""

    async def run() -> None:
        connection = await postgres.connect(running, "voterdb", OWNER)
        try:
            await connection.execute("INSERT INTO ballot.events (kind, actor) VALUES ($1, $2)", kind, actor)
        finally:
            await connection.close()

    asyncio.run(run())


@contextmanager
def receiving(ground: Ground, running: Servers) -> Iterator[WalArchive]:
    """Receive and seal voterdb's WAL while the block runs."""
    archive = WalArchive(Place.of(ground.home, "voterdb", ground.target), ClusterSource(running, "voterdb"))
    stop = threading.Event()
    thread = threading.Thread(target=archive.run, args=(stop,))
    thread.start()
    try:
        assert archive.receiving.wait(WAIT_S)
        yield archive
    finally:
        stop.set()
        thread.join()


def switch(running: Servers, archive: WalArchive, ground: Ground) -> None:
    """Have the segment that is being written finished, and wait until it is sealed."""
    sealed = len(list((ground.target / "voterdb").glob("*-wal-*")))
    ClusterSource(running, "voterdb").switch_wal(None)
    until(lambda: len(list((ground.target / "voterdb").glob("*-wal-*.sealed"))) > sealed)


def _spooled(archive: WalArchive) -> bytes:
    return b"".join(path.read_bytes() for path in archive.spool.glob("*.partial"))


def until(condition: Any) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def report_of(ground: Ground) -> dict[str, Any]:
    """The last report that was kept."""
    newest = max(ground.home.recovery.glob("*-restore-*.json"))
    found: dict[str, Any] = json.loads(newest.read_text())
    return found
