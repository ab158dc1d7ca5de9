"""voterdb or userdb out of its backups: built and proven beside the place where it will live.

(1) what is needed is chosen, and all of it is there; (2) there is room; (3) every file is opened up to its
proven end, then they are combined; (4) PostgreSQL replays the WAL and promotes; (5) the owner gets this
home's password, and the restore is written into the audit log. Only then is anything moved: a fault in any
of these leaves everything as it was.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ballot.encoding import format_time
from ops.backup import restore_chain
from ops.backup.catalogue import BASE_KINDS
from ops.backup.restore_archive import Archive, unusable
from ops.backup.restore_cluster import Replayed, Scratch, system_identifier
from ops.backup.restore_home import check_room, now_us
from ops.backup.restore_source import NOTHING_CHANGED, Source
from ops.backup.restore_timelines import explained
from ops.backup.restore_unpacking import unpack
from runtime.addresses import OWNER
from runtime.migrations import scram_verifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops.backup.catalogue import Entry
    from ops.backup.restore_chain import Chain
    from ops.backup.restore_steps import Steps
    from runtime.home import Home, Redacted

SALT_BYTES: Final = 16
EVENTS: Final = {"voterdb": "ballot.events", "userdb": "people.events"}
#: What each key was used for, asked of the restored cluster: a home that lacks the key must be told.
USES: Final = {
    "voterdb": {
        "desk": "SELECT EXISTS (SELECT FROM ballot.ballots)",
        "credential-digest": "SELECT EXISTS (SELECT FROM ballot.register)",
        "queue": "SELECT EXISTS (SELECT FROM ballot.votes)",
        "ip": "SELECT EXISTS (SELECT FROM ballot.ip_records)",
        "receipts": "SELECT EXISTS (SELECT FROM ballot.votes)",
    },
    "userdb": {
        "people": "SELECT EXISTS (SELECT FROM people.voters)",
        "member": "SELECT EXISTS (SELECT FROM people.voters)",
        "complaints": "SELECT EXISTS (SELECT FROM complaints.complaints)",
    },
}
HOLDS: Final = {
    "voterdb": (
        "SELECT coalesce(json_object_agg(b.ballot, json_build_object('stored', coalesce(v.votes, 0),"
        " 'newest_us', v.newest_us)), '{}')::text AS answer FROM ballot.ballots b LEFT JOIN"
        " (SELECT ballot, count(*) AS votes, max(accepted_us) AS newest_us FROM ballot.votes GROUP BY ballot)"
        " v USING (ballot)"
    ),
    "userdb": (
        "SELECT json_build_object('people', (SELECT count(*) FROM people.voters), 'complaints',"
        " (SELECT count(*) FROM complaints.complaints))::text AS answer"
    ),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: the moment, in microseconds since the epoch, else the newest state; the base."""

    at: int | None = None
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A cluster that was made again, and what it holds."""

    chain: Chain
    replayed: Replayed
    reaches: int
    """Up to when something was received: what came later, if anything did, is in no backup."""

    last_us: int | None
    """The last commit that was replayed; nothing if all that it has was in the base."""
    reached: bool
    """False if no commit after the moment is in the backups, so that all there is was given."""
    wal_segments: int

    holds: dict[str, Any]
    used_keys: tuple[str, ...]


def plan(source: Source, wanted: Wanted) -> Chain:
    """Step 1: the chain, every file of which is there."""
    if wanted.at is not None and wanted.at > now_us():
        raise click.ClickException(f"{_time(wanted.at)} has not come yet. {NOTHING_CHANGED}")
    entries = source.entries()
    if wanted.base is None:
        entries = _without_lost(source, entries)
    restored = explained(source, entries, restore_chain.restores(source.facts()))
    chain = restore_chain.choose(
        entries, restored, what=source.what, at=wanted.at, base=wanted.base, flaw=source.flaw
    )
    for entry in chain.bases:
        why = source.flaw(entry)
        if why is not None:
            raise click.ClickException(
                f"{source.folder / entry.file} {why}: put that right, or begin from an older backup with "
                f"--base ID (see `ballot backup list`). {NOTHING_CHANGED}"
            )
    if chain.gap is not None and (wanted.at is None or wanted.at > chain.reaches):
        raise unusable(chain.gap, chain.reaches)
    return chain


def _without_lost(source: Source, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Leave out base backups that were never proven and are not there; it is said."""
    kept = []
    for entry in entries:
        if entry.kind in BASE_KINDS and entry.verified is None and source.missing((entry,)) is not None:
            click.echo(f"Passed over: {entry.file}, never proven, is missing or not whole.", err=True)
        else:
            kept.append(entry)
    return tuple(kept)


