"""`ballot keyring`: public halves and rehearsals come in only when signed by the ballot's own key."""

import hashlib
import json
from typing import Any, BinaryIO

import click

from ballot.encoding import Malformed, b64decode, b64encode, canonical_json, parse_time, strict_json
from ballot.suite import SignatureInvalid, check_public_key, key_id, verify_signature
from scrutineer import ballots
from scrutineer.session import Desk, changing, run_desk

#: What `keys create` sends is about 3 kB.
INPUT_BYTES_MAX = 64 * 1024
REHEARSAL_LABEL = b"strike-ballot/v1/rehearsal"
SHARES_MAX = 16


@click.group()
def keyring() -> None:
    """Register a ballot's public keys and rehearsals (sent by `ballot keys`), or show them."""


@keyring.command()
@click.argument("ballot")
@click.argument("file", type=click.File("rb"))
def register(ballot: str, file: BinaryIO) -> None:
    """Register the public halves and first rehearsal of BALLOT from FILE, JSON, or - for standard input."""
    sent = _read(file)
    try:
        public_key = b64decode(_text(sent, "public_key"))
        check_public_key(public_key)
        result_key = b64decode(_text(sent, "result_key"), length=32)
        threshold, shares = _whole(sent, "threshold"), _whole(sent, "shares")
        _check_numbers(threshold, shares)
        statement, signature = _statement(sent), b64decode(_text(sent, "signature"), length=64)
        check_rehearsal(ballot, statement, signature, result_key=result_key, threshold=threshold)
    except (Malformed, SignatureInvalid) as error:
        raise click.ClickException(f"the keys are not registered: {_reason(error)}") from None

    async def body(desk: Desk) -> None:
        await ballots.load(desk, ballot)
        async with changing(desk, ballot):
            await _register(desk, ballot, ballots.BallotKeys(public_key, result_key, threshold, shares, 0))
            await _record(desk, ballot, statement, signature)

    run_desk(body)
    click.echo(
        f"keys of {ballot} registered: any {threshold} of {shares} holders open it; "
        f"result key {key_id(result_key)}"
    )


async def _register(desk: Desk, ballot: str, sent: ballots.BallotKeys) -> None:
    """Write the public halves; the same ones again are fine, others never."""
    held = await ballots.keys(desk, ballot)
    if held is not None:
        if (held.public_key, held.result_key) != (sent.public_key, sent.result_key):
            raise click.ClickException(f"ballot {ballot!r} has other keys already; they are never replaced")
        return
    async with desk.votes.transaction():
        await desk.votes.execute(
            """INSERT INTO ballot.ballot_keys (ballot, public_key, result_key, threshold, shares)
               VALUES ($1, $2, $3, $4, $5)""",
            ballot,
            sent.public_key,
            sent.result_key,
            sent.threshold,
            sent.shares,
        )
        await desk.event(
            ballot,
            "key.access_changed",
            act="registered",
            result_key_id=key_id(sent.result_key),
            public_key_sha256=hashlib.sha256(sent.public_key).hexdigest(),
            threshold=sent.threshold,
            shares=sent.shares,
        )


@keyring.command()
@click.argument("ballot")
@click.argument("file", type=click.File("rb"))
def rehearsed(ballot: str, file: BinaryIO) -> None:
    """Record a later rehearsal of BALLOT from FILE, JSON, or - for standard input."""
    sent = _read(file)

    async def body(desk: Desk) -> None:
        await ballots.load(desk, ballot)
        held = await ballots.keys(desk, ballot)
        if held is None:
            raise click.ClickException(
                f"ballot {ballot!r} has no keys yet; `ballot keys create` makes and registers them"
            )
        try:
            statement, signature = _statement(sent), b64decode(_text(sent, "signature"), length=64)
            check_rehearsal(
                ballot, statement, signature, result_key=held.result_key, threshold=held.threshold
            )
        except (Malformed, SignatureInvalid) as error:
            raise click.ClickException(f"the rehearsal is not recorded: {_reason(error)}") from None
        await _record(desk, ballot, statement, signature)

    run_desk(body)
    click.echo(f"rehearsal of {ballot} recorded")


