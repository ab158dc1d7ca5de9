"""`ballot open`, `close`, `extend`: one instant for every shard, confirmed by all or taken back."""

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import click

from ballot import document as documents
from ballot.encoding import Malformed, b64encode, canonical_json, format_time, parse_time
from ballot.limits import CLOCK_YEAR_MAX
from ballot.turns import Turns
from runtime.progress import bar
from scrutineer import ballots, closing, electorate, pushing, readiness
from scrutineer.ballots import Armed, StoredBallot
from scrutineer.files import write_public
from scrutineer.gate import Gate, ShardState
from scrutineer.roll import Step, no_step
from scrutineer.session import Desk, changing, run_desk

#: How far ahead a new closing time is written: many times what writing it to 32 shards takes.
AHEAD_US = 2_000_000
#: A shard that has not confirmed by then is silent, and the others still have time to take theirs back.
CONFIRM_S = AHEAD_US / 2 / 1_000_000
#: Primaries whose clocks differ by more close nothing together; the edge takes no vote while they do.
CLOCKS_APART_US_MAX = 50_000
#: How long one try to put a closing time back may take, and the pause before the next: a server that restarts
#: or is replaced refuses at once, and may be there again before the new time comes.
PUT_BACK_S = 0.3
PUT_BACK_EVERY_S = 0.05
#: `extend` in the last second could find one shard closed and another not.
EXTEND_MARGIN_US = 1_000_000
#: The same bound as a definition's own closing time has.
CLOSES_US_MAX = parse_time(f"{CLOCK_YEAR_MAX}-12-31T23:59:59Z")


@click.command("open")
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
def open_(ballots: tuple[str, ...]) -> None:
    """Freeze, sign and publish the ballot document and arm BALLOT.

    Votes are taken while armed and opens <= now < closes. Refuses without registered and rehearsed keys, a
    roll, and, if votes are cast online, a code for every voter. Running it again finishes an opening that a
    crash interrupted.
    """
    turns = Turns(ballots, click.ClickException)
    run_desk(lambda desk: _open_each(desk, turns), people=True)
    turns.end()


async def _open_each(desk: Desk, turns: Turns) -> None:
    with bar(length=len(turns.names), label="opening") as progress:
        for ballot in turns.names:
            with turns.of(ballot):
                armed = await open_ballot(desk, ballot)
                opens, closes = format_time(armed.opens_us), format_time(armed.closes_us)
                click.echo(f"{ballot} is armed: opens {opens}, closes {closes}")
            progress.update(1)


async def open_ballot(desk: Desk, ballot: str, *, step: Step = no_step) -> Armed:
    """Open a ballot. The order, each step safe to repeat.

    (1) refuse what is not ready; (2) who is entitled, signed; (3) the document and its signature among the
    public files and, with the window, in the voter database: from here they never change; (4) every shard
    of the gate; (5) the edges are told.
    """
    stored = await ballots.load(desk, ballot)
    async with changing(desk, ballot):
        gate = stored.gate(desk)
        armed = await ballots.armed(desk, ballot)
        if armed is not None and await gate.states() and await gate.published() is not None:
            raise click.ClickException(f"ballot {ballot!r} is already open; it is opened once")
        if armed is None:
            # Step 1.
            await pushing.finish_pending(desk, stored)
            document = await readiness.ready(desk, stored)
            # Step 2.
            await electorate.sign(desk, stored)
            # Step 3.
            armed = await _freeze(desk, stored, document)
        _publish_files(desk, ballot, armed)
        step("frozen")
        # Step 4.
        await gate.arm(opens_us=armed.opens_us, closes_us=armed.closes_us)
        step("armed")
        # Step 5.
        entry = {
            "document": b64encode(armed.document),
            "document_signature": b64encode(armed.document_signature),
            "desk_public_key": b64encode(desk.key.public),
            "shards": stored.shards,
        }
        await gate.publish(canonical_json(entry))
        return armed


async def _freeze(desk: Desk, stored: StoredBallot, document: documents.BallotDocument) -> Armed:
    """Step 3: Ed25519 is deterministic, so a second signature over the same document is the same."""
    signature = documents.sign(document, desk.key)
    definition = stored.definition
    armed = Armed(document.canonical, signature, definition.opens_us, definition.closes_us)
    _publish_files(desk, stored.id, armed)
    entitled = await desk.votes.fetchval(
        "SELECT count(*) FROM ballot.electorate WHERE ballot = $1", stored.id
    )
    async with desk.votes.transaction():
        await desk.votes.execute(
            """INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us, document, document_signature)
               VALUES ($1, 'armed', $2, $3, $4, $5)""",
            stored.id,
            armed.opens_us,
            armed.closes_us,
            armed.document,
            armed.document_signature,
        )
        await desk.event(
            stored.id,
            "ballot.launched",
            entitled=entitled,
            opens=format_time(armed.opens_us),
            closes=format_time(armed.closes_us),
            definition_sha256=definition.sha256.hex(),
        )
    return armed


def _publish_files(desk: Desk, ballot: str, armed: Armed) -> None:
    for name, content in (
        (f"{ballot}.document", armed.document),
        (f"{ballot}.document.signature", b64encode(armed.document_signature).encode() + b"\n"),
    ):
        path = desk.home.public / name
        if not path.exists() or path.read_bytes() != content:
            write_public(path, content)


@click.command()
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
@click.option("--no-wait", is_flag=True, help="Return as soon as the closing time is set on every shard.")
def close(ballots: tuple[str, ...], no_wait: bool) -> None:
    """Close BALLOT now, or, after its closing time, wait until every vote is stored.

    Returns when every shard is closed and the queue is stored, starting a worker if none runs; after 60
    seconds it gives up with an error that says what remains. A probe ballot is never closed. Of several
    ballots all get their closing time first; those that can be closed are, whatever comes of the others.
    """
    turns = Turns(ballots, click.ClickException)
    run_desk(lambda desk: close_ballots(desk, turns, wait=not no_wait))
    turns.end()


async def close_ballots(desk: Desk, turns: Turns, *, wait: bool) -> None:
    """Set the closing time of each, then see all of them stored within the time that one has."""
    closing_us: dict[str, int] = {}
    for ballot in turns.names:
        with turns.of(ballot):
            closing_us[ballot] = await close_ballot(desk, ballot, wait=False)
            if not wait:
                click.echo(f"{ballot} closes at {format_time(closing_us[ballot], decimals=6)}")
    if not wait:
        return
    until_s = time.monotonic() + closing.WAIT_S
    with bar(length=len(closing_us), label="closing") as progress:
        for ballot, closes_us in closing_us.items():
            with turns.of(ballot):
                stored = await ballots.load(desk, ballot)
                await closing.wait_until_stored(desk, stored, wait_s=max(0.0, until_s - time.monotonic()))
                click.echo(f"{ballot} closed at {format_time(closes_us, decimals=6)}")
            progress.update(1)


async def close_ballot(desk: Desk, ballot: str, *, wait: bool) -> int:
    """Close a ballot and, if `wait`, see all of it stored; gives the closing time."""
    stored = await ballots.load(desk, ballot)
    if stored.probe:
        raise click.ClickException(
            f"ballot {ballot!r} is a standing probe ballot; the monitor needs it open, so it is not closed"
        )
    gate = stored.gate(desk)
    async with changing(desk, ballot, "closing time"):
        states = await _armed_states(desk, stored)
        # Some may have closed already, if a close was cut short: the others follow now, not never.
        left = [state for state in states if not state.closed]
        if left:
            closes_us = max(state.now_us for state in states) + AHEAD_US
            closes_us = min([closes_us, *(state.closes_us for state in left)])
            await _set_everywhere(gate, left, closes_us)
        else:
            closes_us = max(state.closes_us for state in states)
        earlier = {state.shard: state.closes_us for state in states if state.closed}
        earlier = {shard: at_us for shard, at_us in earlier.items() if at_us != closes_us}
        for shard, at_us in earlier.items():
            click.echo(f"shard {shard} had closed already, at {format_time(at_us, decimals=6)}", err=True)
        await _record(
            desk, ballot, "closing", opens_us=states[0].opens_us, closes_us=closes_us, earlier=earlier
        )
    if wait:
        await closing.wait_until_stored(desk, stored)
    return closes_us


