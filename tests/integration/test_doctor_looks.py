"""The doctor looks at running servers as they are: ours are well, and what somebody changed is named."""

import asyncio
import re
from typing import Any

import pytest

from ballot import handoff
from ops.doctor import clock, disk, durability, permissions, rights, trusted, versions
from ops.doctor.finding import Finding
from ops.doctor.kept_rights import KEPT
from ops.doctor.looking import CHECKER
from runtime import postgres, valkey
from runtime.addresses import CLUSTERS
from runtime.home import URL_VARIABLES
from tests.conftest import Stack

LOOKS = (versions.versions, durability.durability, permissions.permissions, disk.disk)


@pytest.fixture(autouse=True)
def environment(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor reads the environment of whoever runs it."""
    for name in URL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BALLOT_HOME", str(stack.home.path))


def test_our_own_servers_are_well(stack: Stack) -> None:
    """Every look at them is made, and none finds anything."""
    found = [each for look in LOOKS for each in look(stack.home.path)]

    assert [each for each in found if not each.ok] == []
    assert [each for each in found if "not looked at" in each.says] == []
    assert len(found) >= 12


def test_clocks_of_our_own_servers_agree(stack: Stack) -> None:
    """They are this machine's."""
    assert [each.ok for each in clock.clock(stack.home.path)][1:] == [True, True, True]


async def test_what_somebody_changed_is_named(stack: Stack) -> None:
    """A setting of the queue, a user of it, a role and a function of voterdb; and nothing else."""
    admin = valkey.connect(stack.servers, "admin")
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    granted = "EXECUTE ON FUNCTION pg_catalog.lo_create(oid)"
    try:
        await admin.config_set("no-appendfsync-on-rewrite", "yes")
        await admin.execute_command("ACL", "SETUSER", "eve", "on", "~*", "+get")
        await owner.execute(f"CREATE ROLE eve LOGIN; GRANT {granted} TO PUBLIC")
        found = await _changes(stack)
    finally:
        await owner.execute(f"DROP ROLE IF EXISTS eve; REVOKE {granted} FROM PUBLIC")
        await admin.execute_command("ACL", "DELUSER", "eve")
        await admin.config_set("no-appendfsync-on-rewrite", "no")
        await owner.close()
        await admin.aclose()

    assert found == [
        "queue has no-appendfsync-on-rewrite yes",
        "voterdb: the role eve is none of ours",
        "voterdb: everybody may call pg_catalog.lo_create(oid)",
        "queue: the user eve is none of ours",
    ]


async def test_the_kept_rights_are_those_of_the_migrations(stack: Stack) -> None:
    """A cluster just made has each right that is kept, and no other; a grant in a migration adds its line."""
    found = {}
    for cluster in CLUSTERS:
        connection = await postgres.connect(stack.servers, cluster, CHECKER[cluster])
        try:
            found[cluster] = await rights.found(connection)
        finally:
            await connection.close()

    assert {cluster: sorted(found[cluster] - KEPT[cluster]) for cluster in CLUSTERS} == {
        "voterdb": [],
        "userdb": [],
    }
    assert {cluster: sorted(KEPT[cluster] - found[cluster]) for cluster in CLUSTERS} == {
        "voterdb": [],
        "userdb": [],
    }


GIVEN = {
    "UPDATE, DELETE ON ballot.votes": "ballot_monitor",
    "INSERT ON ballot.votes": "ballot_desk",
    "UPDATE (sealed) ON ballot.votes": "PUBLIC",
    "EXECUTE ON FUNCTION ballot.worker_marks": "ballot_monitor",
    "CREATE ON SCHEMA ballot": "ballot_trimmer",
    "ballot_worker": "ballot_monitor",
}


async def test_rights_that_somebody_gave_are_named(stack: Stack) -> None:
    """On tables, columns, functions and schemas, to everybody, by membership; and one that was taken away."""
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    admin = valkey.connect(stack.servers, "admin")
    [line] = [each for each in await admin.acl_list() if each.split()[1] == "checker"]
    try:
        for right, role in GIVEN.items():
            await owner.execute(f"GRANT {right} TO {role}")
        await owner.execute("REVOKE SELECT ON ballot.events FROM ballot_desk")
        await admin.execute_command("ACL", "SETUSER", "checker", ">another")
        found = await _changes(stack)
    finally:
        for right, role in GIVEN.items():
            await owner.execute(f"REVOKE {right} FROM {role}")
        await owner.execute("GRANT SELECT ON ballot.events TO ballot_desk")
        await admin.execute_command("ACL", "SETUSER", "checker", "<another")
        await owner.close()
        assert [each for each in await admin.acl_list() if each.split()[1] == "checker"] == [line]
        await admin.aclose()

    assert found == [
        "voterdb: ballot_desk may insert ballot.votes, by no migration",
        "voterdb: ballot_monitor is a member of ballot_worker, by no migration",
        "voterdb: ballot_monitor may delete ballot.votes, by no migration",
        "voterdb: ballot_monitor may execute ballot.worker_marks/0, by no migration",
        "voterdb: ballot_monitor may update ballot.votes, by no migration",
        "voterdb: ballot_trimmer may create schema ballot, by no migration",
        "voterdb: everybody may update ballot.votes.sealed, by no migration",
        "voterdb: no longer so: ballot_desk may select ballot.events",
        "queue: the user checker has 2 passwords",
    ]
    assert await _changes(stack) == []


WIDER = {
    "ALTER ROLE ballot_monitor REPLICATION": "ALTER ROLE ballot_monitor NOREPLICATION",
    "GRANT SELECT ON pg_catalog.pg_authid TO ballot_monitor": (
        "REVOKE SELECT ON pg_catalog.pg_authid FROM ballot_monitor"
    ),
    "GRANT SELECT (rolpassword) ON pg_catalog.pg_authid TO PUBLIC": (
        "REVOKE SELECT (rolpassword) ON pg_catalog.pg_authid FROM PUBLIC"
    ),
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO PUBLIC": (
        "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) FROM PUBLIC"
    ),
    "GRANT SET ON PARAMETER session_replication_role TO ballot_monitor": (
        "REVOKE SET ON PARAMETER session_replication_role FROM ballot_monitor"
    ),
    "ALTER TABLE ballot.events DISABLE TRIGGER event_writer": (
        "ALTER TABLE ballot.events ENABLE TRIGGER event_writer"
    ),
    "CREATE FUNCTION ballot.worker_event(bytea, text, jsonb) RETURNS void LANGUAGE sql AS ''": (
        "DROP FUNCTION ballot.worker_event(bytea, text, jsonb)"
    ),
    "ALTER FUNCTION ballot.worker_fuse_state() SECURITY INVOKER": (
        "ALTER FUNCTION ballot.worker_fuse_state() SECURITY DEFINER"
    ),
    "CREATE RULE kept AS ON INSERT TO ballot.availability DO INSTEAD NOTHING": (
        "DROP RULE kept ON ballot.availability"
    ),
    "ALTER TABLE ballot.releases DISABLE TRIGGER ALL": "ALTER TABLE ballot.releases ENABLE TRIGGER ALL",
}


