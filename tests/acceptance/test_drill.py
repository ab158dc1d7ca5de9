"""`ballot drill` beside servers that run: everything restored, checked, compared, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ops.backup.drill_scratch import NAME
from ops.backup.keys import WHATS
from ops.backup.restore_cluster import ask
from runtime.postgres_server import PostgresServer
from runtime.servers import servers
from tests.conftest import ballot_command
from tests.integration.restore_rig import BALLOT, VOTERS, Origin, back_up, the_origin, until

if TYPE_CHECKING:
    from tests.integration.restore_rig import Ground

WAIT_S = 180


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A home with everything in it and its backups, stopped."""
    return the_origin(tmp_path_factory)


@pytest.fixture
def ground(origin: Origin, tmp_path: Path) -> Ground:
    """A copy of it."""
    return origin.copied(tmp_path, "voterdb", "userdb", "valkey")


def command(ground: Ground, *options: str) -> list[str]:
    """`ballot drill` with the three keys."""
    keys = [word for what in WHATS for word in ("--key", str(ground.key(what)))]
    return [ballot_command(), "drill", *keys, *options]


def drill(ground: Ground, *options: str) -> tuple[int, dict[str, Any]]:
    """Run a drill; its exit and its report."""
    done = subprocess.run(
        command(ground, "--json", *options),
        env=ground.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def nothing_is_left(ground: Ground) -> bool:
    """No scratch home, no copy of a secret, no server or worker of the drill."""
    scratch = ground.home.path / NAME
    running = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(scratch):
                running.append(entry.name)
    return not scratch.exists() and not running


def test_a_drill_says_what_it_took_and_that_nothing_would_be_lost(origin: Origin, ground: Ground) -> None:
    """Beside running servers: to the newest state nothing is lost, the books balance, the log says so."""
    with servers(ground.home, {}):
        code, newest = drill(ground, "--signatures")
        assert (code, newest["differences"]) == (0, 0)
        assert nothing_is_left(ground)
        (row,) = newest["lost"]
        assert (row["ballot"], row["lost"], row["restored_stored"]) == (BALLOT, 0, VOTERS)
        names = [step["step"] for step in newest["steps"]]
        assert {"voterdb: replay the WAL", "queue: load it", f"check {BALLOT}"} <= {*names}
        assert sum(step["bytes"] for step in newest["steps"]) > newest["steps"][0]["bytes"] > 0
        assert newest["restored"]["voterdb"]["last_transaction"] > origin.later
        assert newest["faults"] == []
        assert newest["people"]["living"] == newest["people"]["restored"]

    events = "SELECT count(*)::text AS answer FROM ballot.events WHERE kind = 'drill.performed'"
    assert ask(PostgresServer(ground.home, "voterdb"), events) == ["1"]


@pytest.mark.long
def test_ctrl_c_leaves_nothing(ground: Ground) -> None:
    """Interrupted while servers of the restored home run, a drill takes away all that it made."""
    said = ground.home.logs / "drill.out"
    with said.open("wb") as out:
        child = subprocess.Popen(command(ground), env=ground.env, stdout=out, stderr=out, process_group=0)
    scratch = ground.home.path / NAME
    until((scratch / "work" / "data" / "voterdb" / "nobody-enters.hba").exists)
    os.killpg(child.pid, signal.SIGINT)
    assert child.wait(WAIT_S) != 0, said.read_text()
    assert nothing_is_left(ground)


@pytest.mark.long
def test_a_drill_of_an_earlier_moment_counts_what_would_be_lost(origin: Origin, ground: Ground) -> None:
    """To before the first vote all are lost, and the books of what is left balance."""
    with servers(ground.home, {}):
        code, report = drill(ground, "--at", origin.no_vote)
    assert (code, report["differences"]) == (0, 0)
    (row,) = report["lost"]
    assert (row["living_accepted"], row["lost"], row["restored_stored"]) == (VOTERS, VOTERS, 0)


@pytest.mark.long
def test_people_who_are_in_no_backup_fail_a_drill(ground: Ground) -> None:
    """Imported an hour ago, while nobody backed userdb up: every ballot is well, and the drill is none."""
    more = (
        "INSERT INTO people.voters (ballot, uin, member, sealed, roll_sha256, imported_at)"
        " SELECT ballot, substr(sha256(uin), 1, 16), sha256(member), sealed, roll_sha256,"
        " now() - interval '1 hour' FROM people.voters LIMIT 3"
    )
    ask(PostgresServer(ground.home, "userdb"), more)
    with servers(ground.home, {}):
        code, report = drill(ground)
    assert (code, report["differences"], report["lost"][0]["lost"]) == (1, 0, 0)
    (fault,) = report["faults"]
    assert fault.startswith("userdb: 3 people would be lost")


@pytest.mark.long
def test_a_difference_fails_and_what_a_killed_drill_left_is_removed(origin: Origin, ground: Ground) -> None:
    """A vote deleted before the backup is a difference; what SIGKILL leaves the next run removes."""
    child = subprocess.Popen(command(ground), env=ground.env, process_group=0)
    scratch = ground.home.path / NAME
    until((scratch / "work" / "data" / "voterdb" / "nobody-enters.hba").exists)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait(WAIT_S)
    assert (scratch / "secrets").exists()

    one = "DELETE FROM ballot.votes WHERE uin = (SELECT min(uin::text)::bytea FROM ballot.votes)"
    ask(PostgresServer(ground.home, "voterdb"), one)
    with servers(ground.home, {}) as running:
        for what in WHATS:
            back_up(ground, running, what, full=True)
        code, report = drill(ground)
    assert code == 1
    assert report["differences"] > 0
    assert nothing_is_left(ground)


def test_a_drill_takes_nothing_for_granted(ground: Ground) -> None:
    """A key that is not given, a directory that no drill made: one sentence, and nothing is touched."""
    env = ground.env
    done = subprocess.run(
        [ballot_command(), "drill", "--key", str(ground.key("voterdb"))],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 1
    assert "give its private half with --key too" in done.stderr
    mine = ground.home.path / NAME
    mine.mkdir()
    (mine / "kept").write_text("yes")
    with servers(ground.home, {}):
        done = subprocess.run(
            command(ground), env=env, capture_output=True, text=True, check=False, timeout=WAIT_S
        )
    assert done.returncode == 1
    assert "no drill made it" in done.stderr
    assert (mine / "kept").read_text() == "yes"
    shutil.rmtree(mine)
    events = "SELECT count(*)::text AS answer FROM ballot.events WHERE kind = 'drill.failed'"
    assert ask(PostgresServer(ground.home, "voterdb"), events) == ["2"]
