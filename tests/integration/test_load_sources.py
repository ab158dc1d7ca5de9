"""The crowd of a load run at a real edge: a whole electorate's wrong codes, and nobody is slowed down."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
from collections import Counter
from typing import TYPE_CHECKING

import aiohttp
import gevent
import numpy as np

from intake.settings import Settings
from loadtests.crowds import ahead, sources
from loadtests.crowds.ledger import ANSWER, answers_file
from loadtests.crowds.openloop import START_FILE, OpenLoop
from loadtests.crowds.timetable import ROW, Kind
from tests.integration.intake_rig import edge, served_booth

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Stack

REFUSALS = 1_100
OVER_S = 1.5
DEVICES = 40


def sealed(folder: Path, ballot: str, body: bytes) -> None:
    """A run whose every request is one wrong code's vote."""
    folder.mkdir()
    rows = np.zeros(REFUSALS, ROW)
    rows["at_s"] = np.linspace(0.0, OVER_S, REFUSALS)
    rows["kind"], rows["length"], rows["of"] = Kind.FOREIGN, len(body), np.arange(REFUSALS)
    np.save(ahead.rows_file(folder, 0), rows)
    ahead.bodies_file(folder, 0).write_bytes(body)
    path = {"id": ballot, "path": f"/api/v1/ballots/{ballot}", "vote_bytes": len(body), "access_bytes": 0}
    told = {"ballots": [path], "people": 1, "seed": 1, "generators": 1, "worst_second": 1}
    ahead.write_description(folder, {**told, "retries_max": 0, "give_up": 1.0})


def played(folder: Path, out: Path, url: str) -> Counter[int]:
    """How often each status came."""
    start_us = round((time.time() + 0.5) * 1e6)
    (out / START_FILE).write_text(json.dumps({"start_us": start_us}))
    tls = ssl.create_default_context()
    loop = OpenLoop(folder, out, 0, url=url, tls=tls, reported=lambda *_: None)
    users = [gevent.spawn(loop.serve) for _ in range(DEVICES)]
    gevent.sleep(0)
    deadline_s = time.monotonic() + 60
    assert loop.wait_for_start(users=DEVICES, seconds=10, goes_on=lambda: True)
    loop.run(goes_on=lambda: time.monotonic() < deadline_s)
    gevent.joinall(users, timeout=10)
    loop.close()
    return Counter(np.fromfile(answers_file(out, 0), ANSWER)["status"].tolist())


async def test_wrong_codes_of_a_whole_electorate_slow_nobody_down(
    stack: Stack, ballot_id: str, tmp_path: Path
) -> None:
    """More in a minute than an edge takes from one address, each refused as any other: none must wait."""
    assert Settings().failures_per_minute < REFUSALS
    with edge(stack.env) as running:
        async with (
            aiohttp.ClientSession(running.url) as web,
            served_booth(stack.servers, ballot_id, web) as poll,
        ):
            stranger = poll.draw(os.urandom(16)).vote(poll.document)
            sealed(tmp_path / ahead.FOLDER, ballot_id, stranger.to_json())
            told = await asyncio.to_thread(played, tmp_path / ahead.FOLDER, tmp_path, running.url)

    assert told == {403: REFUSALS}


def test_devices_come_from_addresses_of_their_own() -> None:
    """Each from another, none of them an overlay's or a monitor's, and to this machine only."""
    found = [sources.of_device(number) for number in range(sources.ADDRESSES)]
    assert len(set(found)) == len(found)
    assert (found[0], found[-1]) == ("127.0.1.0", "127.0.255.255")
    assert sources.of_device(len(found)) == found[0]
    assert [sources.are_possible(host) for host in ("127.0.0.1", "10.0.0.1", "vote.example")] == [
        True,
        False,
        False,
    ]