@click.command()
@click.argument("ballots", metavar="BALLOT...", nargs=-1, required=True)
@click.option(
    "--until",
    required=True,
    metavar="TIME",
    help="New closing time, RFC 3339, such as 2025-07-29T12:00:00+01:00.",
)
def extend(ballots: tuple[str, ...], until: str) -> None:
    """Move the closing time of BALLOT to a later one; refused once it has closed."""
    turns = Turns(ballots, click.ClickException)
    try:
        closes_us = parse_time(until)
    except Malformed as error:
        raise click.ClickException(f"--until is not a time: {error}") from None
    if closes_us > CLOSES_US_MAX:
        raise click.ClickException(f"--until is after the year {CLOCK_YEAR_MAX}")
    run_desk(lambda desk: _extend_each(desk, turns, closes_us))
    turns.end()


async def _extend_each(desk: Desk, turns: Turns, closes_us: int) -> None:
    for ballot in turns.names:
        with turns.of(ballot):
            await extend_ballot(desk, ballot, closes_us)
            click.echo(f"{ballot} closes at {format_time(closes_us)}")


async def extend_ballot(desk: Desk, ballot: str, closes_us: int) -> None:
    """Set a later closing time on every shard, or leave all as they were."""
    stored = await ballots.load(desk, ballot)
    async with changing(desk, ballot, "closing time"):
        states = await _armed_states(desk, stored)
        if any(state.closed for state in states):
            raise click.ClickException(f"ballot {ballot!r} has closed; a closed ballot is never opened again")
        now_us = max(state.now_us for state in states)
        if closes_us <= now_us:
            raise click.ClickException(f"{format_time(closes_us)} has passed; it is {format_time(now_us)}")
        present_us = max(state.closes_us for state in states)
        if closes_us < present_us:
            message = (
                f"{format_time(closes_us)} is before the present closing time "
                f"{format_time(present_us)}; `ballot close` closes early"
            )
            raise click.ClickException(message)
        if min(state.closes_us for state in states) - now_us < EXTEND_MARGIN_US:
            raise click.ClickException(
                f"ballot {ballot!r} closes within a second; it is too late to extend it"
            )
        await _set_everywhere(stored.gate(desk), states, closes_us)
        await _record(desk, ballot, "extended", opens_us=states[0].opens_us, closes_us=closes_us)


async def _armed_states(desk: Desk, stored: StoredBallot) -> list[ShardState]:
    if await ballots.armed(desk, stored.id) is None:
        raise click.ClickException(f"ballot {stored.id!r} was never opened")
    states = await stored.gate(desk).states()
    if not states:
        raise click.ClickException(
            f"the opening of {stored.id!r} did not finish; run `ballot open {stored.id}` again"
        )
    return states


