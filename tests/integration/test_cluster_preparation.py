"""A configured Cluster gets users on every node and functions on every primary, by who holds the password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import pytest

from runtime import queue_preparation, valkey
from runtime.home import Home
from runtime.nodes import Nodes
from runtime.servers import servers
from tests.conftest import environment_for
from tests.integration import cluster_rig

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cluster_rig import Node

USERS = ("intake", "worker", "desk", "checker", "replica")


def has_functions(node: Node) -> bool:
    """Whether a node holds the gate."""
    return bool(node.ask("FUNCTION LIST", "LIBRARYNAME", "ballot"))


def has_users(node: Node) -> bool:
    """Whether a node lets our users in, and does what their rules say."""
    return all(node.ask("ACL GETUSER", user) is not None for user in USERS)


@pytest.mark.long
async def test_every_node_is_prepared_also_one_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bare nodes are prepared at the start of a command, a returning one later; a dead one stops nothing."""
    env = environment_for(tmp_path / "home")
    home = Home.from_environment(env)
    with cluster_rig.cluster(home, tmp_path, primaries=3, replicas=0) as rig:
        env["BALLOT_VALKEY_URL"] = rig.url
        env["BALLOT_VOTERDB_URL"] = env["BALLOT_USERDB_URL"] = "postgresql://127.0.0.1:1/none"
        for node in rig.nodes:
            node.ask("FUNCTION FLUSH", "SYNC")
            node.ask("ACL DELUSER", *USERS)
        one, two, three = rig.nodes
        two.ask("CONFIG SET", "appendfsync", "everysec")
        one.ask("CONFIG SET", "masteruser", "admin")
        rig.kill(three)

        configured = Home(home.path, embedded=False)
        monkeypatch.setattr(queue_preparation, "LOOK_S", 0.0)
        with servers(configured, env) as found:
            assert has_functions(one)
            assert has_functions(two)
            assert has_users(one)
            assert has_users(two)
            assert found.ensure_running() == ()
            rig.restart(three)
            three.ask("ACL DELUSER", *USERS)
            assert found.ensure_running() == (f"{three.host}:{three.port}",)
            assert has_functions(three)
            assert has_users(three)
            rig.wait_well()
            client = valkey.connect(found, "intake")
            assert await client.hget("{b:00}:references", "x") is None
            await client.aclose()
            nodes = Nodes(found, "worker")
            assert {each.place[1] for each in await nodes.primaries()} == {node.port for node in rig.nodes}
            assert await (await nodes.holder("{b:00}:votes")).xlen("{b:00}:votes") == 0
            await nodes.aclose()

        told = capsys.readouterr().err
        assert told.count("\n") == len((one, two))
        assert f"Valkey at {one.host}:{one.port} replicates as admin, and the edge's user can read " in told
        assert f"Valkey at {two.host}:{two.port} must be set to: appendfsync always.\n" in told
        (home.secrets / "valkey-admin.password").write_text("wrong\n")
        with (
            pytest.raises(click.ClickException, match="was not prepared") as caught,
            servers(configured, env),
        ):
            pass
        assert "\n" not in caught.value.message
