"""An in-memory voterdb for what workers and the trimmer ask of it, behind connections shaped like asyncpg's.

A statement outside of a transaction is done and committed in one go. Every hop is announced to the
connection's `pause` with its name, and whoever simulates a network waits there, or raises to cut the
connection: before the statement or the commit is done (`send`), or after (`answer`). A statement that must
wait for another's transaction pauses with `locked` until it is over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tests.simulation.database_functions import READS, WRITES
from tests.simulation.database_tables import Table, Tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CALL: Final = re.compile(r"SELECT (?:\* FROM )?ballot\.(\w+)\(")
PLACE: Final = "worker_turnout_place"
TABLE_FUNCTIONS: Final = frozenset(
    {
        *("store_batch", "worker_kept", "worker_gate_epochs", "worker_marks", "trimmer_marks"),
        "worker_stored_references",
    }
)
NOT_DONE: Final = object()


async def at_once(_hop: str) -> None:
    """No network at all."""


class DatabaseModel:
    """The server: tables, who holds the turnout reader's place, whose transaction is open."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.up = True
        self._run = object()
        self._holder: Connection | None = None
        self._place: Connection | None = None

    def connect(self, pause: Callable[[str], Awaitable[None]] = at_once) -> Connection:
        """A new connection."""
        if not self.up:
            raise ConnectionRefusedError("the database is not up")
        return Connection(self, pause)

    # What the desk does.

    def enter(self, ballot: str, uin: bytes) -> None:
        """A voter of the electorate."""
        self._written("electorate", (ballot, uin), uin)

    def issue(self, ballot: str, digest: bytes, uin: bytes, shard: int) -> None:
        """A credential of the issue register."""
        self.enter(ballot, uin)
        self._written("register", (ballot, digest), (uin, shard))

    def revoke(self, ballot: str, digest: bytes, revoked_us: int) -> None:
        """A revocation with the gate's time."""
        self._written("revocations", (ballot, digest), revoked_us)

    def _written(self, table: str, key: Any, row: Any) -> None:
        with self.tables.committed():
            self.tables.begin()
            self.tables.put(table, key, row)
            self.tables.commit()

    # What happens to a server.

    def crash(self) -> None:
        """End at once: what is not committed is gone, and every connection."""
        if self._holder is not None:
            self.tables.rollback()
        self._holder = self._place = None
        self._run = object()
        self.up = False

    def restart(self) -> None:
        """Start with what was committed."""
        if self.up:
            self.crash()
        self.up = True

    def copy(self) -> dict[str, Table]:
        """What is committed now."""
        return self.tables.copy()

    def restore(self, copy: dict[str, Table]) -> None:
        """Put an older state in place; every connection is gone."""
        self.crash()
        self.tables.restore(copy)
        self.up = True

    # What connections do.

    def attempt(self, connection: Connection, name: str, args: tuple[Any, ...]) -> Any:
        """What a function gives, or NOT_DONE while another's transaction must be waited for."""
        mine = self._holder is connection
        if name == PLACE:
            if self._place is None:
                self._place = connection
            return self._place is connection
        if name in READS:
            if mine or self._holder is None:
                return READS[name](self.tables, *args)
            with self.tables.committed():
                return READS[name](self.tables, *args)
        if not mine and self._holder is not None:
            return NOT_DONE
        if mine:
            return WRITES[name](self.tables, *args)
        self.tables.begin()
        try:
            found = WRITES[name](self.tables, *args)
        except BaseException:
            self.tables.rollback()
            raise
        self.tables.commit()
        return found

    def begin(self, connection: Connection) -> bool:
        """Open a transaction, unless another's is open."""
        if self._holder is not None:
            return False
        self._holder = connection
        self.tables.begin()
        return True

    def finish(self, connection: Connection, *, commit: bool) -> None:
        """End the connection's transaction, if it has one."""
        if self._holder is connection:
            self._holder = None
            if commit:
                self.tables.commit()
            else:
                self.tables.rollback()

    def forget(self, connection: Connection) -> None:
        """The connection is gone."""
        self.finish(connection, commit=False)
        if self._place is connection:
            self._place = None

    def knows(self, run: object) -> bool:
        """Whether that run of the server still goes on."""
        return self.up and run is self._run

    @property
    def run(self) -> object:
        """This run of the server."""
        return self._run


class Connection:
    """What workers.store.Store uses of an asyncpg connection."""

    def __init__(self, model: DatabaseModel, pause: Callable[[str], Awaitable[None]]) -> None:
        self._model = model
        self._run = model.run
        self._pause = pause
        self._closed = False

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""
        return self._closed or not self._model.knows(self._run)

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:  # noqa: ARG002, ASYNC109  # asyncpg's
        """The first value of the first row."""
        found = await self._do(query, args)
        if isinstance(found, list):
            return found[0][0] if found else None
        return found

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:  # noqa: ARG002, ASYNC109  # asyncpg's
        """All rows."""
        found = await self._do(query, args)
        return found if isinstance(found, list) else [(found,)]

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ARG002, ASYNC109  # asyncpg's
        """Only do it."""
        await self._do(query, args)
        return "SELECT 1"

    async def _do(self, query: str, args: tuple[Any, ...]) -> Any:
        found = CALL.match(query)
        if found is None and query != "DISCARD PLANS":
            raise NotImplementedError(query)
        await self._hop("send")
        if found is None:
            result = None
        else:
            while (result := self._model.attempt(self, found[1], args)) is NOT_DONE:
                await self._hop("locked")
        await self._hop("answer")
        return result

    async def _hop(self, name: str) -> None:
        self._require()
        try:
            await self._pause(name)
        except OSError:
            self.terminate()
            raise
        self._require()

    def _require(self) -> None:
        if self.is_closed():
            raise ConnectionResetError("the connection to the database is gone")

    def transaction(self) -> Transaction:
        """A transaction of this connection."""
        return Transaction(self)

    async def start(self) -> None:
        """BEGIN."""
        await self._hop("send")
        while not self._model.begin(self):
            await self._hop("locked")
        await self._hop("answer")

    async def finish(self, *, commit: bool) -> None:
        """COMMIT or ROLLBACK."""
        await self._hop("commit send" if commit else "send")
        self._model.finish(self, commit=commit)
        await self._hop("commit answer" if commit else "answer")

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109  # asyncpg's
        """End it in good order."""
        self.terminate()

    def terminate(self) -> None:
        """End it; the server rolls back what was open."""
        if not self._closed:
            self._closed = True
            if self._model.knows(self._run):
                self._model.forget(self)


class Transaction:
    """A transaction as asyncpg gives it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self) -> None:
        """Begin it."""
        await self._connection.start()

    async def commit(self) -> None:
        """Keep it."""
        await self._connection.finish(commit=True)

    async def rollback(self) -> None:
        """Forget it."""
        await self._connection.finish(commit=False)

    async def __aenter__(self) -> None:
        await self.start()

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if self._connection.is_closed():
            return
        if kind is None:
            await self.commit()
        else:
            await self.rollback()
