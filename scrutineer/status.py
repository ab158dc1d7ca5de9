"""`ballot status`: how a ballot stands; turnout and books, never a choice."""

import json
from typing import Any

import click

from ballot.encoding import format_time
from scrutineer import ballots, bookkeeping
from scrutineer.ballots import StoredBallot
from scrutineer.closing import backlog
from scrutineer.session import Desk, run_desk

WATCH_S = 2.0
WATCH_S_MIN, WATCH_S_MAX = 0.1, 3600.0


@click.command()
@click.argument("ballot")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--watch", is_flag=True, help="Show it as it goes, until Ctrl-C; with --json a line a time.")
@click.option(
    "--every",
    type=click.FloatRange(WATCH_S_MIN, WATCH_S_MAX),
    default=WATCH_S,
    show_default=True,
    help="With --watch: seconds between.",
)
def status(ballot: str, every: float, *, as_json: bool, watch: bool) -> None:
    """Show state, turnout by method, queue depth and books of BALLOT."""
    from scrutineer import live  # noqa: PLC0415  # it shows what is read here

    async def body(desk: Desk) -> None:
        told = await read(desk, ballot)
        click.echo(json.dumps(told) if as_json else render(told))

    if watch:
        live.watch(ballot, every_s=every, as_json=as_json)
    else:
        run_desk(body)


async def read(desk: Desk, ballot: str) -> dict[str, Any]:
    """Give everything `status` shows."""
    stored = await ballots.load(desk, ballot)
    held = await ballots.keys(desk, ballot)
    going = await on_its_way(desk, stored)
    found = await bookkeeping.account(desk, stored)
    differences = found.differences()
    return {
        "ballot": ballot,
        "kind": stored.definition.kind,
        **{name: going.pop(name) for name in ("state", "opens", "closes")},
        "definition_sha256": stored.definition.sha256.hex(),
        "shards": stored.shards,
        "keys": {"threshold": held.threshold, "shares": held.shares, "rehearsals": held.rehearsals}
        if held
        else None,
        "entitled": found.books.entitled,
        "voters_without_code": await _without_current_code(desk, ballot),
        **going,
        "books": found.books.to_dict(),
        "quarantined": found.quarantined,
        "differences": differences,
        "balanced": not any(differences.values()),
    }


async def on_its_way(desk: Desk, stored: StoredBallot) -> dict[str, Any]:
    """Give what is quick to tell of a ballot of any size: its state, the turnout, and what waits."""
    armed = await ballots.armed(desk, stored.id)
    states = await stored.gate(desk).states()
    if not states:
        state = "arming" if armed else "created"
    elif all(one.closed for one in states):
        state = "closed"
    else:
        state = "open" if any(one.state == "open" for one in states) else "scheduled"
    opens_us = states[0].opens_us if states else stored.definition.opens_us
    closes_us = max((one.closes_us for one in states), default=stored.definition.closes_us)
    behind = [await backlog(desk, stored, shard) for shard in range(stored.shards)]
    return {
        "state": state,
        "opens": format_time(opens_us),
        "closes": format_time(closes_us),
        "turnout": await _turnout(desk, stored.id),
        "queue_depth": sum(one.entries for one in behind),
        "queue_depth_by_shard": [one.entries for one in behind],
    }


async def _turnout(desk: Desk, ballot: str) -> dict[str, dict[str, int]]:
    rows = await desk.votes.fetch(
        """SELECT side, method, sum(votes)::bigint AS votes FROM ballot.turnout
            WHERE ballot = $1 GROUP BY 1, 2""",
        ballot,
    )
    turnout: dict[str, dict[str, int]] = {"accepted": {}, "stored": {}}
    for row in rows:
        turnout[row["side"]][row["method"]] = row["votes"]
    return turnout


async def _without_current_code(desk: Desk, ballot: str) -> int:
    """Count voters who hold no code that was not revoked: an issue or reissue has to be finished for them."""
    return int(
        await desk.votes.fetchval(
            # Two counts, no join: of a new ballot beside a large one the planner knows too little for it.
            """SELECT (SELECT count(*) FROM ballot.electorate WHERE ballot = $1)
                    - (SELECT count(DISTINCT uin) FROM ballot.register r WHERE ballot = $1 AND NOT EXISTS (
                          SELECT FROM ballot.revocations v
                           WHERE v.ballot = r.ballot AND v.credential_digest = r.credential_digest))""",
            ballot,
        )
    )


def render(told: dict[str, Any]) -> str:
    """Lay it out for a person."""
    keys = told["keys"]
    lines = [
        f"{told['ballot']} ({told['kind']}): {told['state']}",
        f"  opens {told['opens']}, closes {told['closes']}",
        f"  keys: any {keys['threshold']} of {keys['shares']}, {keys['rehearsals']} rehearsals"
        if keys
        else "  keys: none",
        f"  entitled {told['entitled']:,}, without a working code {told['voters_without_code']:,}",
        f"  queue depth {told['queue_depth']:,}",
    ]
    for side in ("accepted", "stored"):
        counts = told["turnout"][side]
        methods = ", ".join(f"{method} {votes:,}" for method, votes in sorted(counts.items())) or "none"
        lines.append(f"  turnout {side}: {methods}")
    lines.append("  books: " + ", ".join(f"{name} {value:,}" for name, value in told["books"].items()))
    wrong = {name: value for name, value in told["differences"].items() if value}
    lines.append("  the books balance" if not wrong else f"  THE BOOKS DO NOT BALANCE: {wrong}")
    return "\n".join(lines)
