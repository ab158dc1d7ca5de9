"""Where backups go, how often, how long they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ops.backup import keys
from runtime.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.backup.keys import What
    from runtime.home import Home

OFF: Final = "off"
HOUR_S: Final = 3600
DAY_US: Final = 24 * HOUR_S * 1_000_000


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """The settings; `target` is nothing when backups are off."""

    target: Path | None
    full_s: int = 24 * HOUR_S
    every_s: int = 15 * 60
    keep_us: int = 35 * DAY_US

    @classmethod
    def of(cls, env: Mapping[str, str]) -> BackupSettings:
        """Return the settings in `env`; one ClickException names every fault."""
        read = Environment(env)
        named = read.text("BALLOT_BACKUP", OFF)
        if named != OFF and not Path(named).is_absolute():
            read.fault(f"BALLOT_BACKUP is {named!r}; it must be {OFF} or a directory's absolute path.")
        hours = read.integer("BALLOT_BACKUP_FULL_HOURS", 24, 1, 24 * 7)
        minutes = read.integer("BALLOT_BACKUP_MINUTES", 15, 1, 24 * 60)
        days = read.integer("BALLOT_BACKUP_KEEP_DAYS", 35, 1, 3660)
        if minutes > hours * 60:
            read.fault("BALLOT_BACKUP_MINUTES must not be longer than BALLOT_BACKUP_FULL_HOURS.")
        read.done()
        target = None if named == OFF else Path(named)
        return cls(target, hours * HOUR_S, minutes * 60, days * DAY_US)

    def required_target(self) -> Path:
        """Return the target, or say that there is none."""
        if self.target is None:
            raise click.ClickException(
                "Backups are off: set BALLOT_BACKUP to the directory they go to, best on another machine."
            )
        return self.target


def what_is_backed_up(home: Home, settings: BackupSettings) -> tuple[What, ...]:
    """What is backed up by itself with these settings, whether or not it can be."""
    if settings.target is None:
        return ()
    return tuple(what for what in keys.WHATS if home.embedded or what != "queue")


def hindrances(home: Home, settings: BackupSettings) -> tuple[str, ...]:
    """Why backups of this home will not be made as things are, a sentence each: a key that is missing."""
    found = []
    for what in what_is_backed_up(home, settings):
        try:
            keys.read_public(home, what)
        except click.ClickException as error:
            found.append(f"{what} is NOT backed up. {error.message}")
    return tuple(found)
