"""`ballot recover` on a home of its own: killed at every step, on damaged files, and in the way of others."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import click
import pytest

from ballot import document, gate_layout, handoff
from ops.recovery import desk, in_place, record, turnout
from runtime import append_only, locks, ports, postgres, valkey
from runtime.home import Home
from runtime.rebuilding import Rebuilding
from runtime.servers import Servers, servers
from tests.conftest import Stack, ballot_command, environment_for
from tests.integration.cluster_rig import until
from tests.integration.intake_rig import pinned_desk_key
from tests.integration.workers_ground import Cast, ground
from workers.verification import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
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
#: Runs the command with a private server that is killed as soon as it is there.
FAILING = """
import signal
from ops.recovery import command
from runtime import processes
from runtime.private_queue import PrivateQueue
spawn = PrivateQueue._spawn
def killed(self, address, password):
    process = spawn(self, address, password)
    processes.send(process, signal.SIGKILL)
    return process
PrivateQueue._spawn = killed
command.recover({options})
"""
TABLES = ("votes", "revocations", "lifecycle", "register", "electorate", "gate_epochs", "ballots")
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
async def voted(own: Stack, *, waiting: int = 1) -> AsyncIterator[list[Cast]]:
    """Votes: two stored, and some that wait in the queue, one unless said otherwise."""
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
        voters = await made.voters(2 + waiting)
        verifier = Verifier(0)
        async with made.worker(verifier) as rig:
            casts = [await made.cast(voter) for voter in voters[:2]]
            await rig.drain()
        verifier.close()
        yield [*casts, *[await made.cast(voter) for voter in voters[2:]]]
        await made.owner.execute("SET session_replication_role = replica")
        for table in TABLES:
            await made.owner.execute(f"DELETE FROM ballot.{table} WHERE ballot = $1", BALLOT)  # noqa: S608  # ours
        await made.admin.aclose()
        made.admin = valkey.connect(own.servers, "admin")  # its port may be another one now


def stop_queue(own: Stack) -> Path:
    """`kill -9` the queue; its data directory."""
    os.kill(own.servers.processes["valkey"], signal.SIGKILL)
    until(lambda: "valkey" not in own.servers.processes, "the queue to be gone")
    return own.home.data / "valkey"


def attempt_recover(own: Stack, *options: str) -> subprocess.CompletedProcess[str]:
    """`ballot recover --json`, however it ends."""
    return subprocess.run(
        [ballot_command(), "recover", "--json", *options],
        env=own.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


def run_recover(own: Stack, *options: str) -> dict[str, Any]:
    """`ballot recover --json`, which must succeed."""
    done = attempt_recover(own, *options)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def contents(data: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def newest_file(data: Path) -> Path:
    """The file that the queue was writing to."""
    found = append_only.newest(data / "appendonlydir")
    assert found is not None
    return found


def damage_last_entry(newest: Path) -> None:
    """Overwrite a part of the last vote's entry; whole commands come after it."""
    content = newest.read_bytes()
    at = content.rindex(b"ref") - 40
    newest.write_bytes(content[:at] + b"\xff" * 20 + content[at + 20 :] + b"*1\r\n$4\r\nPING\r\n")


def raise_length(newest: Path) -> None:
    """Make the first waiting vote's record seem longer than the file: as one damaged digit would."""
    content = newest.read_bytes()
    last = [found.start() for found in re.finditer(rb"\$3\r\nref\r\n", content)][-2]
    at = content.rindex(b"\r\n$1\r\nr\r\n$", 0, last) + len(b"\r\n$1\r\nr\r\n$")
    newest.write_bytes(content[:at] + b"9" + content[at:])


def shorten(newest: Path) -> None:
    """End the file in the middle of the first waiting vote, as a copy of it that stopped early."""
    os.truncate(newest, newest.read_bytes().rindex(b"$3\r\nref\r\n") - 2_000)


def whole_but_older(newest: Path) -> None:
    """End the file where the last transaction begins: the server would start on it."""
    os.truncate(newest, newest.read_bytes().rindex(b"*1\r\n$5\r\nMULTI\r\n"))


async def marks(running: Servers, casts: list[Cast]) -> list[str]:
    """The references under which these voters are marked at the gate, empty for who is not."""
    client: Any = valkey.connect(running, "admin")
    try:
        values = await client.hmget(handoff.voted_key(BALLOT, 0), [cast.voter.uin for cast in casts])
        return [gate_layout.Mark.from_value(value).reference if value else "" for value in values]
    finally:
        await client.aclose()


@asynccontextmanager
async def admin(own: Stack) -> AsyncIterator[Any]:
    """An administrator's client of the queue as it runs now."""
    client: Any = valkey.connect(own.servers, "admin")
    try:
        yield client
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


