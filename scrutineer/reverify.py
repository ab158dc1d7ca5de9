"""Checks every stored vote once more before it leaves for the count, in processes of their own.

Trusts no earlier check.
"""

import asyncio
import hashlib
import multiprocessing
import os
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from ballot import sealing, vote
from ballot.export_file import vote_line
from ballot.rejection import Rejected
from ballot.suite import keyed_digest

#: About 50 ms of work and 600 kB of votes handed to a process at a time.
CHUNK_VOTES = 250
#: Chunks on their way for each process: enough to keep it busy, few enough to keep memory flat.
CHUNKS_A_PROCESS = 2
#: So many chunks are examined in this process, before any other is started, which takes as long.
CHUNKS_HERE = 8


@dataclass(frozen=True, slots=True)
class StoredVote:
    """A vote's row beside what the register says of its credential."""

    reference: str
    uin: bytes = field(repr=False)
    accepted_us: int
    credential_digest: bytes = field(repr=False)
    credential: bytes = field(repr=False)
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    sealed_sha256: bytes = field(repr=False)
    registered_uin: bytes | None = field(repr=False)
    revoked_us: int | None


@dataclass(frozen=True, slots=True)
class Examiner:
    """What a process needs to judge a vote."""

    ballot: str
    definition_sha256: bytes
    digest_key: bytes = field(repr=False)

    def fault(self, stored: StoredVote) -> str | None:
        """Say why a stored vote must not be counted, or None.

        (1) its bytes are those that were digested when it was stored; (2) the register has its credential;
        (3) for this voter; (4) not revoked before it was accepted; (5) the credential's key signed exactly
        this sealed vote for this ballot.
        """
        # Step 1.
        if hashlib.sha256(stored.sealed).digest() != stored.sealed_sha256:
            return "its sealed bytes are not those that were stored"
        # Step 2.
        digest = keyed_digest(self.digest_key, hashlib.sha256(stored.credential).digest())
        if digest != stored.credential_digest or stored.registered_uin is None:
            return "its credential is not in the issue register"
        # Step 3.
        if stored.registered_uin != stored.uin:
            return "its credential was issued to another voter"
        # Step 4.
        if stored.revoked_us is not None and stored.revoked_us <= stored.accepted_us:
            return "its credential was revoked before it was accepted"
        # Step 5.
        try:
            vote.verify(
                ballot_id=self.ballot,
                definition_sha256=self.definition_sha256,
                credential=stored.credential,
                nonce=stored.nonce,
                sealed=stored.sealed,
                signature=stored.signature,
            )
        except Rejected:
            return "its signature is not its credential's"
        return None


def examine(examiner: Examiner, chunk: Sequence[StoredVote]) -> tuple[list[bytes], list[str]]:
    """Give the export lines of a chunk and what is wrong with it; runs in a child process."""
    lines: list[bytes] = []
    faults: list[str] = []
    for stored in chunk:
        fault = examiner.fault(stored)
        if fault is None:
            lines.append(vote_line(sealing.bind(stored.nonce, stored.credential), stored.sealed))
        else:
            faults.append(f"vote {stored.reference}: {fault}")
    return lines, faults


async def examine_all(
    examiner: Examiner, votes: AsyncIterator[StoredVote], *, processes: int | None = None
) -> AsyncIterator[tuple[list[bytes], list[str]]]:
    """Give the lines and faults of all votes, chunk by chunk in order, with a bounded number under way."""
    chunks = _chunks(votes)
    here = 0
    async for chunk in chunks:
        yield examine(examiner, chunk)
        here += 1
        if here == CHUNKS_HERE:
            break
    if here < CHUNKS_HERE:
        return
    count = processes or os.cpu_count() or 1
    loop = asyncio.get_running_loop()
    # spawn: a forked child would hold our connections open and share their bytes.
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        under_way: list[asyncio.Future[tuple[list[bytes], list[str]]]] = []
        async for chunk in chunks:
            if len(under_way) >= count * CHUNKS_A_PROCESS:
                yield await under_way.pop(0)
            under_way.append(loop.run_in_executor(pool, examine, examiner, chunk))
        for future in under_way:
            yield await future


async def _chunks(votes: AsyncIterator[StoredVote]) -> AsyncIterator[list[StoredVote]]:
    chunk: list[StoredVote] = []
    async for stored in votes:
        chunk.append(stored)
        if len(chunk) == CHUNK_VOTES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
