"""`ballot availability` over a real voterdb: only what is on record, with the rights of a reader."""

import json
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from ballot import signed
from ballot.suite import SigningKey
from ops.availability import forms, page
from ops.availability.command import Wanted, availability, examine
from ops.availability.service_record import UNCONFIRMED, ServiceRecord
from ops.monitor.gauges import Gauges
from ops.monitor.intervals import Interval, State
from ops.monitor.journal import Journal
from ops.monitor.writer import Writer
from runtime import logs, postgres
from tests.conftest import RunBallot, Stack

S = 1_000_000
HOUR = 3_600 * S


@asynccontextmanager
async def owner(stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """The voter database as its owner."""
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_owner")
    try:
        yield connection
    finally:
        await connection.close()


@dataclass
class Ground:
    """A ballot that exists in voterdb alone, open for ten hours of some year long ago, its own."""

    id: str
    stack: Stack
    opens_us: int
    result_key: SigningKey
    definition_sha256: bytes
    entries: int = 0

    @property
    def closes_us(self) -> int:
        """Ten hours later."""
        return self.opens_us + 10 * HOUR

    async def make(self) -> None:
        """Register and open it."""
        async with owner(self.stack) as voterdb:
            await voterdb.execute(
                "INSERT INTO ballot.ballots (ballot, kind, definition, definition_sha256, shards)"
                " VALUES ($1, 'election', 'x', $2, 1)",
                self.id,
                self.definition_sha256,
            )
            await voterdb.execute(
                "INSERT INTO ballot.ballot_keys (ballot, public_key, result_key, threshold, shares)"
                " VALUES ($1, 'x', $2, 1, 1)",
                self.id,
                self.result_key.public,
            )
            await voterdb.execute(
                "INSERT INTO ballot.lifecycle (ballot, kind, opens_us, closes_us)"
                " VALUES ($1, 'armed', $2, $3)",
                self.id,
                self.opens_us,
                self.closes_us,
            )

    async def voter(self, *tries: tuple[str, str, int], codes: int = 1, voted: bool = False) -> None:
        """A voter who made these tries (kind, outcome, when), each with the next of so many codes."""
        uin = secrets.token_bytes(16)
        digests = [secrets.token_bytes(32) for _ in range(codes)]
        async with owner(self.stack) as voterdb:
            await voterdb.execute("INSERT INTO ballot.electorate (ballot, uin) VALUES ($1, $2)", self.id, uin)
            for digest in digests:
                self.entries += 1
                await voterdb.execute(
                    "INSERT INTO ballot.register (ballot, credential_digest, uin, shard, channel, batch,"
                    " position, issued_us) VALUES ($1, $2, $3, 0, 'email', 1, $4, 1)",
                    *(self.id, digest, uin, self.entries),
                )
            for number, (kind, outcome, at_us) in enumerate(tries):
                self.entries += 1
                await voterdb.execute(
                    "INSERT INTO ballot.attempts (ballot, shard, entry, kind, outcome, credential_digest,"
                    " sealed_ip, at_us) VALUES ($1, 0, $2, $3, $4, $5, 'ip', $6)",
                    *(self.id, f"{self.entries}-0", kind, outcome, digests[number % codes], at_us),
                )
            if voted:
                await voterdb.execute(
                    "INSERT INTO ballot.votes (ballot, uin, reference, accepted_us, credential_digest,"
                    " channel, credential, nonce, sealed, signature, sealed_sha256, event, shard, entry)"
                    " VALUES ($1, $2, 'ABCD-EFGH-JKMN-PQRS', $3, $4, 'email', 'c', 'n', 's', 'g', 'd', $5, 0,"
                    " '1-1')",
                    *(self.id, uin, self.opens_us + 1, digests[-1], secrets.token_bytes(16)),
                )

    async def watched(self, monitor: str, *rows: tuple[float, float, str, str]) -> None:
        """What a monitor wrote, in hours after the opening."""
        async with owner(self.stack) as voterdb:
            await voterdb.executemany(
                "INSERT INTO ballot.availability (monitor, started_us, ended_us, state, reason)"
                " VALUES ($1, $2, $3, $4, $5)",
                [
                    (f"{self.id}-{monitor}", self.at(begin), self.at(end), state, reason)
                    for begin, end, state, reason in rows
                ],
            )

    def at(self, hours: float) -> int:
        """That many hours after the opening."""
        return self.opens_us + round(hours * HOUR)

    async def told(self, **wanted: Any) -> tuple[dict[str, Any], str]:
        """What the command tells a program, and a person."""
        asked: dict[str, Any] = {"from_us": None, "to_us": None, "attempts": False, "result": None}
        found, timeline, tried = await examine(
            self.stack.home, self.stack.servers, Wanted(self.id, **(asked | wanted))
        )
        return json.loads(forms.as_json(self.id, found, timeline, tried)), page.as_text(
            self.id, found, timeline, tried
        )


@pytest.fixture
async def ground(stack: Stack, ballot_id: str) -> Ground:
    """A ballot whose hours no other test has."""
    opens_us = (978_307_200 + secrets.randbelow(200_000) * 3_600) * S
    made = Ground(ballot_id, stack, opens_us, SigningKey.from_seed(os.urandom(32)), os.urandom(32))
    await made.make()
    return made


def states(told: dict[str, Any], ground: Ground) -> list[tuple[float, float, str]]:
    """The intervals in hours after the opening."""
    return [
        (
            (each["from_us"] - ground.opens_us) / HOUR,
            (each["to_us"] - ground.opens_us) / HOUR,
            each["state"],
        )
        for each in told["intervals"]
    ]


async def test_the_record_covers_the_window_and_nothing_else(ground: Ground) -> None:
    """From opening to close without a gap, the worst of two monitors, `unknown` where neither looked."""
    await ground.watched("a", (-5, 2, "up", ""), (2, 3, "down", "http 503"), (3, 8, "up", ""))
    await ground.watched("b", (1, 2.5, "up", ""), (4, 5, "slow", "not stored in time"), (9.5, 99, "up", ""))
    told, text = await ground.told()
    assert states(told, ground) == [
        (0, 2, "up"),
        (2, 3, "down"),
        (3, 4, "up"),
        (4, 5, "slow"),
        (5, 8, "up"),
        (8, 9.5, "unknown"),
        (9.5, 10, "up"),
    ]
    assert told["available"] == pytest.approx(7.5 / 8.5)
    assert [(each["seconds"], each["planned"], each["reason"]) for each in told["outages"]] == [
        (3600.0, False, "http 503")
    ]
    assert {each["name"] for each in told["monitors"]} == {f"{ground.id}-a", f"{ground.id}-b"}
    assert "1:00:00  not planned: http 503" in text
    part, _ = await ground.told(from_us=ground.at(2.5), to_us=ground.at(3.5))
    assert states(part, ground) == [(2.5, 3, "down"), (3, 3.5, "up")]


async def test_starts_and_stops_reach_the_record(ground: Ground, tmp_path: Path) -> None:
    """The monitor brings them over as events, once however often it is asked; a stop explains its outage."""
    home, service = ground.stack.home, ServiceRecord(tmp_path)
    lines = [("started", -1.0), ("stopped", 4.0), ("started", 5.0)]
    (tmp_path / "service.jsonl").write_text(
        "".join(
            json.dumps({"kind": f"service.{kind}", "at_us": ground.at(hours), "asked": True}) + "\n"
            for kind, hours in lines
        )
        + "".join(
            json.dumps({"kind": UNCONFIRMED, "at_us": ground.at(hours), "votes": 7, "access": 2}) + "\n"
            for hours in (5.2, 5.4, 6.5, 11)
        )
    )
    journal = Journal(tmp_path)
    journal.append(
        [Interval(ground.at(-1), ground.at(4), State.UP), Interval(ground.at(5), ground.at(10), State.UP)]
    )
    for _ in range(2):
        writer = Writer(
            home,
            name=ground.id,
            journal=journal,
            gauges=Gauges(CollectorRegistry()),
            log=logs.get("test"),
            service=service,
        )
        writer.use(ground.stack.servers)
        await writer.drain()
        await writer.finish()
    assert service.unwritten() == []
    try:
        told, text = await ground.told(attempts=True)
        assert states(told, ground) == [(0, 4, "up"), (4, 5, "down"), (5, 10, "up")]
        not_confirmed = told["attempts"]["not_confirmed"]
        assert [each["votes"] for each in not_confirmed["by_hour"]] == [14, 7]
        assert (not_confirmed["votes"], not_confirmed["access"]) == (21, 6)
        assert [each["planned"] for each in told["outages"]] == [True]
        assert len([turn for turn in told["service"] if turn["host"] == ground.id]) == 3
        assert "planned: the service was asked to stop" in text
    finally:
        async with owner(ground.stack) as voterdb:  # another host's stop is part of every timeline here
            await voterdb.execute("SET session_replication_role = replica")
            await voterdb.execute("DELETE FROM ballot.events WHERE detail ->> 'host' = $1", ground.id)


async def test_who_never_succeeded_is_counted(ground: Ground, tmp_path: Path) -> None:
    """By voter and not by code, with the last hour and the reason; who voted in the end is not among them."""
    await ground.watched("a", (0, 5, "up", ""), (5, 6, "down", "refused"), (6, 10, "up", ""))
    await ground.voter(("access", "ready", ground.at(1)), ("vote", "used", ground.at(2)), voted=True)
    await ground.voter(("access", "ready", ground.at(4.9)))
    await ground.voter(("access", "revoked", ground.at(7)), ("access", "ready", ground.at(7.2)), codes=2)
    await ground.voter(("vote", "not_open", ground.at(10.1)), ("vote", "not_open", ground.at(11)))
    await ground.voter(("access", "not_open", ground.at(-0.5)))
    await ground.voter(("access", "revoked", ground.at(8)))
    await ground.voter()
    told, text = await ground.told(attempts=True)
    attempts = told["attempts"]
    assert (attempts["attempts"], attempts["codes"]) == (9, 7)
    never = attempts["never_succeeded"]
    assert (never["voters"], never["while_open"], never["near_outage"]) == (5, 3, 1)
    assert {why: count for why, count in never["why"].items() if count} == {
        "ready": 2,
        "revoked": 1,
        "before": 1,
        "after": 1,
    }
    assert sum(each["voters"] for each in never["by_hour"]) == 5
    totals = [each for each in attempts["outcomes"] if each["hour"] is None]
    assert sum(each["attempts"] for each in totals) == 9
    assert "2 were told that their code is good, and no vote came" in text
    assert attempts["margins"] is None
    early, _ = await ground.told(attempts=True, to_us=ground.at(3))
    assert early["attempts"]["attempts"] == 3


@pytest.mark.parametrize("fault", ["", "another ballot", "another key", "no result"])
async def test_the_margin_is_that_of_the_signed_result(ground: Ground, tmp_path: Path, fault: str) -> None:
    """A result of another ballot, under another key, or none at all is refused in one sentence."""
    await ground.voter(("access", "ready", ground.at(1)))
    digest = os.urandom(32) if fault == "another ballot" else ground.definition_sha256
    key = SigningKey.from_seed(os.urandom(32)) if fault == "another key" else ground.result_key
    counted = {"id": "strike", "counts": {"yes": 5, "no": 4}, "form": "single"}
    result = {"ballot": ground.id, "definition_sha256": digest.hex(), "books": {}, "questions": [counted]}
    file = tmp_path / "result.json"
    file.write_text(json.dumps(signed.sign_object(result, label=signed.RESULT_LABEL, key=key)))
    if fault == "no result":
        file.write_text("[]")
    if fault:
        with pytest.raises(click.ClickException):
            await ground.told(attempts=True, result=file)
        return
    told, text = await ground.told(attempts=True, result=file)
    assert told["attempts"]["margins"] == [
        {"question": "strike", "leading": "yes", "next": "no", "votes": 1, "could_have_changed": True}
    ]
    assert "the 1 who tried while it was open could have changed which leads" in text


def test_an_unknown_ballot_is_one_plain_sentence(run_ballot: RunBallot) -> None:
    """No traceback, and not success."""
    done = run_ballot("availability", "no-such-ballot", check=False)
    assert done.returncode == 1
    assert "there is no ballot 'no-such-ballot'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("x", "--json", "--csv"), "choose one"),
        (("x", "--from", "yesterday"), "--from: This is not a time"),
        (("x", "--result", __file__), "--result says something only with --attempts"),
    ],
)
def test_a_mistake_is_said_before_anything_starts(arguments: Sequence[str], said: str) -> None:
    """The sentence, and neither home nor server."""
    done = CliRunner().invoke(availability, arguments, env={"BALLOT_HOME": "/dev/null/nowhere"})
    assert done.exit_code == 2
    assert said in done.output
