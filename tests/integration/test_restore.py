"""Restoring real backups of real servers: to the last line, to a moment, and never half."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest

from ballot import handoff
from ballot.encoding import b64encode
from ballot.suite import SigningKey, key_id
from ops.backup import restore_home
from ops.backup.keys import WHATS
from ops.backup.restore_cluster import ask
from runtime import locks, postgres, valkey
from runtime.home import Home
from runtime.postgres_server import PostgresServer
from runtime.servers import Servers, servers
from tests.conftest import ballot_command
from tests.integration.restore_rig import (
    BALLOT,
    COMMAND_WAIT_S,
    LATE,
    ROLL,
    VOTERS,
    Ground,
    Origin,
    back_up,
    receiving,
    report_of,
    switch,
    the_origin,
    until,
    write,
)

if TYPE_CHECKING:
    from pathlib import Path


VOTES = "SELECT count(*)::text AS answer FROM ballot.votes"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """A home with everything in it and its backups, stopped."""
    return the_origin(tmp_path_factory)


@pytest.fixture
def ground(origin: Origin, tmp_path: Path) -> Ground:
    """A copy of it, for whoever starts no server."""
    return origin.copied(tmp_path)


async def _ask(running: Servers, role: str, statement: str) -> Any:
    connection = await postgres.connect(running, "voterdb", role)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_the_newest_state_comes_back_and_is_this_homes(ground: Ground) -> None:
    """Full, increment, archive and spool give every line; the old is kept, the audit log says so."""
    assert (ground.home.backup / "voterdb.covered.json").exists()
    restored = ground.restore("voterdb")
    assert restored.exit_code == 0, restored.output
    assert ground.rig_events() == ["full", "added", "before", "after", "last"]
    (aside,) = ground.home.data.glob("voterdb.before-*")
    assert str(aside) in restored.output
    assert (aside / "PG_VERSION").exists()
    report = report_of(ground)
    assert report["aside"] == str(aside)
    assert [each.rpartition("-")[2] for each in report["backups"]] == ["full", "incremental"]
    assert not list(ground.home.data.glob("*.restoring"))
    assert not (ground.home.backup / "voterdb.covered.json").exists()  # the queue keeps all until the next
    kinds = "SELECT string_agg(kind, ' ') AS answer FROM ballot.events WHERE actor = 'restore'"
    assert ask(PostgresServer(ground.home, "voterdb"), kinds) == ["restore.performed"]


def test_a_moment_in_the_past_has_what_was_before_and_not_what_came_after(
    origin: Origin, ground: Ground, tmp_path: Path
) -> None:
    """To the microsecond; restored elsewhere, nothing of the home changes."""
    before = ground.changed()
    out = tmp_path / "out" / "data" / "voterdb"
    out.parent.mkdir(parents=True)
    restored = ground.restore("voterdb", "--at", origin.between, "--to", out)
    assert restored.exit_code == 0, restored.output
    assert ground.rig_events(Home(tmp_path / "out")) == ["full", "added", "before"]
    assert ground.changed() == before


def test_a_moment_whose_wal_was_sealed_late_has_all_that_was_before(
    origin: Origin, ground: Ground, tmp_path: Path
) -> None:
    """Five segments were sealed at once, after all five commits: four of those are before the moment."""
    out = tmp_path / "out" / "data" / "voterdb"
    out.parent.mkdir(parents=True)
    restored = ground.restore("voterdb", "--at", origin.late, "--base", origin.full.id, "--to", out)
    assert restored.exit_code == 0, restored.output
    made = Home(tmp_path / "out")
    assert ground.rig_events(made, actor="late") == [f"late-{number}" for number in range(1, LATE)]
    report = report_of(ground)
    assert report["reached"]
    assert report["last_transaction"] <= origin.late
    assert report["last_transaction"] in restored.output


def test_a_directory_in_the_way_that_no_restore_made_is_left_alone(ground: Ground, tmp_path: Path) -> None:
    """`--to X` works in `X.restoring`; what somebody else keeps there is not deleted."""
    mine = tmp_path / "keep.restoring"
    mine.mkdir()
    (mine / "precious").write_text("yes")
    for what in WHATS:
        refused = ground.restore(what, "--to", tmp_path / "keep")
        assert refused.exit_code == 1
        assert "no restore made it" in refused.output
    assert (mine / "precious").read_text() == "yes"


@pytest.mark.long
def test_a_missing_segment_is_said_with_the_moment_that_can_still_be_had(
    origin: Origin, ground: Ground, tmp_path: Path
) -> None:
    """Each sentence names a moment; at most the second of them is exact, and asked for, it is restored."""
    folder = ground.target / "voterdb"
    segments = sorted(folder.glob("*-wal-*"), key=lambda path: path.name.rpartition("-")[2])
    segments[3].unlink()
    said = ground.restore("voterdb", "--base", origin.full.id).output
    assert segments[3].name in said
    for number in range(2):
        moment = said.partition("with --at ")[2].partition("Z")[0] + "Z"
        out = tmp_path / str(number) / "data" / "voterdb"
        out.parent.mkdir(parents=True)
        told = ground.restore("voterdb", "--base", origin.full.id, "--at", moment, "--to", out)
        if told.exit_code == 0:
            lines = ground.rig_events(Home(tmp_path / str(number)), actor="late")
            assert lines == [f"late-{each}" for each in range(1, len(lines) + 1)]
            assert 0 < len(lines) < LATE
            return
        said = told.output
    pytest.fail(said)


def test_what_cannot_be_restored_is_one_sentence_and_changes_nothing(origin: Origin, ground: Ground) -> None:
    """A wrong key, a missing increment, a flipped bit, a cut file, a moment out of reach, another file."""
    before = ground.changed()
    folder = ground.target / "voterdb"
    increment = folder / origin.incremental.file
    whole = increment.read_bytes()

    def refused(*options: str, key: Path | None = None) -> str:
        result = ground.restore("voterdb", *options, key=key)
        assert result.exit_code == 1
        assert ground.changed() == before
        said = result.output.strip()
        assert said.startswith("Error: ")
        assert "\n" not in said
        return said

    assert "was sealed to the key" in refused(key=ground.key("userdb"))
    assert "nothing earlier can be restored" in refused("--at", "2020-01-01T00:00:00Z")
    assert "has not come yet" in refused("--at", "2099-01-01T00:00:00Z")
    assert "no full or incremental backup" in refused("--base", "20200101T000000Z-full")
    increment.unlink()
    assert f"{increment} is missing" in refused()
    increment.write_bytes(whole[:-1000])
    assert f"{increment} is missing or not whole" in refused()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    increment.unlink()
    increment.write_bytes(flipped)
    assert "does not open" in refused()
    increment.unlink()
    increment.write_bytes((folder / origin.full.file).read_bytes())
    assert "is missing or not whole" in refused()
    increment.unlink()
    increment.write_bytes(whole)
    wal = sorted(folder.glob("*-wal-*"))
    wal[-1].unlink()
    assert f"({wal[-1].name}) is missing or not whole, so that nothing after" in refused()


def test_nobody_may_be_using_the_servers(ground: Ground) -> None:
    """While a command uses the home's servers nothing is restored there; a full disk is noticed before."""
    users = locks.opened(ground.home.run / "users.lock")
    try:
        locks.share(users)
        result = ground.restore("voterdb")
    finally:
        os.close(users)
    assert result.exit_code == 1
    assert "in use" in result.output
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restore_home, "ROOM_MARGIN", 1 << 60)
        result = ground.restore("voterdb")
    assert result.exit_code == 1
    assert "make room" in result.output


