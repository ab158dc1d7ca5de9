"""One of the two clusters as the backup's role sees it: it copies, asks how far votes are, writes events."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click

from ops.backup.catalogue import Covered
from ops.backup.place import BackupFailed
from runtime import logs, postgres
from runtime.addresses import BACKUP, Cluster
from runtime.postgres_server import program

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from runtime.servers import Servers

ANSWER_WAIT_S: Final = 30.0
TOOL_WAIT_S: Final = 30.0
KEEPALIVE: Final = "keepalives_idle=10 keepalives_interval=10 keepalives_count=3 connect_timeout=10"
SLOT: Final = "ballot_backup"
KEPT_MB: Final = "SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"
UNBOUNDED: Final = -1
DROP_UNUSED: Final = (
    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND NOT active"
)
MAJOR: Final = 10_000
EVENT: Final = {
    "voterdb": "SELECT ballot.backup_event($1, $2)",
    "userdb": "SELECT people.backup_event($1, $2)",
}
DRILL_EVENT: Final = "SELECT ballot.drill_event($1, $2)"
CHECKER: Final = "ballot_checker"
log = logs.get("backup")


@dataclass(frozen=True, slots=True)
class ClusterSource:
    """What a backup of `cluster` is made from."""

    servers: Servers
    cluster: Cluster

    @property
    def arguments(self) -> list[str]:
        """What tells PostgreSQL's tools where to connect, without the password."""
        address = self.servers.postgres(self.cluster)
        user, _ = self.servers.credentials(self.cluster, BACKUP)
        return ["-h", address.host, "-p", str(address.port), "-U", user, "-w", "-d", KEEPALIVE]

    @property
    def environment(self) -> dict[str, str]:
        """Our environment with the password, which is never an argument."""
        _, password = self.servers.credentials(self.cluster, BACKUP)
        own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        own["PGPASSWORD"] = password.reveal()
        own["PGSSLMODE"] = self.servers.postgres(self.cluster).sslmode
        own["LC_ALL"] = "C"
        return own

    def check(self) -> None:
        """Say in one sentence why this cluster cannot be backed up, if so."""
        found = self._ask(
            lambda connection: connection.fetchrow(
                "SELECT current_setting('server_version_num')::integer AS version,"
                " (SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user) AS may"
            )
        )
        if found["version"] // MAJOR != tools_major():
            raise BackupFailed(
                f"{self.cluster} is PostgreSQL {found['version'] // MAJOR} and the tools here are of "
                f"{tools_major()}: backups are made with tools of the server's own version."
            )
        if not found["may"]:
            raise BackupFailed(
                f"The role {BACKUP} may not copy {self.cluster}: a superuser there runs "
                f"ALTER ROLE {BACKUP} REPLICATION."
            )

    def marks(self) -> tuple[Covered, ...]:
        """How far each shard's votes have come into the voter database; nothing for the other cluster."""
        if self.cluster != "voterdb":
            return ()
        rows = self._ask(
            lambda connection: connection.fetch(
                "SELECT ballot, shard, side, entry FROM ballot.marks ORDER BY ballot, shard, side"
            )
        )
        return tuple(Covered(row["ballot"], row["shard"], row["side"], row["entry"]) for row in rows)

    def switch_wal(self, since: str | None) -> str:
        """Begin a new WAL segment if a transaction has ended since `since`; what has ended by now.

        Told by the transactions that are seen, not by the WAL: of the switch itself the server writes a
        little, and an idle one would never come to rest.
        """

        async def switch(connection: asyncpg.Connection) -> str:
            ended = str(await connection.fetchval("SELECT pg_current_snapshot()::text"))
            if ended != since:
                await connection.execute("SELECT pg_switch_wal()")
            return ended

        return str(self._ask(switch))

    def keep_slot(self, beforehand: Callable[[], object]) -> bool:
        """Make sure that the server keeps WAL for us; whether it begins to only now, so that some is missing.

        Then `beforehand` is called first: whoever is killed in between has it called again.

        A slot that fell too far behind is lost: the server keeps a bounded amount, and votes come first. So
        where it would keep any amount there is no slot of ours, nor stays one: BackupFailed says it.
        """

        async def look(connection: asyncpg.Connection) -> bool:
            if await connection.fetchval(KEPT_MB) == UNBOUNDED:
                await connection.execute(DROP_UNUSED, SLOT)
                raise BackupFailed(
                    f"{self.cluster} would keep WAL for a backup without a bound, until its disk is full: "
                    "set max_slot_wal_keep_size there, e.g. to 2GB, and reload."
                )
            status = await connection.fetchrow(
                "SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1", SLOT
            )
            if status is not None and status["wal_status"] != "lost":
                return False
            beforehand()
            if status is not None:
                await connection.execute("SELECT pg_drop_replication_slot($1)", SLOT)
            await connection.execute("SELECT pg_create_physical_replication_slot($1, true)", SLOT)
            return True

        return bool(self._ask(look))

    def event(self, kind: str, detail: dict[str, object]) -> None:
        """Write an event; that it could not be written is logged, and fails nothing.

        Of drills whoever checks the books writes: the backup's role must not be able to claim one.
        """
        drill = kind.startswith("drill.")
        statement, role = (DRILL_EVENT, CHECKER) if drill else (EVENT[self.cluster], BACKUP)
        try:
            self._ask(lambda connection: connection.execute(statement, kind, json.dumps(detail)), role)
        except click.ClickException as error:  # a password that is missing, too
            log.warning("event_not_written", what=self.cluster, kind=kind, error=error)

    def _ask(
        self, question: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]], role: str = BACKUP
    ) -> Any:
        async def ask() -> Any:
            connection = await postgres.connect(self.servers, self.cluster, role)
            try:
                return await question(connection)
            finally:
                await connection.close(timeout=ANSWER_WAIT_S)

        try:
            return asyncio.run(asyncio.wait_for(ask(), ANSWER_WAIT_S))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise BackupFailed(f"{self.cluster} does not answer ({type(error).__name__}).") from error


def tools_major() -> int:
    """The version that PostgreSQL's tools here are of."""
    told = subprocess.run(
        [program("pg_basebackup"), "--version"], capture_output=True, check=True, timeout=TOOL_WAIT_S
    )
    found = re.search(rb"(\d+)", told.stdout)
    return int(found[1]) if found else 0
