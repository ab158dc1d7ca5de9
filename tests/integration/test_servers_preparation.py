"""Migrations and functions: each applied once, in order, whole or not at all; no value in any log."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
import click
import pytest

from ballot import handoff
from runtime import postgres, preparation
from runtime.addresses import OWNER, PostgresAddress
from runtime.migrations import migrate
from runtime.preparation import Database, admin_client, load_functions, users_acl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conftest import Stack


@asynccontextmanager
async def scratch(stack: Stack) -> AsyncIterator[Database]:
    """Name a database that does not exist yet, for the migrations to make, and drop it afterwards."""
    address = stack.servers.voterdb
    user, password = stack.servers.credentials("voterdb", OWNER)
    name = f"scratch_{secrets.token_hex(4)}"
    place = PostgresAddress(address.host, address.port, name)
    try:
        yield Database.at("voterdb", place, user=user, password=password, create=True)
    finally:
        connection = await postgres.connect(stack.servers, "voterdb", OWNER)
        await connection.execute(f"DROP DATABASE IF EXISTS {name}")
        await connection.close()


def sql(directory: Path, **texts: str) -> list[Path]:
    """Write numbered files, named by keyword without the leading underscore, and return them in order."""
    for name, text in texts.items():
        (directory / f"{name[1:]}.sql").write_text(text)
    return sorted(directory.glob("*.sql"))


async def fetch(stack: Stack, database: Database, query: str) -> list[object]:
    """Return the first column of a query on the scratch database."""
    connection = await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.database,
        ssl=False,
    )
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_files_apply_once_and_in_order(stack: Stack, tmp_path: Path) -> None:
    """New files are applied by number, applied ones are left alone."""
    files = sql(tmp_path, _001_a="CREATE TABLE a (n int);", _002_b="INSERT INTO a VALUES (1);")
    async with scratch(stack) as database:
        assert await migrate(database, files, home=stack.home) == ["001_a.sql", "002_b.sql"]
        assert await migrate(database, files, home=stack.home) == []
        more = sql(tmp_path, _003_c="INSERT INTO a VALUES (2);")
        assert await migrate(database, more, home=stack.home) == ["003_c.sql"]

        assert await fetch(stack, database, "SELECT n FROM a ORDER BY n") == [1, 2]


async def test_a_changed_file_is_refused(stack: Stack, tmp_path: Path) -> None:
    """What was applied can always be read from the files: a changed one stops everything."""
    async with scratch(stack) as database:
        await migrate(database, sql(tmp_path, _001_a="SELECT 1;"), home=stack.home)

        with pytest.raises(click.ClickException, match=r"001_a\.sql was changed"):
            await migrate(database, sql(tmp_path, _001_a="SELECT 2;"), home=stack.home)


async def test_a_file_that_comes_too_late_is_refused(stack: Stack, tmp_path: Path) -> None:
    """A file numbered before one already applied is refused: order is part of what was promised."""
    async with scratch(stack) as database:
        await migrate(database, sql(tmp_path, _002_b="SELECT 1;"), home=stack.home)

        with pytest.raises(click.ClickException, match=r"001_a\.sql comes before 002_b\.sql"):
            await migrate(database, sql(tmp_path, _001_a="SELECT 1;"), home=stack.home)


async def test_a_failing_file_leaves_nothing(stack: Stack, tmp_path: Path) -> None:
    """A file that fails halfway is undone whole and not recorded; the ones before it stay."""
    files = sql(tmp_path, _001_a="CREATE TABLE a ();", _002_b="CREATE TABLE b (); SELECT 1/0;")
    async with scratch(stack) as database:
        with pytest.raises(click.ClickException, match=r"002_b\.sql failed and was undone"):
            await migrate(database, files, home=stack.home)

        assert await fetch(stack, database, "SELECT to_regclass('a') IS NOT NULL") == [True]
        assert await fetch(stack, database, "SELECT to_regclass('b') IS NULL") == [True]
        assert await fetch(stack, database, "SELECT path FROM runtime.migrations") == ["001_a.sql"]


def test_functions_are_loaded_when_they_differ(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library is loaded when it is new or changed, and left alone when it is the loaded one."""
    name = f"t_{secrets.token_hex(4)}"
    path = tmp_path / "library.lua"
    monkeypatch.setattr(preparation, "function_files", lambda: [path])
    address = stack.servers.valkey
    user, password = stack.servers.credentials("valkey", "admin")

    with admin_client(address, user=user, password=password) as client:
        for answer in ("one", "one", "two"):
            text = (
                f"#!lua name={name}\nserver.register_function('{name}', function() return '{answer}' end)\n"
            )
            path.write_text(text)
            before = loads(client.info("commandstats"))
            load_functions(address, user=user, password=password)
            loaded = loads(client.info("commandstats")) - before

            assert client.fcall(name, 0) == answer.encode()
            assert loaded == (0 if text == previous(tmp_path, text) else 1)
        client.function_delete(name)


