"""Whether the queue may take votes: it is there, not being recovered, and a worker has vouched for this run.

A home's servers that have held data are expected to be there: one that is lost or stopped is to be mended.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ballot import handoff
from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked, primaries
from ops.recovery import fence
from runtime.addresses import ADMIN, CLUSTERS, configured
from runtime.embedded import Embedded
from runtime.home import Home
from runtime.postgres_server import PostgresServer
from runtime.starting import lost_data
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from runtime.starting import Server

ABOUT = "queue"
RECOVER = "ballot recover"
REBUILDING = "valkey.rebuilding"
START = "start it (`ballot up`, or `ballot servers`) and look again"
VOUCH = "start a worker (`ballot up` has one), and look at its log if it runs"
OPENED = "SELECT EXISTS (SELECT FROM ballot.lifecycle WHERE opens_us IS NOT NULL)"
JUDGED = """
SELECT DISTINCT ON (detail ->> 'run_id') detail ->> 'run_id' AS run, kind, detail -> 'faults' ->> 0 AS fault
  FROM ballot.events WHERE actor = 'worker' AND kind IN ('trust_given', 'trust_refused')
   AND detail ->> 'run_id' = ANY ($1)
 ORDER BY detail ->> 'run_id', seq DESC
"""


def trusted(home: Path) -> Iterator[Finding]:
    """What is lost or stopped of the home's own servers; then the queue that runs."""
    if configured(os.environ) is None:
        if not home.is_dir():
            yield Finding(ABOUT, "none yet")
            return
        wrong = list(lost_or_stopped(Home(home)))
        yield from wrong
        if any(each.about == ABOUT for each in wrong):
            return

    async def of_queue() -> list[Finding]:
        async with primaries(home, ADMIN) as nodes:
            runs = {}
            for primary in await nodes.primaries():
                found: Any = await primary.client.info("server", "replication")
                name = handoff.run_name(str(found["run_id"]), str(found["master_replid"]))
                runs[name] = ":".join(map(str, primary.place))
            client: Any = await nodes.holder(handoff.RECOVERING_KEY)
            recovering = bool(await client.exists(handoff.RECOVERING_KEY))
            client = await nodes.holder(handoff.TRUST_KEY)
            vouched = {name.decode() for name in await client.hkeys(handoff.TRUST_KEY)}
            client = await nodes.holder(handoff.EPOCH_KEY)
            epoch = handoff.epoch(await client.get(handoff.EPOCH_KEY))
        async with database(home, "voterdb") as connection:
            opened = bool(await connection.fetchval(OPENED))
            rows = await connection.fetch(JUDGED, list(runs))
            older = fence.told(epoch, *await connection.fetchrow(fence.BELIEVED))
        refused = {row["run"]: row["fault"] for row in rows if row["kind"] == "trust_refused"}
        return list(of(runs, vouched, refused, older, recovering=recovering, opened=opened))

    yield from looked(ABOUT, of_queue)


def lost_or_stopped(home: Home) -> Iterator[Finding]:
    """Those that have held data and are empty now, or do not run; and a rebuilding that was left behind."""
    running = Embedded(home, supervise=False).processes()
    if (home.data / REBUILDING).exists():
        yield Finding(ABOUT, "it is being rebuilt, or that was interrupted", f"wait for it, or run {RECOVER}")
    servers: list[Server] = [ValkeyServer(home), *(PostgresServer(home, cluster) for cluster in CLUSTERS)]
    for server in servers:
        about = ABOUT if server.name == ValkeyServer.name else server.name
        lost = lost_data(server, home)
        if lost:
            change = RECOVER if about == ABOUT else "ballot backup restore"
            yield Finding(about, lost.removesuffix(".").replace("; ", ": "), change)
        elif server.holds_data() and server.name not in running:
            yield Finding(about, "it has held data and does not run, so it was not looked at", START)


def of(
    runs: Mapping[str, str],
    vouched: set[str],
    refused: Mapping[str, str | None],
    older: Sequence[str] = (),
    *,
    recovering: bool,
    opened: bool,
) -> Iterator[Finding]:
    """Judge the primaries' present runs, given by name with their addresses, by what was said of them."""
    if recovering:
        yield Finding(ABOUT, "a recovery or a restore of it was begun and is not finished", RECOVER)
    for said in older:
        yield Finding(ABOUT, said, RECOVER)
    for run, where in sorted(runs.items()):
        if run in refused:
            said = refused[run] or "it has lost what was stored"
            yield Finding(ABOUT, f"{where}: a worker refuses it ({said})", RECOVER)
        elif run in vouched:
            yield Finding(ABOUT, f"{where}: a worker has vouched for this run of it")
        elif opened:
            yield Finding(ABOUT, f"{where}: no worker has vouched for this run, so no vote is taken", VOUCH)
        else:
            yield Finding(ABOUT, f"{where}: no worker has vouched for this run; no ballot was opened yet")
