"""`ballot backup`: keys, backups at once and by themselves, what there is, and whether it is good."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from ballot.encoding import format_time
from ops.backup import keys as backup_keys
from ops.backup import marker
from ops.backup.catalogue import Catalogue
from ops.backup.checking import check_entries, look_for
from ops.backup.place import BackupFailed, Place, target_fault
from ops.backup.postgres import Manner, note_covered
from ops.backup.restore import restore
from ops.backup.serve import Keeper, make, retention_of
from ops.backup.settings import BackupSettings
from ops.backup.telling import tell
from runtime import logs, progress
from runtime.home import Home
from runtime.lifecycle import child_of_parent, refuse_optimised
from runtime.servers import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.backup.catalogue import Entry
    from ops.backup.keys import What

NOW_WAIT_S = 900.0
WHAT = click.Choice(backup_keys.WHATS)
PERCENT = 100
STATE_WIDTH = 10
FAILED_TOLD = 50


@click.group("backup")
def backup() -> None:
    """Back up both databases and the queue, and restore them."""


@backup.command("keys")
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the private halves go: a medium that is then taken away. They are kept nowhere else.",
)
def keys(out: Path) -> None:
    """Make the three key pairs: whoever has a private half can open those backups, and nobody else can."""
    home = Home.from_environment()
    for made in backup_keys.make(home, out):
        click.echo(f"{made.what}  {made.id}  {backup_keys.private_file(out, made.what)}")
    click.echo("Take these files away from this machine, and keep a second copy of each elsewhere.")


@backup.command("adopt")
def adopt() -> None:
    """Make BALLOT_BACKUP this home's target on purpose, whoever used it before; nothing in it is altered."""
    target = BackupSettings.of(os.environ).required_target()
    home = Home.from_environment()
    logs.configure("backup", home)
    if not target.is_dir():
        raise click.ClickException(
            f"The backup target {target} is not there: mount it, or make the directory."
        )
    try:
        made = marker.adopt(home, target)
    except OSError as error:
        raise target_fault(target, error) from error
    click.echo(f"{target} is this home's target from now on, its mark {made}.")
    for what in backup_keys.WHATS:
        catalogue = Catalogue(home, what, target)
        missing = look_for(catalogue)
        if missing:
            click.echo(f"{what}: {missing} of the backups in this home's list are not there.")
        note_covered(home, catalogue)


@backup.command("now")
@click.argument("whats", metavar="[voterdb|userdb|queue]…", nargs=-1, type=WHAT)
@click.option("--full", is_flag=True, help="A full backup, not what changed since the last.")
def now(whats: tuple[What, ...], full: bool) -> None:
    """Back up now, prove what was written, and delete what is outdated; without names, everything."""
    settings = BackupSettings.of(os.environ)
    home = Home.from_environment()
    logs.configure("backup", home)
    wanted = whats or tuple(what for what in backup_keys.WHATS if home.embedded or what != "queue")
    places = [Place.of(home, what, settings.required_target()) for what in dict.fromkeys(wanted)]
    failed = False
    with servers(home) as found:
        for place in places:
            if place.on_the_same_disk:
                click.echo(
                    f"{place.target} is on the same disk as {home.path}: one fault can take both.", err=True
                )
            if place.busy:
                click.echo(
                    f"{place.what} is being backed up already: waiting until that has ended.", err=True
                )
            try:
                with _percent(f"{place.what}") as shown:
                    manner = Manner(progress=shown, say=lambda sentence: click.echo(sentence, err=True))
                    made = make(place, found, full=full, manner=manner, wait_s=NOW_WAIT_S)
                click.echo(f"{made.id}  {place.what}  {made.bytes} bytes  sha256 {made.sha256}  verified")
                for gone in retention_of(place, found, settings):
                    click.echo(f"{gone.id}  {place.what}  deleted: older than is kept")
            except BackupFailed as error:
                failed = True
                click.echo(f"{place.what}: {error.message}", err=True)
    raise SystemExit(1 if failed else 0)


@contextmanager
def _percent(label: str) -> Iterator[Callable[[int], None]]:
    with progress.bar(length=PERCENT, label=label) as bar:
        shown = 0

        def show(percent: int) -> None:
            nonlocal shown
            if percent > shown:
                bar.update(percent - shown)
                shown = percent

        yield show