def test_functions_stay_while_an_open_ballot_has_another_layout(
    stack: Stack, ballot_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence names the ballot and what to do; once it is closed they are loaded."""
    name, key = f"t_{secrets.token_hex(4)}", handoff.gate_key(ballot_id, 0)
    path = tmp_path / "library.lua"
    # As every other ballot here: those do not stand in the way.
    path.write_text(
        f"#!lua name={name}\nlocal LAYOUT = '1'\nserver.register_function('{name}', function() end)\n"
    )
    monkeypatch.setattr(preparation, "function_files", lambda: [path])
    user, password = stack.servers.credentials("valkey", "admin")

    with admin_client(stack.servers.valkey, user=user, password=password) as client:
        for left in [each for each in client.scan_iter("{*}:gate") if client.hget(each, "layout") != b"1"]:
            client.delete(left)  # of an earlier test, which wrote to a gate by hand
        for window in ({"opens_us": 1, "closes_us": 1 << 60}, {"layout": 2}, {"layout": 2, "closes_us": "?"}):
            client.hset(key, mapping={"state": "scheduled", **window})
            with pytest.raises(
                click.ClickException, match=f"{ballot_id}:00.* not closed .*until the ballot is"
            ):
                load_functions(stack.servers.valkey, user=user, password=password)
            assert client.function_list(library=name) == []
            client.delete(key)
        client.hset(key, mapping={"opens_us": 1, "closes_us": 2, "state": "open", "layout": "0"})
        load_functions(stack.servers.valkey, user=user, password=password)
        assert len(client.function_list(library=name)) == 1
        client.function_delete(name)
        client.delete(key)


def loads(stats: object) -> int:
    """Return how often a function library was loaded since the server started."""
    found = stats.get("cmdstat_function|load", {}) if isinstance(stats, dict) else {}
    return int(found.get("calls", 0))


def previous(directory: Path, text: str) -> str:
    """Return what was asked to be loaded the time before, and remember `text`."""
    path = directory / "previous"
    before = path.read_text() if path.exists() else ""
    path.write_text(text)
    return before


def test_a_library_without_a_name_is_refused(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function file without its header is one sentence that names it."""
    (tmp_path / "x.lua").write_text("return 1")
    monkeypatch.setattr(preparation, "function_files", lambda: [tmp_path / "x.lua"])
    user, password = stack.servers.credentials("valkey", "admin")

    with pytest.raises(click.ClickException, match=r"x\.lua does not begin"):
        load_functions(stack.servers.valkey, user=user, password=password)


def test_valkeys_users_carry_digests_only(stack: Stack) -> None:
    """The user file turns the default user off and holds no password, only digests."""
    text = users_acl(stack.home)

    assert text.startswith("user default off\n")
    for path in stack.home.secrets.glob("valkey-*.password"):
        assert path.read_text().strip() not in text
    assert all(line.split()[-1].startswith("#") for line in text.splitlines()[1:])


async def test_no_value_reaches_a_servers_log(stack: Stack) -> None:
    """A planted value in a failing statement, its parameters or the key of a conflict is in no log."""
    planted = f"planted-{secrets.token_hex(8)}"
    connection = await postgres.connect(stack.servers, "voterdb", OWNER)
    await connection.execute("CREATE TEMP TABLE t (word text UNIQUE, CHECK (word <> 'bad'))")
    await connection.execute("INSERT INTO t VALUES ($1)", planted)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("INSERT INTO t VALUES ($1)", planted)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(f"INSERT INTO t VALUES ('{planted}')")  # noqa: S608  # our own planted value
    with pytest.raises(asyncpg.PostgresSyntaxError):
        await connection.execute(f"INSERT INTO t VALUEZ ('{planted}')")
    await connection.close()

    for log in stack.home.logs.glob("*.log"):
        assert planted not in log.read_text("utf-8", "replace")
    assert "duplicate key value" in (stack.home.logs / "voterdb.log").read_text()