async def test_what_goes_around_the_rights_is_named(stack: Stack) -> None:
    """Replication, settings, PostgreSQL's own tables and files, functions and triggers that are not ours."""
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        for change in WIDER:
            await owner.execute(change)
        found = [each.says for each in await _permissions(stack) if not each.ok]
    finally:
        for back in WIDER.values():
            await owner.execute(back)
        await owner.close()

    added = {each.removesuffix(", by no migration").removeprefix("voterdb: ") for each in found}
    named = [re.sub(r",? [0-9a-f]{16}$", "", each) for each in sorted(added)]
    assert named == [
        "ballot_monitor may replicate",
        "ballot_monitor may select pg_catalog.pg_authid",
        "ballot_monitor may set session_replication_role",
        "constraint releases_ballot_shard_entry_fkey on ballot.releases is off",
        "everybody may execute pg_catalog.pg_read_file/1",
        "everybody may select pg_catalog.pg_authid.rolpassword",
        "function ballot.worker_event/3 is",
        "function ballot.worker_fuse_state/0 is",
        "no longer so: function ballot.worker_fuse_state/0 is",
        "no longer so: trigger event_writer on ballot.events is on",
        "rule kept on ballot.availability",
        "trigger event_writer on ballot.events is off",
    ]
    assert [each for each in await _permissions(stack) if not each.ok] == []