async def test_a_damaged_file_is_cut_at_the_damage(own: Stack) -> None:
    """A queue that cannot read its file does not start; a waiting vote before the damage stays accepted."""
    async with voted(own, waiting=2) as casts:
        data = stop_queue(own)
        newest = newest_file(data)
        damage_last_entry(newest)
        with pytest.raises(click.ClickException, match="`ballot recover`"):
            await asyncio.to_thread(own.servers.ensure_running)
        before = contents(data)

        looked = await asyncio.to_thread(attempt_recover, own, "--dry-run")
        assert looked.returncode == 1
        assert [newest.name in each for each in json.loads(looked.stdout)["wrong"]] == [True]
        assert contents(data) == before
        assert "valkey" not in own.servers.processes
        told = await asyncio.to_thread(run_recover, own)
        await asyncio.to_thread(own.servers.ensure_running)

        assert told["wrong"] == json.loads(looked.stdout)["wrong"]
        assert [newest.name in each and "were cut off" in each for each in told["report"]["notes"]] == [True]
        assert told["report"]["ballots"][BALLOT]["waiting"] == 1
        assert await marks(own.servers, casts) == [*(cast.reference for cast in casts[:3]), ""]
        kept = own.home.data / os.path.basename(told["report"]["before"])  # noqa: PTH119  # a text
        assert contents(kept) == before


@pytest.mark.parametrize("damage", [raise_length, shorten, whole_but_older])
async def test_a_file_that_ends_too_early_is_not_cut_by_a_start(
    own: Stack, damage: Callable[[Path], None]
) -> None:
    """What was answered is in it: it is not started, nothing of it changes, and the report has the bytes."""
    async with voted(own, waiting=2) as casts:
        await asyncio.to_thread(own.servers.ensure_running)  # as a supervisor does, four times a second
        data = stop_queue(own)
        damage(newest_file(data))
        before = contents(data)
        with pytest.raises(click.ClickException, match="`ballot recover`"):
            await asyncio.to_thread(own.servers.ensure_running)
        assert contents(data) == before

        looked = await asyncio.to_thread(attempt_recover, own, "--dry-run")
        assert looked.returncode == 1, looked.stderr
        assert contents(data) == before
        told = await asyncio.to_thread(run_recover, own)
        await asyncio.to_thread(own.servers.ensure_running)

        assert told["wrong"] == json.loads(looked.stdout)["wrong"]
        notes = " ".join(told["report"]["notes"])
        assert "lost" in notes
        assert "bytes" in notes
        assert contents(own.home.data / os.path.basename(told["report"]["before"])) == before  # noqa: PTH119  # a text
        assert (await marks(own.servers, casts))[:2] == [cast.reference for cast in casts[:2]]
        assert await asyncio.to_thread(run_recover, own) == {"wrong": []}


async def test_a_write_that_was_under_way_is_cut_off_by_itself(own: Stack) -> None:
    """Nobody was ever told of it: the queue starts, with all that was answered."""
    async with voted(own) as casts:
        await asyncio.to_thread(own.servers.ensure_running)
        newest = newest_file(stop_queue(own))
        whole = newest.read_bytes()
        begins = whole.rindex(b"*1\r\n$5\r\nMULTI\r\n")
        newest.write_bytes(whole + whole[begins:-300])
        await asyncio.to_thread(own.servers.ensure_running)

        assert newest.read_bytes().startswith(whole)
        assert await marks(own.servers, casts) == [cast.reference for cast in casts]
        assert await asyncio.to_thread(run_recover, own) == {"wrong": []}


@pytest.mark.parametrize("where", ["manifest", pytest.param("base", marks=pytest.mark.long)])
async def test_a_file_that_cannot_be_cut_is_left_out_only_if_asked(own: Stack, where: str) -> None:
    """It ends with one sentence and all as it was; a person may give the file up, and then it says so."""
    async with voted(own) as casts:
        data = stop_queue(own)
        if where == "manifest":
            (data / "appendonlydir" / "appendonly.aof.manifest").write_text("file nothing seq x type y\n")
        else:
            base = next((data / "appendonlydir").glob("*.base.rdb"))
            base.write_bytes(base.read_bytes()[:-12])
        before = contents(data)

        refused = await asyncio.to_thread(attempt_recover, own)
        assert refused.returncode == 1
        assert "nothing was changed" in refused.stderr
        assert "--without-file" in refused.stderr
        assert contents(data) == before
        assert not (own.home.data / "valkey.rebuilding").exists()

        told = await asyncio.to_thread(run_recover, own, "--without-file")
        await asyncio.to_thread(own.servers.ensure_running)
        assert ["left out as asked" in each for each in told["report"]["notes"]] == [True]
        assert await marks(own.servers, casts) == [*(cast.reference for cast in casts[:2]), ""]


async def test_a_server_that_fails_is_no_damaged_file(own: Stack) -> None:
    """Killed while it loads, as for want of memory: nothing changed, though the file might be left out."""
    async with voted(own) as casts:
        data = stop_queue(own)
        script = FAILING.format(options=["--json", "--anyway", "--without-file"])
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", script],
            env=own.env,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        assert killed.returncode == 1, killed.stderr
        assert "does not say that the files are damaged" in killed.stderr
        assert data.exists()
        assert not (own.home.data / "valkey.rebuilding").exists()

        told = await asyncio.to_thread(run_recover, own, "--anyway")
        await asyncio.to_thread(own.servers.ensure_running)
        assert told["report"]["notes"] == []
        assert await marks(own.servers, casts) == [cast.reference for cast in casts]


