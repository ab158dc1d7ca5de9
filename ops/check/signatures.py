"""Every stored vote's signature once more, on all processors, a bounded number of pages ahead.

A vote passes when its signature is by the credential stored with it and that credential's keyed digest is
the one in the register; so whoever changes the database must also hold the voter's code.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING, Self, TypeAlias

from ballot import vote
from ballot.rejection import Rejected
from ballot.suite import keyed_digest
from ops.check.findings import Finding, Kind

if TYPE_CHECKING:
    from types import TracebackType

#: reference, credential digest, credential, nonce, sealed, signature
SignedVote: TypeAlias = tuple[str, bytes, bytes, bytes, bytes, bytes]

CHUNKS_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Against:
    """What every vote of one ballot is verified against."""

    ballot: str
    definition_sha256: bytes
    digest_key: bytes


class VoteVerifier:
    """Takes pages of votes and keeps what fails. `submit` waits while too many pages are under way."""

    def __init__(self, against: Against) -> None:
        self._against = against
        # Spawned, not forked: this process has connections and a running loop.
        self._pool = ProcessPoolExecutor(max_workers=os.cpu_count() or 1, mp_context=get_context("spawn"))
        self._ahead: deque[Future[list[tuple[str, str]]]] = deque()
        self.findings: list[Finding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(self, votes: list[SignedVote]) -> None:
        """Verify one page, soon."""
        self._ahead.append(self._pool.submit(verify_page, self._against, votes))
        while len(self._ahead) > CHUNKS_AHEAD:
            self._collect()

    def finish(self) -> list[Finding]:
        """Wait for all pages and return what failed."""
        while self._ahead:
            self._collect()
        return self.findings

    def _collect(self) -> None:
        failed = self._ahead.popleft().result()
        self.findings += [Finding(Kind.SIGNATURE, reference, what) for reference, what in failed]


def verify_page(against: Against, votes: list[SignedVote]) -> list[tuple[str, str]]:
    """Return (reference, what is wrong) for each vote that does not verify."""
    failed = []
    for reference, digest, credential, nonce, sealed, signature in votes:
        expected = keyed_digest(against.digest_key, hashlib.sha256(credential).digest())
        if expected != digest:
            failed.append((reference, "the stored credential is not the registered one"))
            continue
        try:
            vote.verify(
                ballot_id=against.ballot,
                definition_sha256=against.definition_sha256,
                credential=credential,
                nonce=nonce,
                sealed=sealed,
                signature=signature,
            )
        except Rejected as error:
            failed.append((reference, error.detail))
    return failed
