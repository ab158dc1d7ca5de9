"""`ballot check`: reads both sides, compares, prints; exit 0 only when every difference is 0."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.check import findings, opening, receipts, recovered, report, result, roots, store_side, totals
from ops.check.findings import Finding, Kind
from ops.check.ip_records import check_ip_records
from ops.check.queue_side import QueueSide, ShardState, published
from ops.check.receipts import published_key
from ops.check.scratch import scratch
from ops.check.signatures import Against, VoteVerifier
from ops.pinned import pinned_key
from runtime import postgres, progress, valkey
from runtime.home import Home
from runtime.lifecycle import run_async
from runtime.servers import servers

if TYPE_CHECKING:
    import asyncpg

    from ballot.books import Books
    from ops.check.scratch import Scratch
    from runtime.servers import Servers


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    ballot: str
    receipts: Path | None
    signatures: bool
    attempts: Path | None
    result: Path | None
    receipts_key: bytes | None
    desk_key: bytes | None


@dataclass(slots=True)
class Outcome:
    """What was found; `counts` has every kind, zeros included, `named` the first of each."""

    ballot: str
    states: list[str]
    books: Books
    counts: dict[str, int] = field(default_factory=lambda: {kind.value: 0 for kind in Kind})
    named: list[Finding] = field(default_factory=list)
    notes: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def note(self, finding: Finding) -> None:
        """Count a finding, and keep its name while there is room."""
        self.counts[finding.kind.value] += 1
        if self.counts[finding.kind.value] <= report.NAMED_MAX:
            self.named.append(finding)

    @property
    def differences(self) -> int:
        """Everything that is not as it should be; 0 passes."""
        return sum(self.counts.values()) + sum(abs(value) for value in self.books.differences().values())


@click.command()
@click.argument("ballot", required=False)
@click.option("--list", "list_only", is_flag=True, help="List the published ballots, and check none.")
@click.option(
    "--receipts",
    "receipts_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Receipts that voters hold, one JSON object a line: each must have its vote.",
)
@click.option(
    "--attempts",
    "attempts_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='Every vote that voters say they sent, a line each: {"ballot", "sealed_sha256"} in hexadecimal. '
    "With --receipts: a counted vote must then have a receipt or have been sent.",
)
@click.option(
    "--result",
    "result_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The signed result: it must be of these books.",
)
@click.option(
    "--signatures",
    is_flag=True,
    help="Also verify each vote's signature, the register's roots, the signed electorate and document.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    ballot: str | None,
    receipts_file: Path | None,
    attempts_file: Path | None,
    result_file: Path | None,
    *,
    list_only: bool,
    signatures: bool,
    as_json: bool,
) -> None:
    """Re-derive the books of BALLOT from queue and voter database, and name every vote that does not fit."""
    home = Home.from_environment(os.environ)
    files = (receipts_file, attempts_file, result_file)
    if list_only:
        if ballot is not None or any(files) or signatures:
            raise click.UsageError(
                "--list checks nothing, so it goes with no ballot and no option but --json"
            )
        with servers(home) as running:
            ballots = run_async(lambda: _published(running))
        click.echo(
            report.list_as_json(ballots) if as_json else "".join(f"{each}\n" for each in ballots), nl=as_json
        )
        return
    if ballot is None:
        raise click.UsageError("name a ballot, or ask for the published ones with --list")
    if attempts_file is not None and receipts_file is None:
        raise click.UsageError("--attempts says nothing without --receipts: most votes have one")
    wanted = Wanted(
        ballot,
        receipts_file,
        signatures,
        attempts_file,
        result_file,
        receipts_key=published_key(home.public / "receipts.json") if receipts_file is not None else None,
        desk_key=pinned_key(home.public_key_file) if signatures else None,
    )
    with servers(home) as running, valkey.plainly():
        outcome = run_async(lambda: examine(home, running, wanted))
    click.echo(report.as_json(outcome) if as_json else report.as_text(outcome))
    raise SystemExit(0 if outcome.differences == 0 else 1)


async def _published(running: Servers) -> list[str]:
    client = valkey.connect(running, "checker")
    try:
        with valkey.plainly():
            return await published(client)
    finally:
        await client.aclose()


async def examine(home: Home, running: Servers, wanted: Wanted) -> Outcome:
    """(1) what was acknowledged, (2) voterdb in one snapshot, (3) marks and stream, (4) compare."""
    with scratch(home.run) as tables:
        connection = await postgres.connect(running, "voterdb", store_side.ROLE)
        client = valkey.connect(running, "checker", timeout_s=30.0)
        early: list[Finding] = []
        try:
            record = await store_side.read_record(connection, wanted.ballot)
            queue = QueueSide(client, wanted.ballot, record.shards)
            await queue.read_before(tables)  # (1)
            async with connection.transaction(isolation="repeatable_read", readonly=True):  # (2)
                record = await store_side.read_record(connection, wanted.ballot)
                early += await _read_store(connection, home, wanted, record, tables)
                early += await check_ip_records(connection, wanted.ballot)
                if wanted.signatures:
                    early += await _check_signed(connection, home, wanted, record)
            early += _read_files(wanted, tables)
            states = await queue.read_after(tables)  # (3)
            await recovered.read_recoveries(connection, wanted.ballot, tables)
            tables.index()
            await _reread_missing_credentials(queue, tables)
            await store_side.read_again(connection, wanted.ballot, tables)
            early += queue.findings
            outcome = _compare(wanted, record, tables, states, early)  # (4)
            if wanted.result is not None:
                for finding in await result.check_result(
                    connection, wanted.result, wanted.ballot, record, outcome.books
                ):
                    outcome.note(finding)
        finally:
            await client.aclose()
            await connection.close()
        return outcome


def _read_files(wanted: Wanted, tables: Scratch) -> list[Finding]:
    """Read what voters handed in."""
    if wanted.attempts is not None:
        receipts.read_attempts(wanted.attempts, wanted.ballot, tables)
    if wanted.receipts is None or wanted.receipts_key is None:
        return []
    return list(receipts.read_receipts(wanted.receipts, wanted.ballot, wanted.receipts_key, tables))


async def _check_signed(
    connection: asyncpg.Connection, home: Home, wanted: Wanted, record: store_side.BallotRecord
) -> list[Finding]:
    """Compare what the desk signed with what is there: register, electorate, ballot document."""
    acts = await asyncio.to_thread(roots.read_journal, home.desk / "roots" / f"{wanted.ballot}.jsonl")
    key = wanted.desk_key
    return [
        *await roots.check_roots(connection, wanted.ballot, acts, desk_public=key),
        *await opening.check_electorate(connection, wanted.ballot, record, acts, desk_public=key),
        *await opening.check_document(connection, wanted.ballot, record, desk_public=key),
    ]


async def _read_store(
    connection: asyncpg.Connection,
    home: Home,
    wanted: Wanted,
    record: store_side.BallotRecord,
    tables: Scratch,
) -> list[Finding]:
    length = await store_side.count_votes(connection, wanted.ballot)
    with ExitStack() as stack:
        bar = stack.enter_context(progress.bar(length=length, label="reading the stored votes"))
        verifier = None
        if wanted.signatures:
            against = Against(wanted.ballot, record.definition_sha256, home.secret("credential-digest"))
            verifier = stack.enter_context(VoteVerifier(against))
        await store_side.read_store(connection, wanted.ballot, tables, verifier=verifier, advance=bar.update)
        return verifier.finish() if verifier is not None else []


async def _reread_missing_credentials(queue: QueueSide, tables: Scratch) -> None:
    """Look again for codes that reached the gate after it was read: an issue writes the register first."""
    missing: dict[int, set[bytes]] = {}
    for digest, shard in tables.ask(
        "SELECT g.digest, g.shard FROM register g INDEXED BY register_by_kept"
        " WHERE NOT EXISTS (SELECT 1 FROM credentials c WHERE c.kept = g.kept) LIMIT 100000",
    ):
        missing.setdefault(shard, set()).add(digest)
    for shard in missing.keys() & range(queue.shards):  # the register may name one that the ballot has not
        await queue.read_credentials(tables, shard, only=frozenset(missing[shard]))


def _compare(
    wanted: Wanted,
    record: store_side.BallotRecord,
    tables: Scratch,
    states: list[ShardState],
    early: list[Finding],
) -> Outcome:
    findings.make_views(tables)
    outcome = Outcome(wanted.ballot, [state.state for state in states], totals.books(tables, states))
    for finding in early:
        outcome.note(finding)
    for shard, state in enumerate(states):
        expected = (record.opens_us or 0, record.closes_us or 0)
        if (state.opens_us, state.closes_us) != expected:
            where = f"shard {shard}"
            outcome.note(
                Finding(Kind.WINDOW, where, "the gate's opening and closing are not those on record")
            )
    for finding in findings.find(tables, record, with_attempts=wanted.attempts is not None):
        outcome.note(finding)
    outcome.notes = findings.notes(tables, with_receipts=wanted.receipts is not None, limit=report.NAMED_MAX)
    return outcome
