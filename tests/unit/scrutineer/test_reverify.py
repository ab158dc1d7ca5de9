"""Stored votes are examined here while they are few, then in other processes, and none is left out."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from scrutineer import reverify
from scrutineer.reverify import CHUNK_VOTES, CHUNKS_HERE, Examiner, StoredVote


def spoilt(number: int) -> StoredVote:
    """A vote whose bytes are not those that were stored."""
    other = hashlib.sha256(b"other").digest()
    return StoredVote(f"{number}", b"", 0, b"", b"", b"", b"sealed", b"", other, None, None)


async def found(votes: int) -> list[str]:
    """What is wrong with so many votes."""

    async def stored() -> AsyncIterator[StoredVote]:
        for number in range(votes):
            yield spoilt(number)

    examiner = Examiner("ballot", bytes(32), bytes(32))
    return [
        fault async for _, faults in reverify.examine_all(examiner, stored(), processes=1) for fault in faults
    ]


@pytest.mark.parametrize("votes", [0, 1, CHUNK_VOTES * CHUNKS_HERE, CHUNK_VOTES * CHUNKS_HERE + 1, 3_100])
def test_every_vote_is_examined_once_and_in_order(votes: int) -> None:
    """On both sides of the border between this process and others."""
    faults = asyncio.run(found(votes))

    assert faults == [
        f"vote {number}: its sealed bytes are not those that were stored" for number in range(votes)
    ]


def test_few_votes_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process takes longer to start than a small ballot to examine, and there may be hundreds of those."""
    monkeypatch.setattr(reverify, "ProcessPoolExecutor", None)

    few = CHUNK_VOTES * (CHUNKS_HERE - 1)
    assert len(asyncio.run(found(few))) == few