async def _set_everywhere(gate: Gate, states: list[ShardState], closes_us: int) -> None:
    """Write one closing time to all shards; unless all confirm well before it comes, put theirs back.

    Each primary goes by its own clock. Read within one moment, the clocks must agree: nobody could say which
    of two that differ is right.
    """
    began_s = time.monotonic()
    replies = await _answers([gate.set_closes(state.shard, closes_us) for state in states], CONFIRM_S)
    moment_us = round((time.monotonic() - began_s) * 1_000_000)
    good = [reply for reply in replies if not isinstance(reply, BaseException) and reply[0]]
    in_time = all(now_us < closes_us for _, now_us, _, _ in good)
    clocks = [reply[1] for reply in replies if not isinstance(reply, BaseException)]
    apart_us = max(clocks, default=0) - min(clocks, default=0) - moment_us
    if len(good) == len(states) and in_time and apart_us <= CLOCKS_APART_US_MAX:
        return
    touched = [
        state
        for state, reply in zip(states, replies, strict=True)
        if isinstance(reply, BaseException) or reply[0]
    ]
    if told := await _put_back(gate, touched, closes_us, until_s=began_s + AHEAD_US / 1_000_000):
        raise click.ClickException(
            f"not every shard took the new closing time: {told}, all others have the old one; see that every "
            "server of the queue answers, then run this again at once"
        )
    if apart_us > CLOCKS_APART_US_MAX:
        raise click.ClickException(
            f"the clocks of the queue's primaries differ by {apart_us // 1_000} ms or more, so all shards "
            "keep the old closing time; set the clocks right, then run this again"
        )
    raise click.ClickException(
        "not every shard took the new closing time, so all keep the old one; see that every server of the "
        "queue answers, then run this again"
    )


async def _answers(calls: Sequence[Coroutine[Any, Any, Any]], within_s: float) -> list[Any]:
    """Give what each call gives, or its failure; one that is silent for so long is cut off."""
    return await asyncio.gather(*(asyncio.wait_for(call, within_s) for call in calls), return_exceptions=True)


async def _put_back(gate: Gate, states: list[ShardState], closes_us: int, *, until_s: float) -> str:
    """Give shards their closing times again; says which kept, or may come to have, the new one.

    No shard waits for another: a silent one is tried until the new time has come, and no longer.
    """
    found = await asyncio.gather(*(_put_one_back(gate, state, closes_us, until_s) for state in states))
    shards: dict[str, list[str]] = {}
    for state, outcome in zip(states, found, strict=True):
        if outcome:
            shards.setdefault(outcome, []).append(str(state.shard))
    return " and ".join(f"shards {', '.join(shards[outcome])} {outcome}" for outcome in sorted(shards))


async def _put_one_back(gate: Gate, state: ShardState, closes_us: int, until_s: float) -> str:
    while True:
        (reply,) = await _answers([gate.set_closes(state.shard, state.closes_us)], PUT_BACK_S)
        if not isinstance(reply, BaseException) and reply[0]:
            return ""
        if not isinstance(reply, BaseException) or time.monotonic() >= until_s:
            break
        await asyncio.sleep(PUT_BACK_EVERY_S)
    (now,) = await _answers([gate.state(state.shard)], PUT_BACK_S)
    if not isinstance(now, ShardState):
        return "do not answer and may still take it"
    return "kept it" if now.closes_us == closes_us else ""


async def _record(
    desk: Desk,
    ballot: str,
    kind: str,
    *,
    opens_us: int,
    closes_us: int,
    earlier: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Write the life-cycle row and its event, once for one closing time; `earlier`: who closed before it."""
    async with desk.votes.transaction():
        newest = await desk.votes.fetchrow(
            "SELECT kind, closes_us FROM ballot.lifecycle WHERE ballot = $1 ORDER BY seq DESC LIMIT 1", ballot
        )
        if (newest["kind"], newest["closes_us"]) == (kind, closes_us):
            return
        await desk.votes.execute(
            "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us) VALUES ($1, $2, $3, $4)",
            ballot,
            kind,
            opens_us,
            closes_us,
        )
        before = format_time(newest["closes_us"], decimals=6)
        await desk.event(
            ballot,
            "ballot.duration_changed",
            act=kind,
            closes_before=before,
            closes=format_time(closes_us, decimals=6),
            **(
                {"closed_earlier": {str(k): format_time(at, decimals=6) for k, at in earlier.items()}}
                if earlier
                else {}
            ),
        )