def test_a_port_that_is_taken_is_drawn_again(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at a port and its use somebody else may have taken it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        free = ports.draw(taken=set())
        drawn = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(ports, "draw", lambda **_: next(drawn))
        place = Rebuilding(own.home)
        place.prepare()
        with place.server() as (address, _):
            assert address.port == free
    shutil.rmtree(place.directory)


async def test_a_forgotten_revocation_and_window_are_seen_and_mended(own: Stack) -> None:
    """An older copy takes votes with a code that was revoked, and until another time: neither stays so."""
    async with voted(own) as casts:
        digest = casts[2].voter.digest
        owner = await postgres.connect(own.servers, "voterdb", "ballot_owner")
        await owner.execute(
            "INSERT INTO ballot.revocations VALUES ($1, $2, $3, 7, 0)", BALLOT, digest, 1_751_400_000_000_000
        )
        closes_us = await owner.fetchval(
            "SELECT max(closes_us) FROM ballot.lifecycle WHERE ballot = $1", BALLOT
        )
        await owner.close()
        gate, codes, *_ = handoff.shard_keys(BALLOT, 0)
        async with admin(own) as client:
            await client.hset(gate, "closes_us", closes_us + 1_000_000_000)

        told = await asyncio.to_thread(run_recover, own)
        await asyncio.to_thread(own.servers.ensure_running)

        where = f"ballot {BALLOT} shard 0: the gate "
        assert told["wrong"] == [
            f"{where}closes at {closes_us + 1_000_000_000} us, and the record says {closes_us} us",
            f"{where}takes votes with 1 codes that were revoked",
        ]
        async with admin(own) as client:
            assert (await client.hget(codes, digest[:16]))[16:17] == handoff.REVOKED_FLAG
            assert int(await client.hget(gate, "closes_us")) == closes_us
            assert await client.hget(gate, "revoked") == b"1"
        assert await asyncio.to_thread(run_recover, own) == {"wrong": []}


async def test_a_desk_command_is_waited_for(own: Stack) -> None:
    """While the desk changes a ballot nothing is rebuilt, and the queue goes on with what it has."""
    async with voted(own) as casts:
        busy = await postgres.connect(own.servers, "voterdb", "ballot_desk")
        name = f"{BALLOT}/closing time"
        await busy.execute("SELECT pg_try_advisory_lock($1, hashtext($2))", desk.LOCK_CLASS, name)
        refused = await asyncio.to_thread(attempt_recover, own, "--anyway")
        await busy.close()
        assert refused.returncode == 1
        assert f"a desk command is changing ballot {BALLOT!r}" in refused.stderr
        await asyncio.to_thread(own.servers.ensure_running)
        assert await marks(own.servers, casts) == [cast.reference for cast in casts]


async def test_a_lock_that_nobody_lets_go_of_is_a_sentence(
    own: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker holds is waited for, but not for ever and not in silence."""
    monkeypatch.setattr(record, "LOCK_WAIT_MS", 200)
    async with voted(own):
        worker = await postgres.connect(own.servers, "voterdb", "ballot_owner")
        database = await record.connect(own.servers)
        async with worker.transaction():
            await worker.execute("SELECT 1 FROM ballot.marks WHERE ballot = $1 FOR UPDATE", BALLOT)
            with pytest.raises(click.ClickException, match="has been storing"), record.plainly():
                await turnout.set_turnout(database, BALLOT, {}, [])
        await database.close()
        await worker.close()


async def test_a_late_word_of_a_worker_opens_nothing(own: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that had looked before the latch was set vouches after that: it is taken back."""
    monkeypatch.setattr(in_place, "EDGES_NOTICE_S", 0.1)
    async with voted(own), admin(own) as client:
        await client.delete(handoff.TRUST_KEY)
        late = asyncio.get_running_loop().call_later(
            0.05, lambda: late_words.append(asyncio.ensure_future(client.sadd(handoff.TRUST_KEY, "a-run")))
        )
        late_words: list[asyncio.Future[int]] = []
        await in_place._shut(client)
        assert late.when()
        assert [await word for word in late_words] == [1]
        assert not await client.exists(handoff.TRUST_KEY)


def test_who_waits_for_a_recovery_is_told_of_it(tmp_path: Path) -> None:
    """Who holds the start lock, and that it is to be waited for; the next holder has nothing to say."""
    path = tmp_path / "start.lock"
    told = "the queue is being recovered"
    for why, match in ((told, f"{told}; wait"), ("", "Another command has held")):
        with locks.exclusive(path, why=why), pytest.raises(click.ClickException, match=match):
            locks.exclusive(path, wait_s=0.05).__enter__()


def test_a_dry_run_starts_nothing(tmp_path: Path) -> None:
    """With no server running it says that it cannot compare, and none runs afterwards."""
    env = environment_for(tmp_path / "home")
    done = attempt_recover(Stack(Home(tmp_path / "home"), None, env), "--dry-run")  # type: ignore[arg-type]  # none
    assert done.returncode == 1
    assert "does not run" in done.stderr
    assert not [*(tmp_path / "home" / "data").glob("*/*")]
