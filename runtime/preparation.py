"""What running servers need before use: migrations and roles, functions and users."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from runtime.addresses import ADMIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runtime.addresses import PostgresAddress, ValkeyAddress
    from runtime.home import Home, Redacted

OPS = Path(__file__).resolve().parent.parent / "ops"
POSTGRES = OPS / "postgres"
VALKEY = OPS / "valkey"
MIGRATION_NAME = re.compile(r"\d{3}_[a-z0-9_]+\.sql")
LIBRARY_HEADER = re.compile(rb"#!lua\s+name=(\w+)")
LIBRARY_LAYOUT = re.compile(rb"^local LAYOUT = '(\w+)'", re.MULTILINE)
ADMIN_RULES = f"user {ADMIN} on ~* &* +@all"
MIGRATIONS_WAIT_S = 120
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Database:
    """One database to migrate, as handed to the migrating process on its standard input."""

    cluster: str
    host: str
    port: int
    database: str
    sslmode: str
    user: str
    password: str
    create: bool = False

    def __repr__(self) -> str:
        return f"Database({self.cluster})"

    @classmethod
    def at(
        cls, cluster: str, address: PostgresAddress, *, user: str, password: Redacted, create: bool = False
    ) -> Database:
        """Return the database of `cluster` at `address`; with `create` it is made when missing."""
        return cls(
            cluster,
            address.host,
            address.port,
            address.database,
            address.sslmode,
            user,
            password.reveal(),
            create,
        )


def migration_files(cluster: str) -> list[Path]:
    """Return the numbered SQL files of a cluster in the order they apply."""
    return sorted(path for path in (POSTGRES / cluster).glob("*.sql") if MIGRATION_NAME.fullmatch(path.name))


def function_files() -> list[Path]:
    """Return the function libraries Valkey is to hold."""
    return sorted(VALKEY.glob("*.lua"))


def apply_migrations(home: Home, databases: Sequence[Database]) -> None:
    """Bring each database up to date, in a process of its own.

    Its own process, because this module is imported by the process that faces the Internet, which never loads
    a database driver.
    """
    if not databases:
        return
    order = {
        "home": str(home.path),
        "embedded": home.embedded,
        "databases": [asdict(database) for database in databases],
    }
    done = subprocess.run(
        [sys.executable, "-m", "runtime.migrations"],
        input=orjson.dumps(order),
        capture_output=True,
        check=False,
        timeout=MIGRATIONS_WAIT_S,
        cwd=OPS.parent,
    )
    if done.returncode != 0:
        raise click.ClickException(done.stderr.decode("utf-8", "replace").strip() or "The migrations failed.")


def users_acl(home: Home) -> str:
    """Return Valkey's user file: the rules of `ops/valkey/users.acl` with our passwords' digests."""
    lines = [f"user {name} {' '.join(rule)}" for name, rule in user_rules(home).items()]
    return "\n".join(["user default off", *lines]) + "\n"


def user_rules(home: Home) -> dict[str, list[str]]:
    """Return each user's rule and the digest of its password, in words as ACL SETUSER takes them.

    Where the servers are not ours, a user whose password is not in this home is left out.
    """
    found = {}
    for name, rule in _rules().items():
        if home.embedded or home.has_password(f"valkey-{name}"):
            password = home.password(f"valkey-{name}").reveal()
            found[name] = [*rule, f"#{hashlib.sha256(password.encode()).hexdigest()}"]
    return found


def user_names() -> tuple[str, ...]:
    """Return the names of all our users, whoever has their passwords."""
    return tuple(_rules())


def _rules() -> dict[str, list[str]]:
    path = VALKEY / "users.acl"
    text = path.read_text("utf-8") if path.exists() else ""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("user ")]
    return {ADMIN: ADMIN_RULES.split()[2:]} | {name: rule for name, *rule in lines if name != "default"}


def load_functions(
    address: ValkeyAddress, *, user: str, password: Redacted, reload_users: bool = False
) -> None:
    """Load each function library that differs from the loaded one; with `reload_users` re-read users."""
    try:
        with admin_client(address, user=user, password=password) as client:
            if reload_users:
                client.acl_load()
            load_into(client)
    except redis.RedisError as error:
        raise click.ClickException(
            f"Valkey at {address.host}:{address.port} was not prepared: {error}."
        ) from error


def load_into(client: redis.Redis) -> None:
    """Load each function library that differs from the one this server has."""
    for path in function_files():
        _load_library(client, path.read_bytes(), path.name)


def _load_library(client: redis.Redis, code: bytes, filename: str) -> None:
    header = LIBRARY_HEADER.match(code)
    if header is None:
        raise click.ClickException(f"{filename} does not begin with '#!lua name=…'.")
    listed = client.function_list(library=header[1].decode(), withcode=True)
    for library in listed:
        fields = dict(zip(library[::2], library[1::2], strict=True)) if isinstance(library, list) else library
        if fields.get(b"library_code") == code:
            return
    _refuse_other_layouts(client, code)
    client.function_load(code.decode(), replace=True)


def _refuse_other_layouts(client: redis.Redis, code: bytes) -> None:
    """Leave the functions as they are while a ballot that is not closed was set up with another layout.

    Neither would find the other's codes and marks: voters would be turned away, or vote again.
    """
    layout = LIBRARY_LAYOUT.search(code)
    if layout is None:
        return
    seconds, microseconds = client.time()
    keys: Iterator[bytes] = client.scan_iter(match="{*}:gate", count=1000, _type="hash")
    for key in keys:
        fields: Any = client.hmget(key, "layout", "opens_us", "closes_us", "state")
        kept, opens_us, closes_us, state = fields
        if (kept is None and opens_us is None) or kept == layout[1]:
            continue
        closes = int(closes_us) if closes_us is not None and closes_us.isdigit() else None
        if state != b"closed" and (closes is None or closes > seconds * 1_000_000 + microseconds):
            shard = key.decode(errors="replace").removesuffix(":gate")
            raise click.ClickException(
                f"The queue's functions were not replaced: {shard} is of a ballot that is not closed and was "
                f"set up by a version with another layout ({(kept or b'none').decode(errors='replace')}, not "
                f"{layout[1].decode()}). Go on with that version until the ballot is closed and exported."
            )


def admin_client(
    address: ValkeyAddress, *, user: str, password: Redacted, timeout_s: float = TIMEOUT_S
) -> redis.Redis:
    """Return a blocking client for preparing a server; everything else uses `runtime.valkey`.

    It tries once: the library would try a server that hangs eleven times.
    """
    return redis.Redis(
        host=address.host,
        port=address.port,
        db=address.db,
        ssl=address.tls,
        username=user,
        password=password.reveal(),
        protocol=2,
        decode_responses=False,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )
