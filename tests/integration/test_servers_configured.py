"""Configured servers: used as they are, prepared only by who holds the owner's and the admin's passwords."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import asyncpg
import click
import pytest
import redis

from runtime import postgres, valkey
from runtime.home import Home
from runtime.servers import servers

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Stack


def urls(stack: Stack, **userinfo: str) -> dict[str, str]:
    """Return settings that configure the session's servers as somebody else's."""
    found, at = stack.servers, {name: f"{text}@" for name, text in userinfo.items()}
    return {
        "BALLOT_VALKEY_URL": f"redis://{at.get('valkey', '')}{found.valkey.host}:{found.valkey.port}",
        "BALLOT_VOTERDB_URL": f"postgresql://{at.get('voterdb', '')}127.0.0.1:{found.voterdb.port}/voterdb",
        "BALLOT_USERDB_URL": f"postgresql://{at.get('userdb', '')}127.0.0.1:{found.userdb.port}/userdb",
    }


def second_home(path: Path, env: dict[str, str], stack: Stack, *passwords: str) -> Home:
    """Return another home that was given copies of some of the session's password files."""
    home = Home.from_environment({**env, "BALLOT_HOME": str(path / "second")})
    for name in passwords:
        shutil.copy(stack.home.secrets / f"{name}.password", home.secrets)
    return home


async def test_password_files_open_the_servers(stack: Stack, tmp_path: Path) -> None:
    """With a role's password file a process connects, and nothing is started, migrated or made up for it."""
    env = urls(stack)
    home = second_home(tmp_path, env, stack, "valkey-intake", "voterdb-ballot_desk")

    with servers(home, env) as found:
        assert not found.embedded
        assert found.processes == {}
        assert found.ensure_running() == ()
        client = valkey.connect(found, "intake")
        assert await client.ping()
        await client.aclose()
        connection = await postgres.connect(found, "voterdb", "ballot_desk")
        assert await connection.fetchval("SELECT current_user") == "ballot_desk"
        await connection.close()
        with pytest.raises(click.ClickException, match=r"voterdb-ballot_worker\.password is missing"):
            await postgres.connect(found, "voterdb", "ballot_worker")

    assert list(home.data.iterdir()) == []
    assert len(list(home.secrets.iterdir())) == 2


async def test_userinfo_wins_over_password_files(stack: Stack, tmp_path: Path) -> None:
    """User and password in a URL are what is used, whatever role was asked for."""
    password = stack.home.password("voterdb-ballot_checker").reveal()
    env = urls(stack, voterdb=f"ballot_checker:{password}")
    home = second_home(tmp_path, env, stack)

    with servers(home, env) as found:
        connection = await postgres.connect(found, "voterdb", "ballot_desk")
        assert await connection.fetchval("SELECT current_user") == "ballot_checker"
        await connection.close()


async def test_the_owner_applies_migrations(stack: Stack, tmp_path: Path) -> None:
    """A home with the owners' and the admin's passwords finds the servers up to date, roles left alone."""
    env = urls(stack)
    owners = ("voterdb-ballot_owner", "userdb-ballot_owner", "valkey-admin")
    home = second_home(tmp_path, env, stack, *owners)

    with servers(home, env):
        pass

    connection = await postgres.connect(stack.servers, "voterdb", "ballot_checker")
    await connection.close()


def test_a_wrong_owner_password_is_one_sentence(stack: Stack, tmp_path: Path) -> None:
    """What cannot be prepared is said in one line that names the cluster, not the password."""
    env = urls(stack, voterdb="ballot_owner:hunter2")
    home = second_home(tmp_path, env, stack)

    with (
        pytest.raises(click.ClickException, match="voterdb could not be prepared") as caught,
        servers(home, env),
    ):
        pass
    assert "hunter2" not in caught.value.message


def test_some_urls_but_not_all_is_a_mistake(stack: Stack, tmp_path: Path) -> None:
    """Two of the three URLs are refused before anything is touched."""
    env = urls(stack)
    del env["BALLOT_USERDB_URL"]
    home = Home.from_environment({**env, "BALLOT_HOME": str(tmp_path)})

    with pytest.raises(click.ClickException, match="BALLOT_USERDB_URL must be set too"), servers(home, env):
        pass


async def test_a_wrong_password_is_refused_on_each_server(stack: Stack, tmp_path: Path) -> None:
    """Neither Valkey nor either cluster lets anyone in by where they come from."""
    env = urls(stack)
    home = Home.from_environment({**env, "BALLOT_HOME": str(tmp_path)})
    for name in ("valkey-intake", "valkey-default", "voterdb-ballot_worker", "userdb-ballot_people"):
        (home.secrets / f"{name}.password").write_text("wrong\n")

    with servers(home, env) as found:
        for user in ("intake", "default"):
            client = valkey.connect(found, user)
            with pytest.raises(redis.AuthenticationError):
                await client.get("x")
            await client.aclose()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await postgres.connect(found, "voterdb", "ballot_worker")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await postgres.connect(found, "userdb", "ballot_people")
        anonymous = redis.asyncio.Redis(host=found.valkey.host, port=found.valkey.port, protocol=2)
        with pytest.raises(redis.AuthenticationError):
            await anonymous.get("x")
        await anonymous.aclose()
