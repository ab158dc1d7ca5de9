"""`ballot backup restore`: one of the three as it was, put in the place of what is there, which is kept."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from ballot.encoding import Malformed, format_time, parse_time
from ops.backup import restore_database, restore_queue
from ops.backup.catalogue import compact
from ops.backup.keys import WHATS, What, read_private
from ops.backup.postgres import COVERED
from ops.backup.restore_cluster import Scratch, ask, system_identifier
from ops.backup.restore_database import Wanted, event_statement
from ops.backup.restore_home import MARKER, alone, data_of, missing_keys, now_us, put_in_place
from ops.backup.restore_report import NOT_NOTED, as_text
from ops.backup.restore_source import Source
from ops.backup.restore_steps import Steps
from ops.backup.settings import BackupSettings
from runtime import home as home_files
from runtime.home import Home
from runtime.lifecycle import TERMINATED
from runtime.postgres_server import PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ACTOR: Final = "restore"


@dataclass(frozen=True, slots=True)
class Order:
    """One restore: of what, from where, to which moment, and into which directory if not the home."""

    what: What
    source: Source
    wanted: Wanted
    to: Path | None


@click.command("restore")
@click.argument("what", type=click.Choice(WHATS))
@click.option(
    "--key",
    "key_files",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private half of its backup key; after a change of keys the older one too.",
)
@click.option(
    "--at", "at_text", help="The moment to go back to, such as 2025-07-01T09:00:00Z; else the newest."
)
@click.option("--base", help="The backup to begin from (`ballot backup list`); else the newest that fits.")
@click.option(
    "--from",
    "from_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The directory with the backups, if not BALLOT_BACKUP.",
)
@click.option(
    "--to", "to_dir", type=click.Path(path_type=Path), help="Restore into this directory and no further."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def restore(
    what: What,
    key_files: tuple[Path, ...],
    at_text: str | None,
    base: str | None,
    from_dir: Path | None,
    to_dir: Path | None,
    *,
    as_json: bool,
) -> None:
    """Restore voterdb, userdb or the queue from its backups; nothing may be using the servers meanwhile.

    What was there before is kept beside it. A restored voterdb then takes from the queue again what it lacks;
    a restored queue stays closed until `ballot recover`.
    """
    home = Home.from_environment(os.environ)
    target, own = backups_directory(from_dir)
    source = Source(home, what, target, [read_private(path) for path in key_files], own=own)
    order = Order(what, source, Wanted(moment(at_text), base), to_dir)
    with ended_in_order():
        report = into_directory(home, order, to_dir) if to_dir is not None else into_home(home, order)
    click.echo(json.dumps(report, indent=1, sort_keys=True) if as_json else as_text(report))


def backups_directory(named: Path | None) -> tuple[Path, bool]:
    """Where the backups are, and whether that is where this home's own go."""
    own = BackupSettings.of(os.environ).target
    if named is not None:
        return named.absolute(), own is not None and own.resolve() == named.resolve()
    if own is None:
        raise click.ClickException(
            "BALLOT_BACKUP is not set: name the directory with the backups with --from DIR."
        )
    if not own.is_dir():
        raise click.ClickException(f"BALLOT_BACKUP is {own}, and no directory is there.")
    return own, True


def moment(text: str | None) -> int | None:
    """Microseconds since the epoch of a time on the command line."""
    if text is None:
        return None
    try:
        return parse_time(text)
    except Malformed as error:
        raise click.BadParameter(str(error), param_hint="--at") from error


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does: what it made is removed."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def into_home(home: Home, order: Order) -> dict[str, Any]:
    """Restore in the place of what is there."""
    what, began = order.what, now_us()
    with alone(home):
        place = home.data / f"{what}.restoring"
        report, made = _build(home, order, place)
        try:
            report["aside"] = _text(put_in_place(home, what, made, began))
        finally:
            _remove(what, place)
        _after(home, order, report)
        if what == "queue":
            _note_in_voterdb(home, report)
    return _kept(home, report, began)


def into_directory(home: Home, order: Order, to: Path) -> dict[str, Any]:
    """Restore into a directory that is not there yet; nothing of this home changes."""
    began, to = now_us(), to.absolute()
    if to.exists():
        raise click.ClickException(f"{to} is there already; name a directory that is not.")
    if not to.parent.is_dir():
        raise click.ClickException(f"{to.parent} is not a directory.")
    place = to.with_name(f"{to.name}.restoring")
    if os.path.lexists(place) and not (place / MARKER).is_file():
        raise click.ClickException(f"{place} is in the way, and no restore made it: move it elsewhere.")
    report, made = _build(home, order, place)
    try:
        made.rename(to)
    finally:
        _remove(order.what, place)
    report["directory"] = str(to)
    return _kept(home, report, began)


