"""`ballot trim`: takes out of the queue what every reader has: a long ballot must not fill its memory.

Never what is un-acknowledged, not stored, not in the turnout, younger than fifteen minutes by the queue's
clock or by ours, or, where there are backups, not in a verified one. What the queue itself knows is looked at
in the same step as the trimming (ops/valkey/trim.lua).
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import click
from redis import exceptions

from ballot import handoff
from ballot.encoding import Malformed
from ops.backup.settings import BackupSettings
from ops.trim_bounds import Acknowledged, Mark, Seen, Shard, covered, order, reached
from runtime import logs, postgres
from runtime.clock import Clock, SystemClock
from runtime.home import Home
from runtime.lifecycle import Stop, run_service
from runtime.nodes import Nodes
from runtime.servers import servers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runtime.servers import Servers

USER: Final = "trimmer"
ROLE: Final = "ballot_trimmer"
FUNCTION: Final = "ballot_trim"
ROUND_S: Final = 60.0
AGAIN_S: Final = 5.0
LEAST_AGE_S: Final = 15 * 60.0
CALLS_MAX: Final = 2_000
"""Calls for one stream in one round, each of at most a thousand entries."""

PAUSE_S: Final = 0.02
"""Between two calls: votes go first."""

SAID_S: Final = 3600.0
"""What keeps us from trimming is said again after so long."""

REASONS_MAX: Final = 1_000
TIMEOUT_S: Final = 10.0
COVERED: Final = "voterdb.covered.json"

log = logs.get("trim")


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What one round did to a stream: how many entries went, and why the others stay."""

    ballot: str
    shard: int
    entries: int
    below: str
    held_by: str


class Away(Exception):  # noqa: N818  # a state of the servers
    """A server does not answer; the next round tries again."""


