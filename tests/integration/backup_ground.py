"""A home with backup keys and a target, for backups of servers that run already."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ops.backup import keys, marker
from ops.backup.opening import open_sealed
from ops.backup.place import Place
from ops.backup.postgres import Manner
from ops.backup.serve import make
from runtime.addresses import OWNER
from runtime.home import Home
from runtime.postgres import connect
from tests.conftest import Stack, ballot_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ops.backup.catalogue import Entry
    from ops.backup.keys import What
    from runtime.addresses import Cluster
    from runtime.servers import Servers

T = TypeVar("T")
EVENTS: dict[Cluster, str] = {
    "voterdb": "SELECT kind, detail FROM ballot.events WHERE kind LIKE 'backup.%' ORDER BY seq",
    "userdb": "SELECT kind, detail FROM people.events WHERE kind LIKE 'backup.%' ORDER BY seq",
}
NOTES: dict[Cluster, str] = {
    "voterdb": "INSERT INTO ballot.events (kind, actor, detail) VALUES ('test', 'test', to_jsonb($1::text))",
    "userdb": "INSERT INTO people.events (kind, actor, detail) VALUES ('test', 'test', to_jsonb($1::text))",
}
WAIT_S = 30.0
COMMAND_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Ground:
    """Backups of the session's servers, listed in a home of their own."""

    stack: Stack
    home: Home
    target: Path
    medium: Path

    @classmethod
    def make(cls, stack: Stack, directory: Path) -> Ground:
        """Make home, keys and target in `directory`."""
        home = Home(directory / "home")
        home.make()
        target, medium = directory / "target", directory / "medium"
        target.mkdir()
        keys.make(home, medium)
        marker.claim(home, target)
        return cls(stack, home, target, medium)

    @property
    def servers(self) -> Servers:
        """The servers that are backed up."""
        return self.stack.servers

    def place(self, what: What) -> Place:
        """Where backups of `what` are."""
        return Place.of(self.home, what, self.target)

    def back_up(
        self,
        what: What,
        *,
        full: bool = False,
        manner: Manner | None = None,
        place: Place | None = None,
        wait_s: float = WAIT_S,
    ) -> Entry:
        """Make a backup as the commands do."""
        chosen = place or self.place(what)
        return make(chosen, self.servers, full=full, manner=manner or Manner(), wait_s=wait_s)

    @property
    def env(self) -> dict[str, str]:
        """An environment in which `ballot backup` finds the session's servers, this home and this target."""
        found = {**self.stack.env, "BALLOT_BACKUP": str(self.target)}
        for (
            what
        ) in keys.WHATS:  # the commands know the session's home only: it gets these keys and this target
            copy = keys.public_file(self.stack.home, what)
            copy.write_bytes(keys.public_file(self.home, what).read_bytes())
        shutil.copy(self.home.backup / marker.NOTE, self.stack.home.backup / marker.NOTE)
        return found

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ballot backup …` to its end."""
        try:
            return subprocess.run(
                [ballot_command(), "backup", *arguments],
                env=self.env,
                capture_output=True,
                text=True,
                check=False,
                timeout=COMMAND_WAIT_S,
            )
        finally:
            self._note_its_turn()

    def _note_its_turn(self) -> None:
        """Two homes stand for one here: what one notes of the target the other knows."""
        shutil.copy(self.stack.home.backup / marker.NOTE, self.home.backup / marker.NOTE)

    @contextmanager
    def command(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run `ballot backup …` while the block runs."""
        child = subprocess.Popen(
            [ballot_command(), "backup", *arguments],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait(WAIT_S)
            self._note_its_turn()

    def wait_for(self, what: Callable[[], T | None]) -> T:
        """Return what `what` returns once it is something, at most half a minute later."""
        deadline = time.monotonic() + WAIT_S
        while not (found := what()):
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(0.01)
        return found


@pytest.fixture(name="ground")
def ground(stack: Stack, tmp_path: Path) -> Iterator[Ground]:
    """A home with keys, and a target, for backups of the session's servers; they forget us afterwards."""
    made = Ground.make(stack, tmp_path)
    yield made
    for path in stack.home.backup.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def opened(ground: Ground, what: What, entry: Entry, *, joined: bool = False) -> Iterator[bytes]:
    """The content of a backup, by the private half; in one piece when `joined`."""
    key = keys.read_private(keys.private_file(ground.medium, what))
    with (ground.target / what / entry.file).open("rb") as file:
        _, content = open_sealed(file, key)
        if joined:
            yield b"".join(content)
        else:
            yield from content


def run_sql(ground: Ground, cluster: Cluster, statement: str, *values: object) -> list[Any]:
    """Run one statement as the owner; its rows."""

    async def run() -> list[Any]:
        connection = await connect(ground.servers, cluster, OWNER)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(run())