def _build(home: Home, order: Order, place: Path) -> tuple[dict[str, Any], Path]:
    """Make it in `place`, which is removed unless all goes well; the report, and where it is."""
    steps = Steps()
    try:
        if order.what == "queue":
            report, made = _build_queue(home, order, place, steps)
        else:
            report, made = _build_database(home, order, place, steps)
    except BaseException:
        _remove(order.what, place)
        raise
    report["steps"] = [step.as_json() for step in steps.done]
    report["seconds"] = round(steps.seconds, 2)
    return report, made


def _build_database(home: Home, order: Order, place: Path, steps: Steps) -> tuple[dict[str, Any], Path]:
    what, source = order.what, order.source
    chain = restore_database.plan(source, order.wanted)
    scratch = Scratch(place, what)
    system = system_identifier(data_of(home, what)) if order.to is None else None
    rebuilt = restore_database.rebuild(source, order.wanted, scratch, steps, chain=chain, system=system)
    report = {
        "what": what,
        "asked": time_or_none(order.wanted.at),
        "backups": [entry.id for entry in chain.bases],
        "wal_segments": rebuilt.wal_segments,
        "reaches": format_time(rebuilt.reaches, decimals=6),
        "reached": rebuilt.reached,
        "last_transaction": time_or_none(rebuilt.last_us),
        "timeline": rebuilt.replayed.timeline,
        "holds": rebuilt.holds,
        "used_keys": list(rebuilt.used_keys),
        "_history": rebuilt.replayed.history,
    }
    if order.to is None:
        said = {name: value for name, value in report.items() if name[0] != "_"}
        with steps.step(f"{what}: make it this home's"):
            report["event"] = restore_database.take_over(scratch, home, ACTOR, said)
    return report, scratch.server.data


def _build_queue(home: Home, order: Order, place: Path, steps: Steps) -> tuple[dict[str, Any], Path]:
    entry = restore_queue.choose(order.source, at=order.wanted.at, base=order.wanted.base)
    rebuilt = restore_queue.rebuild(order.source, entry, place, steps, home=home)
    report = {
        "what": order.what,
        "asked": time_or_none(order.wanted.at),
        "backups": [entry.id],
        "last_transaction": format_time(entry.started),
        "holds": {"ballots": list(rebuilt.ballots)},
        "used_keys": ["credential-digest", "queue"] if rebuilt.ballots else [],
    }
    return report, place / "data" / "valkey"


def _after(home: Home, order: Order, report: dict[str, Any]) -> None:
    """What must be remembered of a restore: by the list of backups, and by a home that lacks the keys."""
    source, last = order.source, report["backups"][-1]
    details = {"timeline": report["timeline"], "history": report["_history"]} if "timeline" in report else {}
    report["noted"] = False
    try:  # it is restored: nothing may say that it is not
        source.note(last, now_us(), **details)
        report["noted"] = True
    except (OSError, click.ClickException):
        click.echo(NOT_NOTED, err=True)
    if order.what == "voterdb":
        # Until this voterdb itself is in a backup the queue keeps everything.
        (home.backup / COVERED).unlink(missing_ok=True)
    report["missing_keys"] = missing_keys(home, report["used_keys"])


def _note_in_voterdb(home: Home, report: dict[str, Any]) -> None:
    """The queue has no audit log: its restore is written into voterdb's, if voterdb is there."""
    server = PostgresServer(home, "voterdb")
    report["event"] = False
    if server.holds_data():
        said = {name: value for name, value in report.items() if name[0] != "_"}
        with suppress(click.ClickException):  # said in the report
            ask(server, event_statement("voterdb", "restore.performed", ACTOR, said))
            report["event"] = True


def _remove(what: What, place: Path) -> None:
    if what == "queue":
        restore_queue.remove(place)
    else:
        Scratch(place, what).remove()


def _kept(home: Home, report: dict[str, Any], began: int) -> dict[str, Any]:
    """The report as it is kept and shown."""
    report = {name: value for name, value in report.items() if name[0] != "_"}
    report["at"] = format_time(began)
    path = home.recovery / f"{compact(began)}-restore-{report['what']}.json"
    report["report"] = str(path)
    home_files.replace(path, json.dumps(report, indent=1, sort_keys=True) + "\n")
    return report


def time_or_none(us: int | None) -> str | None:
    """A moment as it stands in a report."""
    return None if us is None else format_time(us, decimals=6)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
