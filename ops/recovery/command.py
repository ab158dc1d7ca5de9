"""`ballot recover`: what the queue lacks, and the gate rebuilt from what is stored.

After the loss or the restore of either side. A voter database that is behind is no matter for this command:
workers take from the queue again what it lacks (workers/restored.py).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ballot.suite import AeadKey
from ops.pinned import pinned_key
from ops.recovery import in_place, rebuilt, record, unstarted, wrong
from ops.recovery.journals import Journals
from ops.recovery.merge import Sources
from runtime import valkey
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import servers
from runtime.starting import lost_data
from runtime.valkey_server import ValkeyServer

if TYPE_CHECKING:
    from ops.recovery.report import Report

REBUILT = "The queue starts again by itself under `ballot up`, and takes votes once a worker has compared it."
ANYWAY = "nothing that was looked at (asked for with --anyway)"
MERGED = "It takes votes once a worker has compared it."


@click.command("recover")
@click.option("--dry-run", is_flag=True, help="Only say what is wrong and what would be done; exit 1 then.")
@click.option(
    "--journal",
    "directories",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A directory with journals of edges on other machines; this home's own are always read.",
)
@click.option("--anyway", is_flag=True, help="Do it though nothing is found to be wrong; it weakens nothing.")
@click.option(
    "--without-file",
    is_flag=True,
    help="Give up files of the queue that cannot be read nor mended, and the votes that are only in them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def recover(
    directories: tuple[Path, ...], *, dry_run: bool, anyway: bool, without_file: bool, as_json: bool
) -> None:
    """Say what the queue lacks, and rebuild the gate from what is stored.

    Nobody whose vote is stored can vote again afterwards, everybody else can; the report names the rest.
    Killed anywhere, run it again. No vote is taken from the moment something is wrong until it is done.
    """
    home = Home.from_environment(os.environ)
    if home.embedded and not dry_run and rebuilt.finish(home):
        _say("the recovery that was interrupted is finished", quiet=as_json)
    with valkey.plainly(), record.plainly():
        why = unstarted.look(home) if home.embedded and dry_run else _look(home)
        if anyway and not why:
            why = [ANYWAY]
        if not why:
            click.echo(json.dumps({"wrong": []}) if as_json else "nothing is wrong with the queue")
            return
        if dry_run:
            click.echo(json.dumps({"wrong": why}) if as_json else "\n".join(_needed(home, why)))
            raise SystemExit(1)
        _say("\n".join(_needed(home, why)), quiet=as_json)
        report, kept = _recover(home, _sources(home, directories), why, without_file=without_file)
    if as_json:
        click.echo(json.dumps({"wrong": why, "kept": str(kept), "report": report.to_dict()}))
    else:
        click.echo(report.to_text())
        click.echo(f"the report is kept in {kept}; then: `ballot check` on every ballot")
        click.echo(REBUILT if home.embedded else MERGED)


def _look(home: Home) -> list[str]:
    """What is wrong; a queue that does not start has its reason told as it is.

    Files of the home's own queue are looked at before it is started on them.
    """
    if home.embedded:
        server = ValkeyServer(home)
        if lost := lost_data(server, home):
            return [lost]
        if unstarted.stopped(home) and (told := unstarted.files(server)):
            return told
    try:
        with servers(home) as running:
            return run_async(lambda: wrong.compare(running, home.desk / "roots"))
    except click.ClickException as fault:
        if home.embedded and fault.message.startswith(f"{ValkeyServer.name} "):
            return [fault.message]
        raise


def _needed(home: Home, why: list[str]) -> list[str]:
    what = (
        "the queue is rebuilt beside its old files from these and the voter database, and put in their place"
        if home.embedded
        else "what the voter database knows is put back into the running queue, with every edge closed"
    )
    return ["something is wrong with the queue:", *(f"  {each}" for each in why), f"needed: {what}"]


def _sources(home: Home, directories: tuple[Path, ...]) -> Sources:
    key = home.secrets / "queue.key"
    return Sources(
        desk_public=pinned_key(home.public_key_file),
        queue_key=AeadKey(home.secret("queue")) if key.exists() else None,
        journals=Journals((home.journal, *directories)),
        roots=home.desk / "roots",
        rest=home.recovery,
    )


def _recover(home: Home, sources: Sources, why: list[str], *, without_file: bool) -> tuple[Report, Path]:
    if home.embedded:
        return rebuilt.rebuild(home, sources, why, without_file=without_file)
    with servers(home) as running:
        return run_async(lambda: in_place.merge_in_place(home, running, sources, why))


def _say(text: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(text)
