"""Applies numbered SQL files by path, each once and in one transaction, and gives every role its password.

Run as `python -m runtime.migrations` with the order on standard input (see `runtime.preparation`). A file
that changed after it was applied is refused: what a database holds can then always be read from the files.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import click
import orjson

from runtime.addresses import OWNER
from runtime.home import Home
from runtime.preparation import Database, migration_files

if TYPE_CHECKING:
    from collections.abc import Iterable

LOCK = 0x62616C6C6F74  # "ballot": one migrating process at a time a database
SCRAM_ITERATIONS = 4096  # PostgreSQL's default; the passwords are 32 random bytes
TIMEOUT_S = 30.0
ROLES = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'ballot\\_%' AND rolname <> $1"
RECORD = """
CREATE SCHEMA IF NOT EXISTS runtime;
CREATE TABLE IF NOT EXISTS runtime.migrations (
    path text PRIMARY KEY,
    sha256 bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


async def migrate(database: Database, files: Iterable[Path], *, home: Home) -> list[str]:
    """Apply what is missing of `files`, set the roles' passwords, and return what was applied."""
    connection = await _connect(database)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
        await connection.execute("SET client_min_messages = warning")
        await connection.execute(RECORD)
        applied = await apply(connection, files)
        await _set_passwords(connection, database, home=home)
        if database.create:
            # Only the owner has business in the databases that initdb made.
            await connection.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        return applied
    finally:
        await connection.close()


async def apply(connection: asyncpg.Connection, files: Iterable[Path]) -> list[str]:
    """Apply each file not yet recorded, in order; refuse a changed file or one that comes too late."""
    rows = await connection.fetch("SELECT path, sha256 FROM runtime.migrations")
    recorded = {row["path"]: row["sha256"] for row in rows}
    applied: list[str] = []
    for path in files:
        name, text = path.name, path.read_bytes()
        sha256 = hashlib.sha256(text).digest()
        if name in recorded:
            if recorded[name] != sha256:
                raise click.ClickException(f"The migration {name} was changed after it had been applied.")
            continue
        if recorded and name < max(recorded):
            raise click.ClickException(f"The migration {name} comes before {max(recorded)}, already applied.")
        await _apply_one(connection, name, text.decode(), sha256)
        applied.append(name)
    return applied


async def _apply_one(connection: asyncpg.Connection, name: str, text: str, sha256: bytes) -> None:
    try:
        async with connection.transaction():
            await connection.execute(text)
            await connection.execute(
                "INSERT INTO runtime.migrations (path, sha256) VALUES ($1, $2)", name, sha256
            )
    except asyncpg.PostgresError as error:
        raise click.ClickException(f"The migration {name} failed and was undone: {error}.") from error


async def _set_passwords(connection: asyncpg.Connection, database: Database, *, home: Home) -> None:
    for row in await connection.fetch(ROLES, OWNER):
        role = row["rolname"]
        name = f"{database.cluster}-{role}"
        if not home.embedded and not home.has_password(name):
            continue  # that role's password is kept by somebody else
        verifier = scram_verifier(home.password(name).reveal(), salt=secrets.token_bytes(16))
        # Neither part can hold a quote: the role is one of ours, the verifier is base64 and digits.
        await connection.execute(f"ALTER ROLE \"{role}\" PASSWORD '{verifier}'")


def scram_verifier(password: str, *, salt: bytes) -> str:
    """Return what PostgreSQL stores of a password; made here, so the password is never sent or logged."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


async def _connect(database: Database) -> asyncpg.Connection:
    try:
        return await _connect_to(database, database.database)
    except asyncpg.InvalidCatalogNameError:
        if not database.create:
            raise
    maintenance = await _connect_to(database, "postgres")
    try:
        await maintenance.execute(f'CREATE DATABASE "{database.database}"')
    finally:
        await maintenance.close()
    return await _connect_to(database, database.database)


async def _connect_to(database: Database, name: str) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=name,
        ssl=database.sslmode,
        timeout=TIMEOUT_S,
    )


async def _migrate_all(order: dict[str, Any]) -> None:
    home = Home(Path(order["home"]), embedded=order["embedded"])
    databases = [Database(**fields) for fields in order["databases"]]
    work = [migrate(database, migration_files(database.cluster), home=home) for database in databases]
    results = await asyncio.gather(*work, return_exceptions=True)
    for database, result in zip(databases, results, strict=True):
        if isinstance(result, click.ClickException):
            raise click.ClickException(f"{database.cluster}: {result.message}")
        if isinstance(result, BaseException):
            reason = f"{type(result).__name__}: {result}"
            raise click.ClickException(f"{database.cluster} could not be prepared ({reason}).") from result


def main() -> None:
    """Apply the order on standard input; one line on stderr and exit 1 when that fails."""
    try:
        asyncio.run(_migrate_all(orjson.loads(sys.stdin.buffer.read())))
    except click.ClickException as error:
        sys.exit(error.message)


if __name__ == "__main__":
    main()