def test_lists_that_were_lost_are_made_up_from_what_is_there(
    origin: Origin, ground: Ground, tmp_path: Path
) -> None:
    """Without the home's list the copy is read; without both the files' own headers and labels say enough."""
    new = Home(tmp_path / "new")
    new.make()
    moved = type(ground)(new, ground.target, ground.medium)
    (ground.target / "voterdb" / "catalogue.jsonl").unlink()
    restored = moved.restore("voterdb")
    assert restored.exit_code == 0, restored.output
    assert report_of(moved)["backups"] == [origin.full.id, origin.incremental.id]
    assert moved.rig_events() == ["full", "added", "before", "after"]  # the spool was the old home's
    assert "This home lacks credential-digest.key, desk.key" in restored.output
    assert "credential-digest.key" in new.keys_made.read_text()


def test_people_and_complaints_come_back(ground: Ground) -> None:
    """Userdb is restored by itself, under its own key, and says how many it holds."""
    restored = ground.restore("userdb")
    assert restored.exit_code == 0, restored.output
    assert report_of(ground)["holds"] == {"people": ROLL, "complaints": 0}
    kinds = "SELECT string_agg(kind, ' ') AS answer FROM people.events WHERE actor = 'restore'"
    assert ask(PostgresServer(ground.home, "userdb"), kinds) == ["restore.performed"]


def test_a_restored_queue_is_latched_until_it_was_recovered(origin: Origin, tmp_path: Path) -> None:
    """An older copy has codes and no marks; recovery marks all who voted, and takes the latch away."""
    ground = origin.copied(tmp_path, "voterdb", "userdb")
    restored = ground.restore("queue")
    assert restored.exit_code == 0, restored.output
    assert "ballot recover" in restored.output
    events = "SELECT string_agg(kind, ' ') AS answer FROM ballot.events WHERE actor = 'restore'"
    assert ask(PostgresServer(ground.home, "voterdb"), events) == ["restore.performed"]

    async def look(running: Servers) -> tuple[Any, int]:
        client: Any = valkey.connect(running, "admin")
        try:
            voted = await client.hlen(f"{{{BALLOT}:00}}:voted")
            return await client.get(handoff.RECOVERING_KEY), voted
        finally:
            await client.aclose()

    with servers(ground.home, {}) as running:
        assert asyncio.run(look(running)) == (b"restored", 0)
        recovered = ground.run("recover")
        assert recovered.returncode == 0, recovered.stderr
    with servers(ground.home, {}) as running:
        assert asyncio.run(look(running)) == (None, VOTERS)
        checked = ground.run("check", BALLOT)
    assert checked.returncode == 0, checked.stdout


