"""`ballot create`: a definition is registered whole or refused with every fault and its line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import click

from ballot import definition as definitions
from ballot.definition import Definition, DefinitionFaults
from ballot.encoding import format_time
from ballot.limits import DEFINITION_BYTES_MAX
from ballot.turns import Turns
from scrutineer.files import read_bounded
from scrutineer.session import Desk, run_desk

CLUSTER_SHARDS = 16


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--shards",
    type=click.Choice(["1", "2", "4", "8", "16", "32"]),
    help="Parts of the gate, fixed for this ballot; 1 if not given, 16 on a Cluster.",
)
def create(files: tuple[Path, ...], shards: str | None) -> None:
    """Register the ballot definition in FILE (TOML) and print its digest."""
    by_name = {str(file): file for file in files}
    turns = Turns(tuple(by_name), click.ClickException)
    definitions_read: dict[str, Definition] = {}
    for name, file in by_name.items():
        with turns.of(name):
            definitions_read[name] = _read(file)
    if definitions_read:
        run_desk(lambda desk: _register_each(desk, turns, definitions_read, shards))
    turns.end()


def _read(file: Path) -> Definition:
    """Read a definition, or say every fault with its line; that it was refused is on record."""
    raw = read_bounded(file, bytes_max=DEFINITION_BYTES_MAX)
    try:
        return definitions.parse_toml(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise click.ClickException(f"{file} is not a definition:\nline {line}: not UTF-8") from None
    except DefinitionFaults as faults:
        count = len(faults.faults)
        run_desk(lambda desk: _log_refusal(desk, hashlib.sha256(raw).hexdigest(), count))
        raise click.ClickException(f"{file} is not a definition that can be used:\n{faults}") from None


async def _register_each(
    desk: Desk, turns: Turns, read: Mapping[str, Definition], shards: str | None
) -> None:
    for name, definition in read.items():
        with turns.of(name):
            await register(desk, definition, shards=int(shards) if shards else _shards_for(desk))
            click.echo(f"ballot             {definition.id}")
            click.echo(f"definition_sha256  {definition.sha256.hex()}")


def _shards_for(desk: Desk) -> int:
    """How many parts a gate has: one server needs one, and what moves between servers is whole parts."""
    return CLUSTER_SHARDS if desk.servers.valkey.cluster else 1


async def _log_refusal(desk: Desk, file_sha256: str, faults: int) -> None:
    await desk.event(None, "ballot.refused", file_sha256=file_sha256, faults=faults)


async def register(desk: Desk, definition: Definition, *, shards: int) -> None:
    """Write the ballot's row and its events in one transaction; an id is given once."""
    try:
        async with desk.votes.transaction():
            await desk.votes.execute(
                """INSERT INTO ballot.ballots (ballot, kind, definition, definition_sha256, shards)
                   VALUES ($1, $2, $3, $4, $5)""",
                definition.id,
                definition.kind,
                definition.canonical,
                definition.sha256,
                shards,
            )
            await desk.event(
                definition.id,
                "ballot.created",
                kind=definition.kind,
                methods=list(definition.methods),
                definition_sha256=definition.sha256.hex(),
                shards=shards,
            )
            await desk.event(
                definition.id,
                "ballot.duration_set",
                opens=format_time(definition.opens_us),
                closes=format_time(definition.closes_us),
            )
            for question in definition.questions:
                await desk.event(
                    definition.id, "ballot.question_set", question=question.id, form=question.form
                )
    except asyncpg.UniqueViolationError:
        message = f"ballot {definition.id!r} exists already; a definition never changes once it is registered"
        raise click.ClickException(message) from None
