"""Codes issued a second, from the roll in the user database to the gate, beside the raw key derivation.

BENCH_CODES sets how many codes a round has; a million takes a minute and more.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from statistics import median
from typing import Any

from scrutineer.session import Desk
from scrutineer.voters import PeopleKeys
from tests.benchmarks.driver import ROOT, Stage
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import cpu_seconds
from tests.conftest import Stack, ballot_command
from tests.integration import deskwork

ROUNDS = 2
SHARDS = 8
CODES = int(os.environ.get("BENCH_CODES", "60000"))
GOAL, AIM = 15_000, 25_000
FILL_ROWS = 20_000
WAIT_S = 900
SERVERS = {"voterdb": "voterdb", "userdb": "userdb", "valkey": "gate"}


async def issued(stage: Stage) -> list[Figure]:
    """Ours and the raw derivation in turn, a new ballot each round; also the CPU a code, by part."""
    ours: list[dict[str, Any]] = []
    raw: list[dict[str, Any]] = []
    for _ in range(min(stage.rounds, ROUNDS)):
        ballot = await _roll(stage)
        raw.append(await asyncio.to_thread(_run, stage, "raw", str(CODES)))
        ours.append(await asyncio.to_thread(_issue, stage, ballot))
    parts = {name: median(run["cpu_us"][name] for run in ours) for name in ours[0]["cpu_us"]}
    by_part = ", ".join(f"{name} {used:.1f}" for name, used in parts.items())
    memory = f"peak memory: desk {ours[0]['desk_kb'] // 1024} MiB, a maker {ours[0]['maker_kb'] // 1024} MiB"
    note = f"{CODES:,} codes a round in {SHARDS} shards, file, register and gate; {memory}"
    beside = "key derivation alone"
    return [
        Figure(
            "codes issued a second",
            "codes/s",
            [CODES / run["seconds"] for run in ours],
            [CODES / run["seconds"] for run in raw],
            beside,
            GOAL,
            note,
            {"runs": ours},
            goal_is_for_ours=True,
            aim=AIM,
        ),
        Figure(
            "CPU a code issued",
            "microseconds",
            [sum(run["cpu_us"].values()) for run in ours],
            [1e6 * run["cpu_s"] / CODES for run in raw],
            beside,
            note=f"{by_part}; makers' start included",
        ),
    ]


def _issue(stage: Stage, ballot: str) -> dict[str, Any]:
    """Issue once; the servers' CPU is theirs altogether, background work included."""
    pids = {name: stage.found.processes[server] for server, name in SERVERS.items()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    out = stage.directory / f"{ballot}.csv"
    run = _run(stage, "ours", ballot, str(out))
    if run["count"] != CODES or out.read_bytes().count(b"\r\n") != CODES + 1:
        raise RuntimeError("not every voter was issued a code")
    out.unlink()
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    used |= {"makers": run["makers_s"], "desk": run["desk_s"]}
    return run | {"cpu_us": {name: 1e6 * seconds / CODES for name, seconds in used.items()}}


def _run(stage: Stage, half: str, *arguments: str) -> dict[str, Any]:
    line = f"from tests.benchmarks import issuing; issuing.{half}()"
    command = [sys.executable, "-c", line, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=stage.env, capture_output=True, check=False, timeout=WAIT_S)
    if done.returncode != 0:
        raise RuntimeError(f"issuing.{half} failed: {done.stderr.decode()[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _roll(stage: Stage) -> str:
    """Make a ballot with a roll; written straight into both databases, because importing is not measured."""
    ballot = f"bench-codes-{secrets.token_hex(4)}"
    definition = stage.directory / f"{ballot}.toml"
    definition.write_text(deskwork.definition(ballot))
    command = [ballot_command(), "create", str(definition), "--shards", str(SHARDS)]
    await asyncio.to_thread(
        subprocess.run, command, env=stage.env, check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S
    )
    stack = Stack(stage.found.home, stage.found, stage.env)
    await deskwork.with_desk(stack, lambda desk: _fill(desk, ballot))
    return ballot


async def _fill(desk: Desk, ballot: str) -> None:
    keys = PeopleKeys.from_home(desk.home)
    for start in range(0, CODES, FILL_ROWS):
        rows = list(_people(keys, ballot, range(start, min(CODES, start + FILL_ROWS))))
        columns = ["ballot", "uin", "member", "sealed", "roll_sha256"]
        await desk.people.copy_records_to_table("voters", schema_name="people", columns=columns, records=rows)
        await desk.votes.copy_records_to_table(
            "electorate", schema_name="ballot", columns=["ballot", "uin"], records=[row[:2] for row in rows]
        )


def _people(
    keys: PeopleKeys, ballot: str, numbers: range
) -> Iterator[tuple[str, bytes, bytes, bytes, bytes]]:
    for member, name, email, mobile, address in deskwork.members(len(numbers), start=numbers.start):
        uin = os.urandom(16)
        details = {"member_id": member, "name": name, "email": email, "mobile": mobile, "address": address}
        sealed = keys.seal(ballot, uin, details, nonce=os.urandom(12))
        yield ballot, uin, keys.member_digest(ballot, member), sealed, b""
