"""The edge's complaints, without a queue: its published key, and what a link says that has no queue."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from ballot.complaint import SEALED_BYTES, Lodged
from intake.complaint_link import WAITING_MAX, ComplaintLink, NotRecorded
from intake.complaints import Complaints
from intake.durability import Durability
from intake.failures import Failures
from intake.settings import Settings
from runtime.clock import SystemClock
from tests.vectors import make

if TYPE_CHECKING:
    from pathlib import Path

VECTOR = json.loads((make.HERE / "complaint.json").read_text())
LODGED = Lodged(None, bytes(SEALED_BYTES))


class NoQueue:
    """Nodes of a queue that never answer."""

    def __init__(self) -> None:
        self.asked = 0

    async def primaries(self) -> Any:
        """Wait for ever."""
        self.asked += 1
        await asyncio.Event().wait()

    def forget(self) -> None:
        """Nothing is known."""

    async def aclose(self) -> None:
        """Nothing is open."""


def link(nodes: Any, *, timeout_s: float = 0.05) -> ComplaintLink:
    """A link to nowhere."""
    connect: Any = None
    return ComplaintLink(nodes, connect, durability=Durability(), clock=SystemClock(), timeout_s=timeout_s)


async def test_a_queue_that_hangs_is_not_waited_for_longer_than_a_vote_would() -> None:
    """NotRecorded in time; who comes later is told so as well."""
    nodes = NoQueue()
    made = link(nodes)
    for _ in range(2):
        async with asyncio.timeout(5):
            with pytest.raises(NotRecorded):
                await made.record(LODGED)
    assert nodes.asked
    await made.close()


async def test_only_so_many_wait() -> None:
    """One more than the bound is refused at once, without a wait."""
    made = link(NoQueue(), timeout_s=60)
    waiting = [asyncio.create_task(made.record(LODGED)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(NotRecorded):
        await made.record(LODGED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await made.close()


def test_the_key_is_shown_once_the_desk_vouches_for_it(tmp_path: Path) -> None:
    """The file may come later; junk, another desk's and none give nothing."""
    file = tmp_path / "complaints.json"
    complaints = Complaints(
        link(NoQueue()),
        budget=Failures(per_minute=1, clock=SystemClock()),
        settings=Settings(),
        key_file=file,
    )
    assert complaints.key(make.DESK.public) is None
    file.write_text("{")
    assert complaints.key(make.DESK.public) is None
    file.write_text(json.dumps(VECTOR["key"]))
    assert complaints.key(None) is None
    assert complaints.key(make.RECEIPTS.public) is None
    assert complaints.key(make.DESK.public) == VECTOR["key"]
