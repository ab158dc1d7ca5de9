"""The processes of a run by name, with the CPU and memory each uses; what a dead one used stays counted."""

import os
import re
from dataclasses import dataclass, field
from typing import Any

from loadtests.faults.hands import PROC, descendants

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PARTS = (
    ("edge", re.compile(r"\bballot intake\b")),
    ("worker", re.compile(r"\bballot worker\b")),
    ("monitor", re.compile(r"\bballot monitor\b")),
    ("complaints", re.compile(r"\bballot complaints\b")),
    ("trim", re.compile(r"\bballot trim\b")),
    ("backup", re.compile(r"\bballot backup\b")),
    ("up", re.compile(r"\bballot (?:up|servers)\b")),
    ("queue", re.compile(r"\bvalkey-server\b")),
    ("voterdb", re.compile(r"\bpostgres\b.*\bvoterdb\b")),
    ("userdb", re.compile(r"\bpostgres\b.*\buserdb\b")),
    ("generator", re.compile(r"-m locust\b|\blocust\b.* -f ")),
    ("outside monitor", re.compile(r"-m loadtests\.outside\.watch\b")),
    ("overlays", re.compile(r"-m loadtests\.overlays\b")),
    ("desk", re.compile(r"\bballot [a-z]+\b")),
)
"""Which part of a run a command line belongs to; the first that fits."""

# Of /proc/PID/stat, counted from after the command's closing parenthesis.
PARENT, USER_TICKS, SYSTEM_TICKS, STARTED, RESIDENT_PAGES = 1, 11, 12, 19, 21
CONDUCTOR = "conductor"
DATABASES = frozenset({"voterdb", "userdb"})
Identity = tuple[int, str]


def part(command: str) -> str | None:
    """The part of a run that this command line is of, if one is to be seen in it."""
    return next((name for name, pattern in PARTS if pattern.search(command)), None)


@dataclass(slots=True)
class Kin:
    """A process and all below it. `look` finds newcomers; `use` reads what each part has used."""

    first: int

    _names: dict[Identity, str] = field(default_factory=dict)
    _last: dict[Identity, float] = field(default_factory=dict)
    _spent: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Find everything there is; who has no name of its own has its parent's."""
        known: dict[int, str] = {}
        for pid in (self.first, *descendants(self.first)):
            stat = _stat(pid)
            if stat is None:
                continue
            if pid == self.first:
                known[pid] = CONDUCTOR
            else:
                above = known.get(int(stat[PARENT]), CONDUCTOR)
                # All that a database starts is its own, whatever it is called.
                known[pid] = above if above in DATABASES else part(_command(pid)) or above
            self._names.setdefault((pid, stat[STARTED]), known[pid])

    def use(self) -> list[dict[str, Any]]:
        """CPU seconds since its beginning and bytes in memory now, by part; `pid` is its oldest process."""
        found: dict[str, dict[str, Any]] = {}
        for identity, name in list(self._names.items()):
            stat = _stat(identity[0])
            if stat is None or stat[STARTED] != identity[1]:
                del self._names[identity]
                self._last.pop(identity, None)
                continue
            seconds = (int(stat[USER_TICKS]) + int(stat[SYSTEM_TICKS])) / TICKS
            self._spent[name] = self._spent.get(name, 0.0) + seconds - self._last.get(identity, 0.0)
            self._last[identity] = seconds
            row = found.setdefault(name, {"name": name, "pid": identity[0], "cpu_s": 0.0, "rss_bytes": 0})
            row["rss_bytes"] += int(stat[RESIDENT_PAGES]) * PAGE_BYTES
        for name, row in found.items():
            row["cpu_s"] = round(self._spent[name], 2)
        return [found[name] for name in sorted(found)]


def _command(pid: int) -> str:
    """Its command line; nothing when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """What the kernel tells of a process, from its state on; None when it is gone."""
    try:
        told = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return told.rpartition(")")[2].split()
