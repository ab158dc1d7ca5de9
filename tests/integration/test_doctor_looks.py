"""The doctor looks at running servers as they are: ours are well, and what somebody changed is named."""

import asyncio

import pytest

from ops.doctor import clock, disk, durability, permissions, versions
from runtime import postgres, valkey
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


async def _changes(stack: Stack) -> list[str]:
    """What must be changed; the doctor has a loop of its own."""

    def look() -> list[str]:
        return [each.says for one in LOOKS for each in one(stack.home.path) if not each.ok]

    return await asyncio.to_thread(look)
