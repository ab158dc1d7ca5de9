"""Whether queue and databases, as they run, keep what they have said they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked, queue
from runtime.addresses import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from runtime.addresses import Cluster

#: As edges demand of it before they take a vote (intake/durability.py says why).
QUEUE = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
}
POSTGRES = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on"}


def durability(home: Path) -> Iterator[Finding]:
    """The settings of the running servers."""

    async def of_queue() -> list[Finding]:
        async with queue(home, "intake") as client:
            found = await client.config_get(*QUEUE)
        return of("queue", {_text(name): _text(value) for name, value in found.items()}, QUEUE)

    yield from looked("durability", of_queue)
    for cluster in CLUSTERS:
        yield from _of_cluster(home, cluster)


def _of_cluster(home: Path, cluster: Cluster) -> list[Finding]:
    async def of_cluster() -> list[Finding]:
        async with database(home, cluster) as connection:
            shown = {name: await connection.fetchval("SELECT current_setting($1)", name) for name in POSTGRES}
        return of(cluster, shown, POSTGRES)

    return looked(f"durability of {cluster}", of_cluster)


def of(server: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> list[Finding]:
    """Compare what a server has with what keeps votes."""
    wrong = [
        Finding(
            "durability",
            f"{server} has {name} {found.get(name, 'unset')}",
            f"set it to {value}: {_how(server, name)}",
        )
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    return wrong or [
        Finding("durability", f"{server} writes to disk before it answers, and is set to keep it so")
    ]


def _how(server: str, name: str) -> str:
    if name == "data_checksums":
        return "stop the cluster and run pg_checksums --enable"
    return "CONFIG SET, and in its file" if server == "queue" else "in postgresql.conf, and reload"


def _text(value: bytes | str) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value
