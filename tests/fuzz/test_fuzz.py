"""The HTTP surface under fuzz: never a 500, never a hang, nothing grows, nothing is logged, voters vote."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conftest import unpublish
from tests.fuzz.documented import Documented, check
from tests.fuzz.ground import Ground, ground
from tests.fuzz.raw import Tally, fuzz
from tests.fuzz.run import Campaign

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Stack

SEED = 20_250_729
WARM_EXAMPLES = 30
EXAMPLES = 150
DOCUMENTED_EXAMPLES = 2
DOCUMENTED_S = 8
LONG_S = 180.0
VOTES = 250
VOTES_LONG = 1_500


@contextmanager
def warm(stack: Stack, votes: int) -> Iterator[Ground]:
    """An edge of its own, warmed up."""
    ballot = f"t-{secrets.token_hex(6)}"
    try:
        with ground(stack.servers, stack.env, ballot, votes=votes) as found:
            fuzz(found, Tally(), examples=WARM_EXAMPLES, seeded=SEED)
            yield found
    finally:
        asyncio.run(unpublish(stack.servers, ballot))


@pytest.fixture(scope="module")
def fuzzed(stack: Stack) -> Iterator[Ground]:
    """One edge for the short tests."""
    with warm(stack, VOTES) as found:
        yield found


def test_raw_connections(fuzzed: Ground) -> None:
    """Malformed, smuggled, cut, pipelined and half-closed requests: each is answered or closed, in time."""
    tally = Tally()
    with fuzzed.unharmed(), fuzzed.voting():
        fuzz(fuzzed, tally, examples=EXAMPLES, seeded=SEED)

    assert tally.connections >= EXAMPLES
    assert {200, 400, 404} <= tally.statuses.keys()


def test_documented_requests(fuzzed: Ground) -> None:
    """Good and bad requests to every documented operation: statuses, headers and bodies are as documented."""
    found = Documented()
    with fuzzed.unharmed(), fuzzed.voting():
        check(fuzzed, found, examples=DOCUMENTED_EXAMPLES, seconds=DOCUMENTED_S, seeded=SEED)

    assert not found.failures, "\n".join(found.failures)
    assert found.requests > 50


@pytest.mark.long
@pytest.mark.timeout(LONG_S + 120)
def test_minutes_of_both(stack: Stack) -> None:
    """A few minutes with a seed of their own, which a failure names."""
    campaign = Campaign()
    with warm(stack, VOTES_LONG) as found, found.unharmed(), found.voting():
        campaign.run(found, seconds=LONG_S, seeded=secrets.randbits(32))

    assert not campaign.faults, "\n".join(campaign.faults)
