"""How long the single steps of a vote take: sealing, parsing, encrypting, checking, signing receipts."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from ballot import receipt, sealing, vote
from ballot.code import Code
from ballot.queue_record import QueueRecord, wrap
from ballot.receipt import Leaf, draw_reference
from ballot.suite import AeadKey, SigningKey
from tests.integration.intake_rig import build_document, now_us

Benchmark = Callable[..., Any]
DOCUMENT = build_document("bench")
KEY = Code.draw(os.urandom).signing_key("bench")
VOTE = sealing.seal(DOCUMENT, KEY, {"strike": ["yes"]}, random=os.urandom)


def test_seal(benchmark: Benchmark) -> None:
    """A voter's device seals and signs one vote."""
    benchmark(sealing.seal, DOCUMENT, KEY, {"strike": ["yes"]}, random=os.urandom)


def test_parse(benchmark: Benchmark) -> None:
    """The edge reads one vote."""
    assert benchmark(vote.parse, VOTE.to_json(), padded_size=DOCUMENT.padded_size) == VOTE


def test_wrap(benchmark: Benchmark) -> None:
    """The edge encrypts one record for the queue."""
    record = QueueRecord(VOTE.credential, VOTE.nonce, VOTE.sealed, VOTE.signature, "192.0.2.1", now_us())
    place = {"ballot_id": "bench", "credential_digest": b"d" * 32, "reference": "0" * 19}
    benchmark(wrap, AeadKey(os.urandom(32)), record, **place, random=os.urandom)


def test_verify(benchmark: Benchmark) -> None:
    """A worker checks one vote's signature."""
    benchmark(
        vote.verify,
        ballot_id="bench",
        definition_sha256=DOCUMENT.definition.sha256,
        credential=VOTE.credential,
        nonce=VOTE.nonce,
        sealed=VOTE.sealed,
        signature=VOTE.signature,
    )


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_receipts(benchmark: Benchmark, batch: int) -> None:
    """The edge signs the receipts of one batch."""
    key = SigningKey.from_seed(os.urandom(32))
    leaves = [
        Leaf("bench", draw_reference(0, 1, random=os.urandom), now_us(), os.urandom(32)) for _ in range(batch)
    ]
    assert len(benchmark(receipt.issue, leaves, key)) == batch
