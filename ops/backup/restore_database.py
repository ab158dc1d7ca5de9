"""voterdb or userdb out of its backups: built and proven beside the place where it will live.

(1) what is needed is chosen, and all of it is there; (2) there is room; (3) every file is opened up to its
proven end, then they are combined; (4) PostgreSQL replays the WAL and promotes; (5) the owner gets this
home's password, and the restore is written into the audit log. Only then is anything moved: a fault in any
of these leaves everything as it was.
"""

from __future__ import annotations

import json
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from ballot.encoding import format_time
from ops.backup import restore_chain
from ops.backup.restore_cluster import Replayed, Scratch, TargetNotReached, system_identifier
from ops.backup.restore_home import check_room, now_us
from ops.backup.restore_source import NOTHING_CHANGED, Source
from ops.backup.restore_unpacking import copy, unpack
from runtime.addresses import OWNER
from runtime.migrations import scram_verifier

if TYPE_CHECKING:
    from pathlib import Path

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

    holds: dict[str, Any]
    used_keys: tuple[str, ...]


def plan(source: Source, wanted: Wanted) -> Chain:
    """Step 1: the chain, every file of which is there."""
    if wanted.at is not None and wanted.at > now_us():
        raise click.ClickException(f"{_time(wanted.at)} has not come yet. {NOTHING_CHANGED}")
    entries = source.entries()
    restored = restore_chain.restores(source.facts())
    chain = restore_chain.choose(entries, restored, what=source.what, at=wanted.at, base=wanted.base)
    missing = source.missing((*chain.bases, *chain.wal))
    if missing is not None:
        raise click.ClickException(
            f"{source.folder / missing.file} is missing or not whole: put it back from a copy, or begin from "
            f"an older backup with --base ID (see `ballot backup list`). {NOTHING_CHANGED}"
        )
    if chain.gap is not None and (wanted.at is None or wanted.at > chain.reaches):
        raise click.ClickException(
            f"The WAL segment {chain.gap} is missing, so that nothing after {_time(chain.reaches)} can be "
            f"restored: put it back, or ask for what came before with --at. {NOTHING_CHANGED}"
        )
    return chain


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
        for entry in chain.wal:
            with source.opened(entry, advance=advance) as stream:
                step.bytes += copy(stream, scratch.wal / (entry.segment or entry.id))
        step.note = f"{len(chain.bases)} base, {len(chain.wal)} WAL"
    reaches = max(chain.reaches, _add_what_was_not_sealed(source, chain, scratch))
    for name, text in chain.histories.items():
        (scratch.wal / name).write_text(text, "utf-8")
    with steps.step(f"{what}: put them together") as step:
        _same_version(parts[0], scratch, what)
        if system is not None and system_identifier(parts[0]) != system:
            raise click.ClickException(
                f"This backup is of another installation's {what} than the one here. Restore it with --to "
                f"DIR, or into a home of its own. {NOTHING_CHANGED}"
            )
        scratch.combine(parts)
        step.bytes = sum(path.stat().st_size for path in scratch.server.data.rglob("*") if path.is_file())
    with steps.step(f"{what}: replay the WAL"):
        replayed = _replay(scratch, wanted, chain)
    with steps.step(f"{what}: look at it"):
        (answer,) = scratch.ask(HOLDS[what])
        uses = USES[what]
        told = scratch.ask(*(f"SELECT ({asked})::text AS answer" for asked in uses.values()))
        used = tuple(name for name, said in zip(uses, told, strict=True) if said == "true")
    return Rebuilt(chain, replayed, reaches, json.loads(answer), used)


def _add_what_was_not_sealed(source: Source, chain: Chain, scratch: Scratch) -> int:
    """Where the backups end this home's spool may go on, without a gap; when the newest of it came."""
    newest = 0
    spooled = source.spooled() if chain.whole else {}
    number = chain.next_segment
    for name, path in spooled.items():
        if chain.is_its(name) and restore_chain.segment_number(name) == number:
            shutil.copyfile(path, scratch.wal / name)
            number, newest = number + 1, int(path.stat().st_mtime * 1_000_000)
    return newest


def _replay(scratch: Scratch, wanted: Wanted, chain: Chain) -> Replayed:
    """Step 4. An archive in which nothing was committed after the moment is replayed to its end."""
    if wanted.at is not None:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=wanted.at)
        with suppress(TargetNotReached):
            return scratch.replay(at=at, timeline=chain.timeline)
    return scratch.replay(at=None, timeline=chain.timeline)


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