class Trimmer:
    """One round a minute over every stream that the voter database knows; nothing is kept but what was seen.

    `note` says what is backed up; None where backups are off.
    """

    def __init__(
        self, servers_: Servers, *, note: Path | None, clock: Clock, least_age_s: float = LEAST_AGE_S
    ) -> None:
        self._servers = servers_
        self._nodes = Nodes(servers_, USER, timeout_s=TIMEOUT_S)
        self._note = note
        self._clock = clock
        self._least_age_s = least_age_s
        self._seen = Seen(least_age_s)
        self._acknowledged = Acknowledged()
        self._said: dict[str, float] = {}
        self._silent: set[Any] = set()
        self._stop = Stop()

    async def run(self, stop: Stop) -> int:
        """Trim until asked to stop."""
        self._stop = stop
        try:
            while not stop.requested:
                wait_s = ROUND_S
                try:
                    await self.round()
                except Away as error:
                    self._say("trim_waits", str(error))
                    wait_s = AGAIN_S
                await stop.wait(wait_s)
        finally:
            await self.close()
        return 0

    async def close(self) -> None:
        """End the connections."""
        await self._nodes.aclose()

    async def round(self) -> list[Trimmed]:
        """Trim every stream as far as it may be; Away when that cannot be known now.

        (1) While the queue is being recovered, nothing. (2) What the databases have, before (4) what the
        queue has. (3) With backups: what was acknowledged, and whether the voter database has it, before
        anything that was known of that is used. A primary that fails is asked no more in this round: it would
        keep the others' streams waiting for each of its own.
        """
        self._silent.clear()
        if await self._recovering():  # (1)
            self._say("trim_waits", "the queue is being recovered")
            return []
        bounds = reached(await self._marks())  # (2)
        backed_up = self._backed_up()
        self._seen.forget(but=bounds)
        self._acknowledged.forget(but=bounds)
        looked = set() if backed_up is None else await self._note_acknowledged(sorted(bounds))  # (3)
        done = []
        for shard, stored in sorted(bounds.items()):  # (4)
            if self._stop.requested:
                break
            covers = backed_up.get(shard) if backed_up is not None and shard in looked else None
            found = await self._stream(shard, stored, covers)
            if found is not None:
                done.append(found)
                if found.entries:
                    log.info(
                        "trimmed",
                        ballot=found.ballot,
                        shard=found.shard,
                        entries=found.entries,
                        below=found.below,
                        held_by=found.held_by,
                    )
        return done

    async def _stream(self, shard: Shard, stored: str, backed_up: str | None) -> Trimmed | None:
        """Trim one stream; None if it is not there, is no stream, or its primary is away."""
        key = handoff.votes_key(*shard)
        client: Any = None
        try:
            client = await self._nodes.holder(key)
            if client in self._silent:
                return None
            last = (await client.xinfo_stream(key))["last-generated-id"].decode()
            aged = self._seen.look(shard, last, now_s=self._clock.monotonic())
            known = {"stored": stored, "seen": aged}
            if self._note is not None:
                known["backup"] = self._certain(shard, backed_up)
            held_by = next((name for name, entry in known.items() if entry is None), "")
            if held_by:
                return Trimmed(*shard, 0, "0-0", held_by)
            held_by = min(known, key=lambda name: order(known[name] or ""))
            return await self._trim(client, shard, known[held_by] or "", held_by)
        except exceptions.ResponseError as error:
            if not str(error).startswith("no such key"):
                self._say("trim_refused", f"{key}: {type(error).__name__}")
                self._nodes.forget()
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self._failed(client, error)
        return None

    def _failed(self, client: Any, error: Exception) -> None:
        """A primary does not answer, or nobody says which one is asked: None."""
        if client is not None:
            self._silent.add(client)
        self._nodes.forget()
        self._say("trim_waits", f"the queue: {type(error).__name__}")

    def _certain(self, shard: Shard, backed_up: str | None) -> str | None:
        """Up to where a stream is in the backup with this mark: what was acknowledged before it began."""
        known = None if backed_up is None else self._acknowledged.before(shard, backed_up)
        return None if known is None or backed_up is None else min(known, backed_up, key=order)

    async def _note_acknowledged(self, shards: Sequence[Shard]) -> set[Shard]:
        """Look at these streams, and only then at what the voter database has; of which that succeeded."""
        found = {}
        for shard in shards:
            if self._stop.requested:
                break
            key, client = handoff.votes_key(*shard), None
            try:
                client = await self._nodes.holder(key)
                if client not in self._silent:
                    found[shard] = await self._acknowledgement(client, key)
            except exceptions.ResponseError:
                continue  # said where it is trimmed
            except (exceptions.RedisError, OSError, TimeoutError) as error:
                self._failed(client, error)
        stored = await self._asked("SELECT ballot, shard, entries, since::text FROM ballot.trimmer_stored()")
        self._acknowledged.of(stored[0][3] if stored else "")
        entries = {(row[0], row[1]): row[2] for row in stored}
        looked = set()
        for shard, (entry, last, acknowledged) in found.items():
            if entry is not None:
                missing = None if acknowledged is None else max(0, acknowledged - entries.get(shard, 0))
                self._acknowledged.look(shard, entry, last=last, missing=missing)
                looked.add(shard)
        return looked

    async def _acknowledgement(self, client: Any, key: str) -> tuple[str | None, str, int | None]:
        """Up to where the workers have acknowledged a stream, where it ends after that, and how many."""
        for group in await client.xinfo_groups(key):
            if group["name"] == handoff.GROUP.encode():
                entry, read = group["last-delivered-id"].decode(), group.get("entries-read")
                waiting = await client.xpending(key, handoff.GROUP) if group["pending"] else None
                if waiting is not None and waiting["min"] is not None:
                    entry = min(entry, waiting["min"].decode(), key=order)
                last = (await client.xinfo_stream(key))["last-generated-id"].decode()
                return entry, last, None if read is None else max(0, read - group["pending"])
        return None, "", None

    async def _trim(self, client: Any, shard: Shard, below: str, held_by: str) -> Trimmed:
        """Have the queue take out what is below, a bounded number of entries at a time."""
        call = ("FCALL", FUNCTION, 1, handoff.votes_key(*shard), below, round(self._least_age_s * 1000))
        count, at, by = await client.execute_command(*call)
        removed = count
        for _ in range(CALLS_MAX):
            if count == 0 or self._stop.requested:
                break
            await self._clock.sleep(PAUSE_S)
            count, at, by = await client.execute_command(*call)
            removed += count
        return Trimmed(*shard, removed, at.decode(), held_by if by == b"given" else by.decode())

    async def _recovering(self) -> bool:
        key = handoff.RECOVERING_KEY
        try:
            client: Any = await self._nodes.holder(key)
            return bool(await client.exists(key))
        except (exceptions.RedisError, OSError, TimeoutError) as error:
            self._nodes.forget()
            raise Away(f"the queue: {type(error).__name__}") from error

    async def _marks(self) -> list[Mark]:
        return [Mark(*row) for row in await self._asked("SELECT * FROM ballot.trimmer_marks()")]

    async def _asked(self, query: str) -> list[Any]:
        """What the voter database answers."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                connection = await postgres.connect(self._servers, "voterdb", ROLE)
                try:
                    return list(await connection.fetch(query))
                finally:
                    await connection.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Away(f"the voter database: {type(error).__name__}") from error

    def _backed_up(self) -> dict[Shard, str] | None:
        """What a verified backup has, by shard; None where backups are off."""
        if self._note is None:
            return None
        try:
            found = covered(self._note)
        except Malformed as error:
            found = {}
            self._say("trim_waits", f"{self._note.name}: {error}")
        if not found:
            self._say("trim_waits", "no verified backup covers any ballot yet")
        return found

    def _say(self, action: str, reason: str) -> None:
        """Warn of what keeps us from trimming: once, and again when it has lasted."""
        now_s = self._clock.monotonic()
        if now_s >= self._said.get(reason, 0.0):
            if len(self._said) > REASONS_MAX:
                self._said.clear()
            self._said[reason] = now_s + SAID_S
            log.warning(action, reason=reason)


@click.command("trim")
def trim() -> None:
    """Take out of the queue what is stored, counted, old enough and, with backups, backed up.

    Runs in the foreground until told to stop. Votes go on meanwhile.
    """
    settings = BackupSettings.of(os.environ)
    home = Home.from_environment()
    logs.configure("trim", home)
    note = None if settings.target is None else home.backup / COVERED
    with servers(home) as found:

        async def main(stop: Stop) -> int:
            return await Trimmer(found, note=note, clock=SystemClock()).run(stop)

        code = run_service(main)
    raise SystemExit(code)
