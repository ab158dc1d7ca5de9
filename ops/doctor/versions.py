"""Python, the libraries of the lock, and the servers that run: versions that this code was made for."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import Marker  # matplotlib needs it too, so it is wherever this is

from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked, queue
from runtime.addresses import CLUSTERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.addresses import Cluster

LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PYTHON = (3, 11)
VALKEY, REDIS, POSTGRES = (8, 0), (7, 2), (17, 0)
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)[^\S\n]*(?:;([^\n\\]+))?", re.MULTILINE)
INSTALL = "install what the lock names (`./run` does)"


def versions(home: Path) -> Iterator[Finding]:
    """Compare what is here with what is wanted."""
    found = ".".join(map(str, sys.version_info[:3]))
    wanted = ".".join(map(str, PYTHON))
    change = "" if sys.version_info >= PYTHON else f"install Python {wanted} or newer"
    yield Finding("versions", f"Python {found}", change)
    yield from libraries(LOCK)

    async def of_queue() -> list[Finding]:
        async with queue(home) as client:
            info = await client.info("server")
        return [of_valkey({str(name): str(value) for name, value in info.items()})]

    yield from looked("version of the queue", of_queue)
    for cluster in CLUSTERS:
        yield from _of_cluster(home, cluster)


def libraries(lock: Path) -> Iterator[Finding]:
    """Each library that is installed against the lock; one that is not there is not needed here.

    The lock is for every Python and system: a library may have several lines, and each says where it holds.
    """
    try:
        lines = _PIN.findall(lock.read_text("utf-8"))
    except OSError:
        yield Finding("versions", "the lock of the libraries is not here to compare")
        return
    other, held = [], 0
    for name, version, where in lines:
        try:
            holds = not where or Marker(where.strip()).evaluate()
        except ValueError:
            says = f"the lock's line of {name} {version} says in no known way where it holds"
            other.append(Finding("versions", says, INSTALL))
            continue
        if not holds:
            continue
        held += 1
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if found != version:
            other.append(Finding("versions", f"{name} {found}, the lock has {version}", INSTALL))
    yield from other or [Finding("versions", f"libraries as in the lock ({held} lines)")]


def of_valkey(info: dict[str, str]) -> Finding:
    """Judge what the queue says it is."""
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "0")
    wanted = VALKEY if name == "Valkey" else REDIS
    change = "" if _numbers(version) >= wanted else "use Valkey 8, or Redis 7.2, or newer"
    return Finding("versions", f"queue {name} {version}", change)


def of_postgres(cluster: str, version: str) -> Finding:
    """Judge what a cluster says it is."""
    change = "" if _numbers(version) >= POSTGRES else "use PostgreSQL 17 or newer"
    return Finding("versions", f"{cluster} PostgreSQL {version}", change)


def _of_cluster(home: Path, cluster: Cluster) -> list[Finding]:
    async def of_cluster() -> list[Finding]:
        async with database(home, cluster) as connection:
            return [of_postgres(cluster, (await connection.fetchval("SHOW server_version")).split()[0])]

    return looked(f"version of {cluster}", of_cluster)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])
