"""`ballot recover` on a home of its own: killed at every step and run again, and on damaged files."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import pytest

from ballot import document, gate_layout, handoff
from runtime import postgres, valkey
from runtime.home import Home
from runtime.servers import Servers, servers
from tests.conftest import Stack, ballot_command, environment_for
from tests.integration.cluster_rig import until
from tests.integration.intake_rig import pinned_desk_key
from tests.integration.workers_ground import Cast, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

BALLOT = "kept-through-it-all"
WAIT_S = 120
#: Runs the command and dies, as by `kill -9`, when a function has returned, or just before it is called.
KILLED = """
import inspect, os, signal
from ops.recovery import command, merge, report
from runtime.rebuilding import Rebuilding
owner, name, before = {step}
original = getattr(owner, name)
def die():
    os.kill(os.getpid(), signal.SIGKILL)
async def later(*args, **named):
    await original(*args, **named)
    die()
def now(*args, **named):
    if not before:
        original(*args, **named)
    die()
setattr(owner, name, later if inspect.iscoroutinefunction(original) else now)
command.recover(["--json"])
"""
BETWEEN = 'Rebuilding, "_move_in", True'
STEPS = (
    'Rebuilding, "prepare", False',
    'merge, "merge", False',
    'Rebuilding, "complete", False',
    'report, "record", False',
    'report, "keep", False',
    'Rebuilding, "_move_in", False',
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A home whose queue may be broken, and its servers."""
    env = environment_for(tmp_path_factory.mktemp("recovered") / "home")
    home = Home.from_environment(env)
    with servers(home, env) as found:
        yield Stack(home, found, env)


@asynccontextmanager
async def voted(own: Stack) -> AsyncIterator[list[Cast]]:
    """Three votes: two stored, and one that waits in the queue."""
    async with ground(own, BALLOT) as made:
        desk = pinned_desk_key(own.home)
        await made.owner.execute(
            "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us, document, document_signature)"
            " VALUES ($1, 'armed', $2, $3, $4, $5)",
            BALLOT,
            made.definition.opens_us,
            made.definition.closes_us,
            made.document.canonical,
            document.sign(made.document, desk),
        )
        voters = await made.voters(3)
        verifier = Verifier(0)
        async with made.worker(verifier) as rig:
            casts = [await made.cast(voter) for voter in voters[:2]]
            await rig.drain()
        verifier.close()
        yield [*casts, await made.cast(voters[2])]
        await made.owner.execute("SET session_replication_role = replica")
        for table in ("votes", "lifecycle", "register", "electorate", "ballots"):
            await made.owner.execute(f"DELETE FROM ballot.{table} WHERE ballot = $1", BALLOT)  # noqa: S608  # ours
        await made.admin.aclose()
        made.admin = valkey.connect(own.servers, "admin")  # its port may be another one now


def stop_queue(own: Stack) -> Path:
    """`kill -9` the queue; its data directory."""
    os.kill(own.servers.processes["valkey"], signal.SIGKILL)
    until(lambda: "valkey" not in own.servers.processes, "the queue to be gone")
    return own.home.data / "valkey"


def run_recover(own: Stack, *options: str) -> dict[str, Any]:
    """`ballot recover --json`, which must succeed."""
    done = subprocess.run(
        [ballot_command(), "recover", "--json", *options],
        env=own.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


async def marks(running: Servers, casts: list[Cast]) -> list[str]:
    """The references under which these voters are marked at the gate, empty for who is not."""
    client: Any = valkey.connect(running, "admin")
    try:
        values = await client.hmget(handoff.voted_key(BALLOT, 0), [cast.voter.uin for cast in casts])
        return [gate_layout.Mark.from_value(value).reference if value else "" for value in values]
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    "steps", [(BETWEEN,), pytest.param(STEPS, marks=pytest.mark.long)], ids=["between the renames", "each"]
)
async def test_killed_anywhere_it_is_run_again(own: Stack, steps: tuple[str, ...]) -> None:
    """Until it is done the emptied queue does not start; then all who are stored are marked, once."""
    async with voted(own) as casts:
        shutil.rmtree(stop_queue(own))
        for step in steps:
            killed = await asyncio.to_thread(
                subprocess.run,
                [sys.executable, "-c", KILLED.format(step=step)],
                env=own.env,
                capture_output=True,
                check=False,
                timeout=WAIT_S,
            )
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            if step != STEPS[-1]:
                with pytest.raises(click.ClickException, match="`ballot recover`"):
                    await asyncio.to_thread(own.servers.ensure_running)
        await asyncio.to_thread(run_recover, own)
        await asyncio.to_thread(own.servers.ensure_running)
        assert await asyncio.to_thread(run_recover, own) == {"wrong": []}

        stored = [cast.reference for cast in casts[:2]]
        assert await marks(own.servers, casts) == [*stored, ""]
        owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")
        events = await owner.fetchval("SELECT count(*) FROM ballot.events WHERE kind = 'recovery.performed'")
        await owner.close()
        assert events
        assert not [path for path in own.home.data.iterdir() if "rebuilding" in path.name]


@pytest.mark.parametrize("where", ["middle", pytest.param("manifest", marks=pytest.mark.long)])
async def test_a_damaged_file_is_mended_or_left_out(own: Stack, where: str) -> None:
    """A queue that cannot read its file does not start; what is before the damage is kept."""
    async with voted(own) as casts:
        data = stop_queue(own)
        files = data / "appendonlydir"
        newest = max(files.glob("*.incr.aof"), key=lambda path: path.stat().st_mtime_ns)
        content = newest.read_bytes()
        if where == "middle":
            at = content.rindex(b"ref") - 40  # the last vote's entry; whole commands come after it
            newest.write_bytes(content[:at] + b"\xff" * 20 + content[at + 20 :] + b"*1\r\n$4\r\nPING\r\n")
        else:
            (files / "appendonly.aof.manifest").write_text("file nothing seq x type y\n")
        with pytest.raises(click.ClickException, match="`ballot recover`"):
            await asyncio.to_thread(own.servers.ensure_running)

        told = await asyncio.to_thread(run_recover, own)
        await asyncio.to_thread(own.servers.ensure_running)

        assert told["wrong"][0].startswith("valkey could not be started")
        assert told["report"]["notes"]
        assert await marks(own.servers, casts) == [*(cast.reference for cast in casts[:2]), ""]
        kept = own.home.data / os.path.basename(told["report"]["before"])  # noqa: PTH119  # a text
        assert (kept / "appendonlydir" / newest.name).exists()
