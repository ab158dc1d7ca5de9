"""A deployment of its own for each acceptance test: `ballot up` for real, and voters over real HTTP."""

from collections.abc import Iterator

import pytest

from loadtests.staging.stage import Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    """A fresh BALLOT_HOME with `ballot up` ready in it; gone after the test."""
    with Stage() as running:
        running.up()
        yield running


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[Stage]:
    """The same, for the tests of one module together."""
    with Stage() as running:
        running.up()
        yield running