def test_another_installations_backups_are_not_put_in_its_place(
    origin: Origin, ground: Ground, tmp_path: Path
) -> None:
    """A home with data of its own takes no other cluster's backup, and no other desk's queue."""
    own = Home(tmp_path / "own")
    own.make()
    PostgresServer(own, "voterdb").prepare(1)
    (own.public / "desk.json").write_bytes(_another_desk())
    other = type(ground)(own, ground.target, ground.medium)
    before = other.changed()
    for what in ("voterdb", "queue"):
        result = other.restore(what)
        assert result.exit_code == 1
        assert "another installation" in result.output
        assert other.changed() == before


@pytest.mark.long
def test_killed_in_the_middle_it_is_run_again(ground: Ground) -> None:
    """SIGKILL while it works leaves the old in place; the next run clears up and restores.

    All of it, up to the last line, which is in WAL that was moved aside when receiving began anew.
    """
    spool = ground.home.data / "voterdb.wal-spool"
    received = [*spool.iterdir()]
    (spool / "before-20250701T090000Z").mkdir()
    for path in received:
        path.rename(spool / "before-20250701T090000Z" / path.name)
    command = [ballot_command(), "backup", "restore", "voterdb", "--key", str(ground.key("voterdb"))]
    place = ground.home.data / "voterdb.restoring"
    before = ground.changed()
    child = subprocess.Popen(command, env=ground.env, stdout=subprocess.DEVNULL, start_new_session=True)
    until((place / "data" / "voterdb" / "recovery.signal").exists)
    child.send_signal(signal.SIGKILL)
    child.wait(COMMAND_WAIT_S)
    assert place.exists()
    assert {name: each for name, each in ground.changed().items() if name != place.name} == before
    restored = ground.restore("voterdb")
    assert restored.exit_code == 0, restored.output
    assert not place.exists()
    assert ground.rig_events()[-1] == "last"


@pytest.mark.long
def test_a_new_home_can_use_what_was_restored_into_it(origin: Origin, tmp_path: Path) -> None:
    """Its own passwords work at once; the keys it lacks are asked for, and never made anew."""
    new = Home(tmp_path / "new")
    new.make()
    moved = Ground(new, origin.ground.target, origin.ground.medium)
    for what in WHATS:
        assert moved.restore(what).exit_code == 0
    with servers(new, {}) as running:
        for role in ("ballot_desk", "ballot_worker", "ballot_owner"):
            assert asyncio.run(_ask(running, role, "SELECT 1")) == 1
        assert asyncio.run(_ask(running, "ballot_checker", "SELECT count(*) FROM ballot.votes")) == VOTERS
    for name in ("queue", "credential-digest", "people"):
        with pytest.raises(click.ClickException, match="put it back from a copy"):
            new.secret(name)


@pytest.mark.long
def test_after_a_restore_everything_can_be_restored_again(origin: Origin, tmp_path: Path) -> None:
    """A full backup begins the new timeline; its newest state comes back, and what was before both does."""
    ground = origin.copied(tmp_path, "userdb", "valkey")
    assert ground.restore("voterdb", "--at", origin.between).exit_code == 0
    with servers(ground.home, {}) as running, receiving(ground, running) as archive:
        write(running, "second")
        added = back_up(ground, running, "voterdb")
        assert (added.kind, added.timeline) == ("full", 2)
        assert json.loads((ground.home.backup / "voterdb.covered.json").read_text())["backup"] == added.id
        write(running, "third")
        switch(running, archive, ground)

    assert ground.restore("voterdb").exit_code == 0
    assert ground.rig_events() == ["full", "added", "before", "second", "third"]
    assert report_of(ground)["timeline"] == 3

    assert ground.restore("voterdb", "--at", origin.later).exit_code == 0
    assert ground.rig_events() == ["full", "added", "before", "after"]
    assert report_of(ground)["timeline"] == 4


@pytest.mark.long
def test_workers_bring_a_restored_voterdb_up_to_the_last_vote(origin: Origin, tmp_path: Path) -> None:
    """With voterdb of before the votes and the queue as it is, what was acknowledged is stored again."""
    ground = origin.copied(tmp_path, "userdb", "valkey")
    assert ground.restore("voterdb", "--at", origin.no_vote).exit_code == 0
    assert ask(PostgresServer(ground.home, "voterdb"), VOTES) == ["0"]
    with servers(ground.home, {}) as running:
        stored = ground.run("worker", "--until-drained")
        assert stored.returncode == 0, stored.stderr
        checked = ground.run("check", BALLOT)
        assert asyncio.run(_ask(running, "ballot_checker", "SELECT count(*) FROM ballot.votes")) == VOTERS
    assert checked.returncode == 0, checked.stdout
    assert "differences: 0" in checked.stdout


def _another_desk() -> bytes:
    public = SigningKey.from_seed(bytes(32)).public
    return json.dumps({"id": key_id(public), "public_key": b64encode(public)}).encode()
