"""Valkey and two PostgreSQL clusters while somebody uses them: the configured ones, or the home's own."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runtime.addresses import (
    ADMIN,
    CLUSTERS,
    OWNER,
    Cluster,
    Configured,
    PostgresAddress,
    Userinfo,
    ValkeyAddress,
    configured,
)
from runtime.embedded import Embedded
from runtime.ports import LOOPBACK
from runtime.preparation import Database, apply_migrations
from runtime.queue_preparation import QueuePreparation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runtime.home import Home, Redacted


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers and how to log in to them; see `runtime.valkey` and `runtime.postgres` for connecting."""

    home: Home
    _configured: Configured | None = None
    _embedded: Embedded | None = None
    _userinfo: Mapping[str, Userinfo] = field(default_factory=dict)
    _preparation: QueuePreparation | None = None

    @property
    def embedded(self) -> bool:
        """Whether the servers are ours."""
        return self._embedded is not None

    @property
    def valkey(self) -> ValkeyAddress:
        """The queue and gate."""
        if self._configured is not None:
            return self._configured.valkey
        return ValkeyAddress(LOOPBACK, self._port("valkey"))

    @property
    def voterdb(self) -> PostgresAddress:
        """Sealed votes and the issue register."""
        return self.postgres("voterdb")

    @property
    def userdb(self) -> PostgresAddress:
        """The people on the roll."""
        return self.postgres("userdb")

    def postgres(self, cluster: Cluster) -> PostgresAddress:
        """Return the address of one of the two clusters."""
        if self._configured is not None:
            return self._configured.voterdb if cluster == "voterdb" else self._configured.userdb
        return PostgresAddress(LOOPBACK, self._port(cluster), cluster)

    def credentials(self, server: str, user: str) -> tuple[str, Redacted]:
        """Return user and password for `server`: what its URL carried, else `user` and the password file."""
        given = self._userinfo.get(server)
        if given is not None:
            return given.user, given.password
        return user, self.home.password(f"{server}-{user}")

    @property
    def processes(self) -> dict[str, int]:
        """The embedded servers' process ids by name; empty for configured ones."""
        return {} if self._embedded is None else self._embedded.processes()

    def ensure_running(self) -> tuple[str, ...]:
        """Start again what has died of the embedded servers and return their names.

        Of configured ones nothing is started; servers that have come to the queue are prepared, and returned,
        by whoever holds the admin's password. Quick when nothing died. Otherwise it blocks until they answer:
        call it from a thread. Raises ClickException when a server cannot be started or prepared; the caller
        decides when to try again.
        """
        if self._embedded is not None:
            return self._embedded.ensure_running()
        return () if self._preparation is None else self._preparation.look()

    def _port(self, name: str) -> int:
        if self._embedded is None:
            raise RuntimeError("neither configured nor embedded")
        return self._embedded.port(name)


@contextmanager
def servers(home: Home, env: Mapping[str, str] = os.environ, *, supervise: bool = False) -> Iterator[Servers]:
    """Use the servers while the block runs: the configured ones, else the home's own, started if need be.

    Commands that share a home share its servers; the last to leave stops them. With `supervise` they are this
    process's own children (unless another command is using them already).
    """
    given = configured(env)
    if given is not None:
        yield _prepare_configured(home, given)
        return
    embedded = Embedded(home, supervise=supervise)
    embedded.join()
    try:
        yield Servers(home, _embedded=embedded)
    finally:
        embedded.leave()


def _prepare_configured(home: Home, given: Configured) -> Servers:
    """Apply migrations and functions as far as this home holds the owner's and the admin's credentials."""
    found = Servers(home, _configured=given, _userinfo=given.userinfo)
    databases = []
    for cluster in CLUSTERS:
        if _may_act_as(found, cluster, OWNER):
            user, password = found.credentials(cluster, OWNER)
            databases.append(Database.at(cluster, found.postgres(cluster), user=user, password=password))
    apply_migrations(home, databases)
    if _may_act_as(found, "valkey", ADMIN):
        user, password = found.credentials("valkey", ADMIN)
        preparation = QueuePreparation(home, found.valkey, user=user, password=password)
        preparation.prepare()
        return replace(found, _preparation=preparation)
    return found


def _may_act_as(found: Servers, server: str, user: str) -> bool:
    given = found._userinfo.get(server)  # noqa: SLF001  # our own class, same module
    return given.user == user if given is not None else found.home.has_password(f"{server}-{user}")