def rebuild(
    source: Source, wanted: Wanted, scratch: Scratch, steps: Steps, *, chain: Chain, system: str | None = None
) -> Rebuilt:
    """Steps 2 to 4, in `scratch`; with `system` only a backup of that very cluster is taken."""
    what = source.what
    place = scratch.home.path.parent
    scratch.remove()
    check_room(place, chain.room)
    scratch.make()
    with steps.moving(f"{what}: open the backups", chain.bytes) as (step, advance):
        parts = []
        for number, entry in enumerate(chain.bases):
            with source.opened(entry, advance=advance) as stream:
                step.bytes += unpack(stream, scratch.parts / str(number))
            parts.append(scratch.parts / str(number))
        archive = Archive(source, chain, scratch)
        step.bytes += archive.open(wanted.at, advance=advance)
        step.note = f"{len(chain.bases)} base, {archive.opened} WAL"
    with steps.step(f"{what}: put them together") as step:
        _same_version(parts[0], scratch, what)
        if system is not None and system_identifier(parts[0]) != system:
            raise click.ClickException(
                f"This backup is of another installation's {what} than the one here. Restore it with --to "
                f"DIR, or into a home of its own. {NOTHING_CHANGED}"
            )
        scratch.combine(parts)
        step.bytes = sum(path.stat().st_size for path in scratch.server.data.rglob("*") if path.is_file())
    with steps.step(f"{what}: replay the WAL") as step:
        replayed, reached = archive.replay(wanted.at)
        step.note = f"{archive.opened} WAL, up to {said_time(archive.last_us)}"
    with steps.step(f"{what}: look at it"):
        (answer,) = scratch.ask(HOLDS[what])
        uses = USES[what]
        told = scratch.ask(*(f"SELECT ({asked})::text AS answer" for asked in uses.values()))
        used = tuple(name for name, said in zip(uses, told, strict=True) if said == "true")
    return Rebuilt(
        chain,
        replayed,
        archive.reaches,
        archive.last_us,
        reached,
        archive.opened,
        json.loads(answer),
        used,
    )


def said_time(last_us: int | None) -> str:
    """The last commit, for a person."""
    return "the base itself" if last_us is None else format_time(last_us, decimals=6)


def take_over(scratch: Scratch, home: Home, actor: str, detail: dict[str, Any]) -> bool:
    """Step 5: the owner's password becomes this home's, the audit log says so; False if it has none."""
    what = scratch.server.name
    statements = [password_statement(home.password(f"{what}-{OWNER}"), salt=secrets.token_bytes(SALT_BYTES))]
    (table,) = scratch.ask(f"SELECT coalesce(to_regclass('{EVENTS[what]}')::text, '') AS answer")
    if table:
        statements.append(event_statement(what, "restore.performed", actor, detail))
    scratch.ask(*statements)
    return bool(table)


def password_statement(password: Redacted, *, salt: bytes) -> str:
    """What sets the owner's password; neither it nor anything it could be guessed from is said."""
    return f"ALTER ROLE {OWNER} PASSWORD '{scram_verifier(password.reveal(), salt=salt)}'"


def event_statement(what: str, kind: str, actor: str, detail: dict[str, Any]) -> str:
    """One line of the audit log."""
    text = json.dumps(detail, sort_keys=True).replace("'", "''")
    columns = "ballot, kind, actor, detail" if what == "voterdb" else "kind, actor, detail"
    first = "NULL, " if what == "voterdb" else ""
    return f"INSERT INTO {EVENTS[what]} ({columns}) VALUES ({first}'{kind}', '{actor}', '{text}'::jsonb)"  # noqa: S608  # our own words


def _same_version(part: Path, scratch: Scratch, what: str) -> None:
    """A cluster of another major version does not start here: say so before anything is tried."""
    made = (part / "PG_VERSION").read_text("ascii", "replace").strip()
    share = scratch.server.executable.parent.parent / "share"
    found = next(iter(share.rglob("postgres.bki")), None)
    ours = found.read_text("ascii", "replace").partition("\n")[0].rpartition(" ")[2] if found else made
    if made != ours:
        raise click.ClickException(
            f"This backup of {what} is of PostgreSQL {made}, and here is PostgreSQL {ours}: restore it with "
            f"the version that made it. {NOTHING_CHANGED}"
        )


def _time(us: int) -> str:
    return format_time(us)