async def _permissions(stack: Stack) -> list[Finding]:
    return await asyncio.to_thread(lambda: list(permissions.permissions(stack.home.path)))


async def test_a_queue_that_takes_no_votes_is_named(stack: Stack, ballot_id: str) -> None:
    """No worker's word for this run of an opened ballot's queue, a refusal of it, a recovery not finished."""
    admin = valkey.connect(stack.servers, "admin")
    owner = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    info = await admin.info("server") | await admin.info("replication")
    run = handoff.run_name(str(info["run_id"]), str(info["master_replid"]))
    kept: Any = await admin.hgetall(handoff.TRUST_KEY)
    epoch: Any = await admin.get(handoff.EPOCH_KEY)
    event = """
        INSERT INTO ballot.events (kind, actor, detail)
        VALUES ($1, $3, jsonb_build_object('run_id', $2::text, 'faults', '["it forgot a vote"]'::jsonb))
    """

    async def look() -> list[str]:
        found = await asyncio.to_thread(lambda: list(trusted.trusted(stack.home.path)))
        return [f"{each.says.partition(': ')[2] or each.says}; {each.change}" for each in found]

    try:
        await admin.delete(handoff.TRUST_KEY)
        await owner.execute(
            "INSERT INTO ballot.ballots (ballot, kind, shards, definition, definition_sha256)"
            " VALUES ($1, 'probe', 1, '', sha256(''))",
            ballot_id,
        )
        await owner.execute(
            "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us) VALUES ($1, 'armed', 1, 2)",
            ballot_id,
        )
        await owner.execute(event, "trust_given", run, "worker")  # whatever others' tests made of this run
        unvouched = await look()
        await owner.execute(event, "trust_refused", run, "worker")
        refused = await look()
        await owner.execute(event, "trust_given", run, "desk")  # anybody but a worker is not believed
        still_refused = await look()
        await owner.execute(event, "trust_given", run, "worker")
        await owner.execute(event, "trust_refused", run, "monitor")
        await admin.hset(handoff.TRUST_KEY, run, "1")
        vouched = await look()
        await admin.set(handoff.RECOVERING_KEY, "1")
        recovering = await look()
        await admin.delete(handoff.RECOVERING_KEY)
        await admin.set(handoff.EPOCH_KEY, "999999999999999")  # nobody's
        from_before = await look()
    finally:
        await admin.delete(handoff.EPOCH_KEY)
        if epoch is not None:
            await admin.set(handoff.EPOCH_KEY, epoch)
        await admin.delete(handoff.RECOVERING_KEY, handoff.TRUST_KEY)
        if kept:
            await admin.hset(handoff.TRUST_KEY, mapping=kept)
        await admin.aclose()
        await owner.close()

    assert unvouched == [f"no worker has vouched for this run, so no vote is taken; {trusted.VOUCH}"]
    assert refused == ["a worker refuses it (it forgot a vote); ballot recover"]
    assert still_refused == refused
    assert vouched == ["a worker has vouched for this run of it; "]
    assert "is not as the last recovery left it (epoch 999999999999999" in from_before[0]
    assert from_before[0].endswith("; ballot recover")
    assert recovering == [
        "a recovery or a restore of it was begun and is not finished; ballot recover",
        "a worker has vouched for this run of it; ",
    ]


async def _changes(stack: Stack) -> list[str]:
    """What must be changed; the doctor has a loop of its own."""

    def look() -> list[str]:
        return [each.says for one in LOOKS for each in one(stack.home.path) if not each.ok]

    return await asyncio.to_thread(look)
