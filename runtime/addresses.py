"""Where the servers are and who we are to them: addresses never carry a password."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import click

from runtime.environment import Environment
from runtime.home import URL_VARIABLES, Redacted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cluster = Literal["voterdb", "userdb"]
CLUSTERS: tuple[Cluster, ...] = ("voterdb", "userdb")
OWNER = "ballot_owner"
BACKUP = "ballot_backup"
ADMIN = "admin"
REPLICA = "replica"
VALKEY_SCHEMES = ("valkey", "redis", "valkeys", "rediss")
CLUSTER_SCHEMES = ("valkey-cluster", "valkeys-cluster")
VALKEY_PORT = 6379
POSTGRES_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class ValkeyAddress:
    """One Valkey or Redis server, or a Cluster of them.

    A Cluster is asked for its primaries; `seeds` are the nodes it may be asked at, the first of them at
    `host` and `port`.
    """

    host: str
    port: int
    db: int = 0
    tls: bool = False
    cluster: bool = False
    seeds: tuple[tuple[str, int], ...] = ()

    @property
    def url(self) -> str:
        """The address as a URL, without credentials."""
        if self.cluster:
            scheme = "valkeys-cluster" if self.tls else "valkey-cluster"
            return f"{scheme}://{','.join(f'{_bracketed(host)}:{port}' for host, port in self.seeds)}"
        return f"{'rediss' if self.tls else 'redis'}://{self.host}:{self.port}/{self.db}"


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """One database of one PostgreSQL cluster; `sslmode` as libpq spells it."""

    host: str
    port: int
    database: str
    sslmode: str = "disable"


@dataclass(frozen=True, slots=True)
class Userinfo:
    """The user and password a URL carried; they win over the password files."""

    user: str
    password: Redacted


@dataclass(frozen=True, slots=True)
class Configured:
    """The three servers an operator runs for us."""

    valkey: ValkeyAddress
    voterdb: PostgresAddress
    userdb: PostgresAddress
    userinfo: Mapping[str, Userinfo]


def configured(env: Mapping[str, str]) -> Configured | None:
    """Return the configured servers, or nothing when none is; some but not all is a mistake."""
    present = [name for name in URL_VARIABLES if env.get(name)]
    if not present:
        return None
    if len(present) < len(URL_VARIABLES):
        missing = " and ".join(name for name in URL_VARIABLES if name not in present)
        raise click.ClickException(f"{missing} must be set too: the three servers are configured together.")
    settings = Environment(env)
    valkey_name, voterdb_name, userdb_name = URL_VARIABLES
    is_cluster = env[valkey_name].startswith(tuple(f"{scheme}:" for scheme in CLUSTER_SCHEMES))
    valkey_urls = (
        settings.urls(valkey_name, schemes=CLUSTER_SCHEMES)
        if is_cluster
        else (settings.url(valkey_name, schemes=VALKEY_SCHEMES),)
    )
    voterdb_url = settings.url(voterdb_name, schemes=POSTGRES_SCHEMES)
    userdb_url = settings.url(userdb_name, schemes=POSTGRES_SCHEMES)
    settings.done()
    urls = {"valkey": valkey_urls[0], "voterdb": voterdb_url, "userdb": userdb_url}
    userinfo = {name: found for name, url in urls.items() if (found := _userinfo(url))}
    valkey = _cluster(settings, valkey_urls) if is_cluster else _valkey(settings, valkey_urls[0])
    voterdb = _postgres(voterdb_url, "voterdb")
    settings.done()
    return Configured(valkey, voterdb, _postgres(userdb_url, "userdb"), userinfo)


def _valkey(settings: Environment, url: str) -> ValkeyAddress:
    parts = urlsplit(url)
    db = parts.path.strip("/") or "0"
    if not db.isdecimal():
        settings.fault(f"{URL_VARIABLES[0]} ends in {db!r}; it must end in a database number or nothing.")
        db = "0"
    return ValkeyAddress(
        parts.hostname or "", parts.port or VALKEY_PORT, int(db), parts.scheme in {"valkeys", "rediss"}
    )


def _cluster(settings: Environment, urls: Sequence[str]) -> ValkeyAddress:
    seeds = []
    for url in urls:
        parts = urlsplit(url)
        if parts.path.strip("/") not in {"", "0"}:
            settings.fault(f"{URL_VARIABLES[0]} ends in {parts.path!r}; a Cluster has the database 0 alone.")
        seeds.append((parts.hostname or "", parts.port or VALKEY_PORT))
    host, port = seeds[0]
    return ValkeyAddress(
        host, port, tls=urlsplit(urls[0]).scheme == "valkeys-cluster", cluster=True, seeds=tuple(seeds)
    )


def _postgres(url: str, database: str) -> PostgresAddress:
    parts = urlsplit(url)
    sslmode = parse_qs(parts.query).get("sslmode", ["prefer"])[-1]
    return PostgresAddress(
        parts.hostname or "", parts.port or 5432, unquote(parts.path.strip("/")) or database, sslmode
    )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _userinfo(url: str) -> Userinfo | None:
    parts = urlsplit(url)
    if not parts.username:
        return None
    return Userinfo(unquote(parts.username), Redacted(unquote(parts.password or "")))
