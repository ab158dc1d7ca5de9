"""Checks signatures: here, a few at a time, or in processes of their own where there are cores for them.

On one core the worker's own process is the cheaper place: handing a vote over costs a fifth of checking it.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Final

from ballot import vote
from ballot.rejection import Rejected
from runtime import children
from runtime.lifecycle import Retry

CHUNK_VOTES: Final = 128
"""About 7 ms of work: long against the cost of handing it over, short against a batch."""

SLICE_VOTES: Final = 16
"""About a millisecond: so long whatever else the worker does may have to wait."""


@dataclass(slots=True)
class Claim:
    """A sealed vote and what is claimed: that this credential signed it for this ballot's definition."""

    ballot: str
    definition_sha256: bytes
    credential: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def signed(claims: Sequence[Claim]) -> list[bool]:
    """Whether each claim holds; runs here or in a child process."""
    return [_signed(claim) for claim in claims]


def _signed(claim: Claim) -> bool:
    try:
        vote.verify(
            ballot_id=claim.ballot,
            definition_sha256=claim.definition_sha256,
            credential=claim.credential,
            nonce=claim.nonce,
            sealed=claim.sealed,
            signature=claim.signature,
        )
    except Rejected:
        return False
    return True


class Verifier:
    """A pool of `processes` children, which end with us however we end; without any (0) it checks here."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._pool = self._new_pool() if processes else None

    async def signed(self, claims: Sequence[Claim]) -> list[bool]:
        """Whether each claim holds, in the order given; Retry if a child died, with its replacement ready."""
        if self._pool is None:
            return [holds for part in _parts(claims, SLICE_VOTES) for holds in await _yielding(part)]
        loop = asyncio.get_running_loop()
        parts = _parts(claims, CHUNK_VOTES)
        try:
            answers = await asyncio.gather(
                *(loop.run_in_executor(self._pool, signed, part) for part in parts)
            )
        except BrokenProcessPool as error:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = self._new_pool()
            raise Retry("a process that checks signatures died") from error
        return [holds for answer in answers for holds in answer]

    def close(self) -> None:
        """Let the children end."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _new_pool(self) -> ProcessPoolExecutor:
        return children.pool(self._processes)


async def _yielding(claims: Sequence[Claim]) -> list[bool]:
    """Check a few, then let others have their turn."""
    answers = signed(claims)
    await asyncio.sleep(0)
    return answers


def _parts(claims: Sequence[Claim], size: int) -> list[Sequence[Claim]]:
    return [claims[start : start + size] for start in range(0, len(claims), size)]
