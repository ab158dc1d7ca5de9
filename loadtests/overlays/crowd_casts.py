"""A share of the crowd's own votes, sent again bit for bit by strangers as soon as their receipts are there.

The bodies are read from where they were sealed ahead, the receipts from where the generators keep them as
they come; a vote sent again must be told the reference that its voter was told.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from loadtests.crowds import ahead, ledger
from loadtests.crowds.timetable import Kind
from loadtests.overlays.wire import Reply, Target
from loadtests.overlays.work import Work
from loadtests.voting.desk import DeskFileFault
from loadtests.voting.voter import CREATED, OK

LOOK_SECONDS: Final = 0.5
READ_BYTES_MAX: Final = 4 << 20
GENERATORS_MAX: Final = 64
BODIES_MAX: Final = 50_000
AT_ONCE_MAX: Final = 50
CROWD: Final = "voter's vote again"
Settled = Callable[[bytes, str], Awaitable[Reply]]


class SealedShare:
    """Where the bodies of a share of the votes are, by the digest of the sealed vote."""

    def __init__(self, folder: Path, share: float, rng: random.Random) -> None:
        self._folder = folder
        self._places: dict[bytes, tuple[int, int, int]] = {}
        for generator in generators(folder):
            rows = ahead.rows_of(folder, generator)
            casts = rows[rows["kind"] == Kind.CAST]
            sure = rng.randrange(len(casts)) if len(casts) and not self._places else -1  # one at least
            for number, row in enumerate(casts):
                if (rng.random() < share or number == sure) and len(self._places) < BODIES_MAX:
                    place = (generator, int(row["offset"]), int(row["length"]))
                    self._places[row["digest"].tobytes()] = place

    def __len__(self) -> int:
        return len(self._places)

    def take(self, digest: bytes) -> bytes | None:
        """The body of that vote, once; None if it is not of the share."""
        place = self._places.pop(digest, None)
        if place is None:
            return None
        generator, offset, length = place
        with ahead.bodies_file(self._folder, generator).open("rb") as bodies:
            bodies.seek(offset)
            return bodies.read(length)


def generators(folder: Path) -> list[int]:
    """The generators that there are rows for; none where nothing was sealed ahead."""
    return [number for number in range(GENERATORS_MAX) if ahead.rows_file(folder, number).exists()]


class Coming:
    """The receipts of the crowd, as they come into the generators' files."""

    def __init__(self, voters: Path, numbers: Sequence[int]) -> None:
        self._read_to = {ledger.receipts_file(voters, number): 0 for number in numbers}

    def new(self) -> list[dict[str, Any]]:
        """The whole lines that have been written since the last look, a bounded number of them."""
        found: list[dict[str, Any]] = []
        for path, read_to in self._read_to.items():
            if not path.exists():
                continue
            with path.open("rb") as lines:
                lines.seek(read_to)
                whole, ended, _ = lines.read(READ_BYTES_MAX).rpartition(b"\n")
            self._read_to[path] = read_to + len(whole) + len(ended)
            found += [told for told in map(_object, whole.splitlines()) if "reference" in told]
        return found


def _object(line: bytes) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


class CrowdReplayer:
    """Sends the share again, and keeps what its voters' references became."""

    def __init__(self, work: Work, target: Target, sources: Sequence[str], settled: Settled) -> None:
        self._work, self._target, self._sources, self._settled = work, target, sources, settled
        self._going: set[asyncio.Task[None]] = set()
        self.again = self.other = self.unsettled = 0
        self.there = False

    async def follow(self, voters: Path, share: float) -> None:
        """As long as the overlay lasts."""
        self.there, folder = True, voters / ahead.FOLDER
        try:
            sealed = await asyncio.to_thread(SealedShare, folder, share, self._work.rng)
        except (DeskFileFault, OSError, ValueError):
            return  # not a crowd whose votes were sealed ahead
        coming = Coming(voters, generators(folder))
        while len(sealed) and not self._work.over.is_set():
            for receipt in coming.new():
                body = sealed.take(bytes.fromhex(str(receipt.get("sealed_sha256", ""))))
                if body is not None and len(self._going) < AT_ONCE_MAX:
                    self._begin(receipt, body)
            await self._work.rest(LOOK_SECONDS)
        if self._going:
            await asyncio.wait(self._going)

    def _begin(self, receipt: dict[str, Any], body: bytes) -> None:
        task = asyncio.ensure_future(self._again(receipt, body))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def _again(self, receipt: dict[str, Any], body: bytes) -> None:
        """One vote, again, from somebody else's address."""
        path = f"/api/v1/ballots/{receipt['ballot']}/votes"
        source = self._sources[self.again % len(self._sources)]
        self.again += 1
        reply = await self._settled(self._target.request("POST", path, body), source)
        self._work.note(CROWD, f"{CROWD} {reply.came}", reply.ms)
        self.unsettled += not reply.settles
        told = _object(reply.body)
        self.other += reply.status == CREATED or (
            reply.status == OK and told.get("reference") != receipt["reference"]
        )

    def told(self) -> dict[str, Any]:
        """What became of them."""
        return {
            "crowd_there": self.there,
            "crowd_again": self.again,
            "crowd_other_references": self.other,
            "crowd_unsettled": self.unsettled,
        }
