"""Whether there is room: for the votes still to come in open ballots, for files, and for backups."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ballot import gate_layout
from ballot.definition import from_canonical
from ballot.encoding import Malformed
from ballot.suite import SEAL_OVERHEAD_BYTES
from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked
from ops.doctor.within import within

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
LEAST_BYTES = 1 << 30
"""Left over in any case: logs, WAL, and a rewrite of the append-only file of a small ballot."""

LEAST_INODES = 10_000
WRITTEN_TIMES = 5
"""A vote is in the append-only file and its rewrite, in the WAL, the table and its indexes."""

OPEN = """
SELECT b.definition,
       (SELECT count(*) FROM ballot.electorate e WHERE e.ballot = b.ballot)
         - (SELECT coalesce(sum(t.votes), 0) FROM ballot.turnout t
             WHERE t.ballot = b.ballot AND t.side = 'stored') AS waiting
  FROM ballot.ballots b JOIN LATERAL (
    SELECT closes_us FROM ballot.lifecycle l WHERE l.ballot = b.ballot ORDER BY seq DESC LIMIT 1) l ON true
 WHERE l.closes_us > extract(epoch FROM now()) * 1000000
"""
MAKE_ROOM = "free some, or move BALLOT_HOME to a larger disk, before voting begins"


def disk(home: Path) -> Iterator[Finding]:
    """Free bytes and inodes where BALLOT_HOME is, against what open ballots still need; backups elsewhere."""
    if not home.is_dir():
        yield Finding("disk", f"not looked at: {home} is not there")
        return
    needed: list[int] = []

    async def needs() -> list[Finding]:
        async with database(home, "voterdb") as connection:
            rows = await connection.fetch(OPEN)
        needed.append(sum(_needs(bytes(row["definition"]), int(row["waiting"])) for row in rows))
        return []

    unknown = looked("disk", needs)
    free = os.statvfs(home)
    yield from room(free.f_bavail * free.f_frsize, free.f_favail, free.f_files, needed[0] if needed else None)
    yield from (Finding("disk", f"what open ballots need: {each.says}", each.change) for each in unknown)
    yield from apart(home, os.environ.get("BALLOT_BACKUP", "off"))


def _needs(definition: bytes, waiting: int) -> int:
    try:
        padded = from_canonical(definition).padded_size
    except Malformed:
        return 0  # ballot check says so
    vote = padded + SEAL_OVERHEAD_BYTES + gate_layout.ENTRY_BYTES + gate_layout.VOTED_BYTES
    return max(0, waiting) * vote * WRITTEN_TIMES


def room(free: int, inodes: int, inodes_all: int, needed: int | None) -> Iterator[Finding]:
    """Compare what is free with what is needed; a file system that counts no inodes does not run out."""
    wanted = LEAST_BYTES + (needed or 0)
    says = f"{free // MIB:,} MiB free"
    if needed:
        says += f"; the votes still to come in open ballots may take {needed // MIB:,} MiB"
    yield Finding("disk", says, "" if free >= wanted else f"{wanted // MIB:,} MiB are wanted: {MAKE_ROOM}")
    if inodes_all and inodes < LEAST_INODES:
        yield Finding("disk", f"room for {inodes:,} more files", MAKE_ROOM)


def apart(home: Path, target: str) -> Iterator[Finding]:
    """Backups on the disk that they are for are lost with it."""
    if target == "off":
        return
    try:
        same = within(lambda: Path(target).stat().st_dev) == home.stat().st_dev
        free = within(lambda: os.statvfs(target))
    except OSError as error:
        said = f"the target of the backups cannot be looked at: {error.strerror or error}"
        yield Finding("disk", said, "mount it, or make it")
        return
    other = "backups go to the disk that they are copies of" if same else "backups go to another disk"
    yield Finding("disk", other, "set BALLOT_BACKUP to a directory of another machine's" if same else "")
    bytes_free = free.f_bavail * free.f_frsize
    if bytes_free < LEAST_BYTES:
        yield Finding("disk", f"{bytes_free // MIB:,} MiB free for backups", "free some there")
