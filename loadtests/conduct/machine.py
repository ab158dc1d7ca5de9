"""What a run ran on: the machine, its disk's time to sync, and the commit; without a name or a path of it."""

import os
import platform
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SYNCS = 40
SYNC_BYTES = 4096
GIT_SECONDS_MAX = 10.0
UNKNOWN = "unknown"


def facts(folder: Path) -> dict[str, Any]:
    """Cores, processor, memory, kernel, Python, and how long a write to `folder`'s disk takes to last."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _first("/proc/cpuinfo", r"(?m)^model name\s*:\s*(.+)$"),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "disk_sync_us": sync_us(folder),
    }


def _first(path: str, pattern: str) -> str:
    with suppress(OSError):
        found = re.search(pattern, Path(path).read_text(encoding="utf-8", errors="replace"))
        if found is not None:
            return found[1].strip()
    return platform.machine() or UNKNOWN


def sync_us(folder: Path) -> int:
    """The median time in which 4 kB appended to a file in `folder` are on its disk."""
    path = folder / "sync.tmp"
    took = []
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(SYNCS):
                started = time.perf_counter()
                file.write(bytes(SYNC_BYTES))
                os.fdatasync(file.fileno())
                took.append(time.perf_counter() - started)
    finally:
        path.unlink(missing_ok=True)
    return round(median(took) * 1_000_000)


def commit() -> str:
    """The commit that runs, with `+` when files differ from it; `unknown` where there is no git."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN


def _git(*words: str) -> str:
    done = subprocess.run(
        ["git", *words],  # noqa: S607  # whichever git there is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS_MAX,
    )
    return done.stdout.strip()
