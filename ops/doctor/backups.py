"""Whether what is lost could be brought back: backups made and verified, their keys apart, a drill done."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from ops.backup import keys, marker
from ops.backup.catalogue import Catalogue
from ops.backup.settings import BackupSettings
from ops.doctor.finding import Finding
from ops.doctor.looking import database, looked
from ops.doctor.within import within
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops.backup.keys import What

US = 1_000_000
LATE_TIMES = 4
"""A backup that is older than so many periods has not been made, or not been verified, for a while."""

DRILLED_DAYS = 90
FILES_MAX = 20_000
MAKE_KEYS = "ballot backup keys --out DIR, on a medium that is then taken away"
DRILL = "ballot drill --key FILE ...: what was never restored is no backup"
COPY = "end the copy's backups; if this is the copy, or was put back: BALLOT_BACKUP, or ballot backup adopt"
FAILED = "read its report, recovery/*-drill.json, mend that, and drill again: runbook backups"
#: A drill that ended in a difference was called performed, too, once.
DRILLED = """
SELECT max(at) FILTER (WHERE kind = 'drill.performed' AND detail->>'differences' = '0') AS done,
       max(at) FILTER (WHERE kind = 'drill.failed' OR detail->>'differences' <> '0') AS failed
  FROM ballot.events WHERE kind IN ('drill.performed', 'drill.failed')
"""


def backups(home: Path) -> Iterator[Finding]:
    """The settings, the keys, the newest of each that was proven readable, and the last drill."""
    try:
        settings = BackupSettings.of(os.environ)
    except click.ClickException:
        yield Finding("backups", "not looked at: their settings are wrong, as said above")
        return
    if settings.target is None:
        yield Finding(
            "backups", "off", "set BALLOT_BACKUP to a directory of another machine's: runbook backups"
        )
    yield from private_halves(home)
    if settings.target is None:
        return
    place = Home(home, embedded="BALLOT_VALKEY_URL" not in os.environ)
    yield from _mark(place, settings.target)
    for what in keys.WHATS:
        if what == "queue" and not place.embedded:
            continue
        yield from _key(place, what)
        yield verified(what, _newest(place, what, settings.target), settings.every_s, time.time())

    async def drilled() -> list[Finding]:
        async with database(home, "voterdb") as connection:
            row = await connection.fetchrow(DRILLED)
        done, failed = (None if at is None else at.timestamp() for at in (row["done"], row["failed"]))
        return [tried(done, failed, time.time())]

    yield from looked("backups", drilled)


def _mark(home: Home, target: Path) -> Iterator[Finding]:
    try:
        if within(lambda: marker.is_used_by_a_copy(home, target)):
            said = f"{target} is used by another home with this one's mark: nothing is written there"
            yield Finding("backups", said, COPY)
        elif within(lambda: marker.is_anothers(home, target)):
            said = f"{target} does not bear the mark of this home's backups: nothing is written there"
            yield Finding("backups", said, "mount the right disk; or, on purpose, ballot backup adopt")
    except TimeoutError:
        said = f"{target} does not answer, so that nothing is written there"
        yield Finding("backups", said, "look at its disk, mount it anew")
    except OSError as error:
        said = f"{marker.NOTE}, or the mark in {target}, cannot be read: {error.strerror}"
        yield Finding("backups", said, "look at that disk")


def private_halves(home: Path) -> Iterator[Finding]:
    """A private half in the home opens the backups to whoever takes the home."""
    ending = keys.private_file(home, "voterdb").suffix
    seen = 0
    for folder, _, files in os.walk(home):
        seen += len(files)
        for name in sorted(files):
            if name.endswith(ending):
                said = f"{os.path.join(folder, name)} is the private half of a backup's key"  # noqa: PTH118  # of os.walk
                yield Finding("backups", said, "move it to a medium that is kept elsewhere")
        if seen > FILES_MAX:
            return


def _key(home: Home, what: What) -> Iterator[Finding]:
    try:
        public = keys.read_public(home, what)
    except click.ClickException:
        yield Finding("backups", f"{what}: no public half of a key, or none that can be read", MAKE_KEYS)
    else:
        yield Finding("backups", f"the key of {what} is published, its id {public.id}")


def _newest(home: Home, what: What, target: Path) -> float | None:
    """When the newest backup of `what` that was proven readable was begun, in seconds."""
    usable = [entry.started for entry in Catalogue(home, what, target).own() if entry.usable]
    return max(usable) / US if usable else None


def verified(what: str, started_s: float | None, every_s: float, now_s: float) -> Finding:
    """Judge the age of the newest backup that was proven readable."""
    if started_s is None:
        return Finding("backups", f"{what}: none that was verified", f"ballot backup now {what} --full")
    minutes = max(0, round((now_s - started_s) / 60))
    late = now_s - started_s > LATE_TIMES * every_s
    return Finding(
        "backups",
        f"{what}: the newest verified one was begun {minutes:,} minutes ago",
        f"look why in logs/backup-{what}.log; then ballot backup now {what}" if late else "",
    )


def tried(at_s: float | None, failed_s: float | None, now_s: float) -> Finding:
    """Judge the last drill that succeeded, and whether a later one failed."""
    if failed_s is not None and (at_s is None or failed_s > at_s):
        days = max(0, int((now_s - failed_s) // 86_400))
        return Finding("backups", f"the last drill failed, {days} days ago", FAILED)
    if at_s is None:
        return Finding("backups", "never restored in a drill", DRILL)
    days = max(0, int((now_s - at_s) // 86_400))
    return Finding("backups", f"last drill {days} days ago", DRILL if days > DRILLED_DAYS else "")
