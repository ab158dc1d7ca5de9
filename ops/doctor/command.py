"""`ballot doctor`: runs every check, prints a line each, exit 0 only when nothing must change."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

from ops.doctor.backups import backups
from ops.doctor.clock import clock
from ops.doctor.disk import disk
from ops.doctor.durability import durability
from ops.doctor.home import home, secrets
from ops.doctor.keys import desk_key
from ops.doctor.page import page
from ops.doctor.permissions import permissions
from ops.doctor.served import served
from ops.doctor.settings import settings
from ops.doctor.trusted import trusted
from ops.doctor.versions import versions
from runtime import built_page

if TYPE_CHECKING:
    from ops.doctor.finding import Check

CHECKS: tuple[Check, ...] = (
    page,
    settings,
    home,
    secrets,
    desk_key,
    versions,
    trusted,
    durability,
    permissions,
    disk,
    clock,
    backups,
)
"""In the order in which they are printed. Each changes nothing, here or on a server."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list of all findings.")
@click.option("--url", help="Compare what this address serves; BALLOT_PUBLIC_URL unless given.")
def doctor(*, as_json: bool, url: str | None) -> None:
    """Say whether this installation is ready, and what to change where it is not.

    Looked at: the voter's page (built, whole, each file's SHA-256, its version; the same files as they are
    served, where --url or BALLOT_PUBLIC_URL answers), every process's settings, BALLOT_HOME and its secrets
    (there, their owner's alone), the desk's and the complaints key (published and genuine), versions; whether
    the home's servers are there and the queue is trusted; of the servers that run durability, rights, users,
    clocks; room on disk; backups. Of a server that does not run it is said that it was not looked at.

    Nothing is made, started or changed. The exit code is 0 when nothing must change, else 1.
    """
    folder = Path(os.environ.get("BALLOT_HOME") or "~/.ballot").expanduser().resolve()
    asked = url or os.environ.get("BALLOT_PUBLIC_URL", "")
    findings = [finding for check in CHECKS for finding in check(folder)]
    findings.extend(served(asked, built_page.FOLDER, must_answer=url is not None))
    if as_json:
        click.echo(orjson.dumps([finding.to_dict() for finding in findings], option=orjson.OPT_INDENT_2))
    else:
        for finding in findings:
            click.echo(finding.line())
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
