"""`ballot keys`: n people come away with a share each, and the computer with nothing."""

import os
import secrets
import time
from pathlib import Path

import click

from ballot.encoding import b64decode, canonical_json
from ballot.suite import key_id
from tally import ceremony, desk
from tally import shares as share_files
from tally.custody import BallotKeys, derive


@click.group()
def keys() -> None:
    """Make a ballot's key and split it among key holders, or rehearse opening with their shares."""


@keys.command()
@click.argument("ballot")
@click.option("--threshold", type=int, required=True, help="How many shares open the ballot.")
@click.option("--shares", type=int, required=True, help="How many shares to make, at most 16.")
@click.option(
    "--out",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Directory for the share files; made if it is not there.",
)
def create(ballot: str, threshold: int, shares: int, directory: Path) -> None:
    """Make the key of BALLOT, write a file for each key holder, prove that they open a vote, forget it."""
    share_files.check_numbers(threshold=threshold, shares=shares)
    if desk.run_json(["keyring", "show", ballot, "--json"])["public_key"] is not None:
        raise click.ClickException(f"ballot {ballot} has its keys already; they are never replaced")
    _prepare(directory)
    made = ceremony.make_key(
        ballot,
        threshold=threshold,
        shares=shares,
        directory=directory,
        now_us=time.time_ns() // 1000,
        random=secrets.token_bytes,
    )
    _register(ballot, made)
    for path in made.files:
        click.echo(f"wrote {path}")
    click.echo(f"ballot      {ballot}: any {threshold} of {shares} shares open it")
    click.echo(f"result key  {key_id(made.result_key)}")
    click.echo("rehearsed: a test vote was opened with shares read back from these files")
    if shares == 1:
        click.echo(
            "warning: with one share, whoever holds it can open every vote, and losing it loses them all; "
            "the voter's page says that it takes several people",
            err=True,
        )


def _prepare(directory: Path) -> None:
    """Make the directory for the share files, or refuse one that holds some."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = sorted(directory.glob("share-*.txt"))
    except OSError as fault:
        raise click.ClickException(f"{directory} cannot be used: {fault.strerror}") from None
    if found:
        raise click.ClickException(
            f"{directory} holds share files already ({found[0].name}): name another directory"
        )
    if not os.access(directory, os.W_OK | os.X_OK):
        raise click.ClickException(f"{directory} cannot be written to")


def _register(ballot: str, made: ceremony.MadeKey) -> None:
    """Register the public halves; the share files stay unless it is certain that no ballot uses them."""
    try:
        desk.run(["keyring", "register", ballot, "-"], given=made.registration())
    except click.ClickException as fault:
        reason = fault.message
    else:
        return
    try:
        held = desk.run_json(["keyring", "show", ballot, "--json"])
    except click.ClickException:
        raise click.ClickException(
            f"{reason}; whether the keys were registered is not known, so the share files were kept"
        ) from None
    if held["public_key"] is None or b64decode(held["public_key"]) != made.public_key:
        ceremony.remove(made.files)
        raise click.ClickException(f"{reason}; no ballot uses these keys, so the share files were removed")
    if not held["rehearsals"]:
        raise click.ClickException(
            f"{reason}; the keys are registered and the share files kept: prove them with `ballot keys test`"
        )
    # The desk has taken in everything after all; it was its answer that was lost.


@keys.command()
@click.argument("ballot")
@click.option(
    "--share",
    "paths",
    type=click.Path(path_type=Path),
    required=True,
    multiple=True,
    help="A share file; repeat for each.",
)
def test(ballot: str, paths: tuple[Path, ...]) -> None:
    """Rehearse: open a fresh test vote of BALLOT with the shares given, and record that they still do."""
    held = desk.run_json(["keyring", "show", ballot, "--json"])
    if held["public_key"] is None:
        raise click.ClickException(f"ballot {ballot} has no keys yet: `ballot keys create` makes them")
    found, used = recover(paths, ballot=ballot, public_key=b64decode(held["public_key"]))
    rehearsal = ceremony.rehearse(
        found, ballot=ballot, shares_used=used, now_us=time.time_ns() // 1000, random=secrets.token_bytes
    )
    desk.run(["keyring", "rehearsed", ballot, "-"], given=canonical_json(rehearsal.fields()))
    click.echo(f"ballot {ballot}: {used} shares opened a test vote, and the desk has recorded it")


def recover(paths: tuple[Path, ...], *, ballot: str, public_key: bytes) -> tuple[BallotKeys, int]:
    """Return the keys that the share files make and how many were used, or say why they do not fit."""
    held = [share_files.read(path, ballot=ballot) for path in paths]
    secret = share_files.secret_of(held, ballot=ballot)
    found = derive(secret, ballot=ballot)
    if found.public_key != public_key:
        names = ", ".join(one.name for one in held)
        raise click.ClickException(f"{names}: these are shares of another ballot's key, not of {ballot}'s")
    return found, held[0].threshold