async def _record(desk: Desk, ballot: str, statement: bytes, signature: bytes) -> None:
    known = await desk.votes.fetchval(
        "SELECT EXISTS (SELECT FROM ballot.rehearsals WHERE ballot = $1 AND statement = $2)",
        ballot,
        statement,
    )
    if known:
        return
    async with desk.votes.transaction():
        await desk.votes.execute(
            "INSERT INTO ballot.rehearsals (ballot, statement, signature) VALUES ($1, $2, $3)",
            ballot,
            statement,
            signature,
        )
        await desk.event(
            ballot,
            "key.access_changed",
            act="rehearsed",
            statement_sha256=hashlib.sha256(statement).hexdigest(),
        )


@keyring.command()
@click.argument("ballot")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(ballot: str, as_json: bool) -> None:
    """Show the public halves, threshold and rehearsals of BALLOT."""
    shown = run_desk(lambda desk: _shown(desk, ballot))
    if as_json:
        click.echo(json.dumps(shown))
        return
    for name, value in shown.items():
        if name != "rehearsed":
            click.echo(f"{name:18} {value}")


async def _shown(desk: Desk, ballot: str) -> dict[str, Any]:
    stored = await ballots.load(desk, ballot)
    held = await ballots.keys(desk, ballot)
    rows = await desk.votes.fetch(
        "SELECT statement FROM ballot.rehearsals WHERE ballot = $1 ORDER BY recorded_at", ballot
    )
    return {
        "ballot": ballot,
        "definition_sha256": stored.definition.sha256.hex(),
        "public_key": b64encode(held.public_key) if held else None,
        "result_key": b64encode(held.result_key) if held else None,
        "threshold": held.threshold if held else None,
        "shares": held.shares if held else None,
        "rehearsals": len(rows),
        "rehearsed": [strict_json(bytes(row["statement"]), bytes_max=INPUT_BYTES_MAX) for row in rows],
    }


def check_rehearsal(
    ballot: str, statement: bytes, signature: bytes, *, result_key: bytes, threshold: int
) -> None:
    """Check a rehearsal statement: canonical, of this ballot, enough shares, signed by the result key."""
    told = strict_json(statement, bytes_max=INPUT_BYTES_MAX)
    if canonical_json(told) != statement:
        raise Malformed("the rehearsal statement is not canonical JSON")
    if set(told) != {"ballot", "rehearsed_at", "shares_used", "test_vote_sha256"}:
        raise Malformed(
            "a rehearsal statement has exactly ballot, rehearsed_at, shares_used and test_vote_sha256"
        )
    if told["ballot"] != ballot:
        raise Malformed("the rehearsal is of another ballot")
    parse_time(_text(told, "rehearsed_at"))
    if _whole(told, "shares_used") < threshold:
        raise Malformed("the rehearsal used fewer shares than the threshold")
    verify_signature(result_key, signature, REHEARSAL_LABEL + b"\x00" + hashlib.sha256(statement).digest())


def _check_numbers(threshold: int, shares: int) -> None:
    if not 1 <= threshold <= shares <= SHARES_MAX:
        raise Malformed(f"1 <= threshold <= shares <= {SHARES_MAX} must hold")


def _read(file: BinaryIO) -> dict[str, Any]:
    try:
        return strict_json(file.read(INPUT_BYTES_MAX + 1), bytes_max=INPUT_BYTES_MAX)
    except Malformed as error:
        raise click.ClickException(f"what was sent cannot be read: {error}") from None


def _statement(sent: dict[str, Any]) -> bytes:
    """Give the statement's exact bytes: it may come as an object, as its text, or in base64url."""
    value = sent.get("statement")
    if isinstance(value, dict):
        return canonical_json(value)
    text = _text(sent, "statement")
    return text.encode() if text.startswith("{") else b64decode(text)


def _text(sent: dict[str, Any], name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name} is missing or not a text")
    return value


def _whole(sent: dict[str, Any], name: str) -> int:
    value = sent.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Malformed(f"{name} is missing or not a whole number")
    return value


def _reason(error: Exception) -> str:
    return "the signature is not the result key's" if isinstance(error, SignatureInvalid) else str(error)