@backup.command("list")
@click.argument("whats", metavar="[voterdb|userdb|queue]…", nargs=-1, type=WHAT)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--wal", is_flag=True, help="Every WAL segment too.")
@click.option("--deleted", is_flag=True, help="Those that were deleted, too.")
def list_(whats: tuple[What, ...], as_json: bool, wal: bool, deleted: bool) -> None:
    """Show which backups there are, oldest first, and whether each was proven."""
    settings = BackupSettings.of(os.environ)
    home = Home.from_environment()
    for what in whats or backup_keys.WHATS:
        entries = Catalogue(home, what, settings.target).entries()
        there = [entry for entry in entries if deleted or not entry.deleted]
        for entry in there:
            if entry.kind != "wal" or wal:
                click.echo(_as_json(what, entry) if as_json else _as_line(what, entry))
        segments = [entry for entry in there if entry.kind == "wal"]
        if segments and not wal and not as_json:
            size = sum(entry.bytes for entry in segments)
            until = format_time(segments[-1].started)
            click.echo(f"{what}  {len(segments)} WAL segments, {size} bytes, until {until}")


def _state(entry: Entry) -> str:
    if entry.deleted:
        return "deleted"
    if entry.missing:
        return "MISSING"
    return {True: "verified", False: "FAILED", None: "unverified"}[entry.verified]


def _as_line(what: What, entry: Entry) -> str:
    after = f"  adds to {entry.parent}" if entry.parent else ""
    return f"{entry.id}  {what}  {_state(entry):{STATE_WIDTH}}  {entry.bytes} bytes{after}"


def _as_json(what: What, entry: Entry) -> str:
    fields: dict[str, object] = {
        "what": what,
        "id": entry.id,
        "kind": entry.kind,
        "state": _state(entry).lower(),
        "file": entry.file,
        "bytes": entry.bytes,
        "sha256": entry.sha256,
        "key_id": entry.key_id,
        "started": format_time(entry.started, decimals=6),
        "ended": format_time(entry.ended, decimals=6),
        "verified_at": None if entry.verified_at is None else format_time(entry.verified_at, decimals=6),
        "parent": entry.parent,
        "start_lsn": entry.start_lsn,
        "end_lsn": entry.end_lsn,
        "timeline": entry.timeline,
        "segment": entry.segment,
    }
    return orjson.dumps(fields).decode()


@backup.command("verify")
@click.argument("ids", metavar="[ID]…", nargs=-1)
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A private half: then everything in those backups is proven, not only size and SHA-256.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def verify(ids: tuple[str, ...], key_files: tuple[Path, ...], as_json: bool) -> None:
    """Read backups again and say whether they are as they were made; without IDs, all there are."""
    settings = BackupSettings.of(os.environ)
    home = Home.from_environment()
    logs.configure("backup", home)
    private = [backup_keys.read_private(path) for path in key_files]
    known: set[str] = set()
    bad = False
    for what in backup_keys.WHATS:
        catalogue = Catalogue(home, what, settings.required_target())
        wanted = [
            entry for entry in catalogue.entries() if not entry.deleted and (not ids or entry.id in ids)
        ]
        known.update(entry.id for entry in wanted)
        checked, failed = 0, list[str]()
        with progress.bar(length=sum(entry.bytes for entry in wanted), label=what) as bar:
            for verdict in check_entries(catalogue, wanted, private, advance=bar.update):
                bad = bad or verdict.fault is not None
                checked += 1
                failed += [verdict.id] if verdict.fault is not None else []
                said = verdict.fault or ("proven" if verdict.opened else "size and SHA-256 as made")
                told = {"what": what, "id": verdict.id, "ok": verdict.fault is None, "said": said}
                click.echo(orjson.dumps(told).decode() if as_json else f"{verdict.id}  {what}  {said}")
        note_covered(home, catalogue)
        if checked:
            tell(home, what, {"checked": checked, "ok": not failed, "failed": failed[:FAILED_TOLD]})
    unknown = sorted(set(ids) - known)
    if unknown:
        raise click.ClickException(f"There is no backup called {unknown[0]}; `ballot backup list` shows all.")
    raise SystemExit(1 if bad else 0)


@backup.command("serve")
@click.argument("what", type=WHAT)
def serve(what: What) -> None:
    """Back up one of the three on its schedule, and its WAL as it is written, until told to stop."""
    refuse_optimised()
    settings = BackupSettings.of(os.environ)
    settings.required_target()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    child_of_parent()
    home = Home.from_environment()
    logs.configure(f"backup-{what}", home)
    if what == "queue" and not home.embedded:
        raise click.ClickException("The queue is one of your own servers: copy its files where it runs.")
    try:
        with servers(home) as found:
            Keeper(found, what, settings, stop).run()
    except click.ClickException as error:
        logs.get("backup").alarm("backup_impossible", what=what, error=error)
        raise


backup.add_command(restore)
