"""The ballots of a group, made from one scenario: their sizes, turnouts and figures add up to its own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.scenario import Scenario
    from loadtests.schedule import Schedule


def members(scenario: "Scenario") -> "list[Scenario]":
    """The ballots of `scenario`, largest first; the scenario itself alone if it is no group."""
    raise NotImplementedError


def as_scheduled(ballots: "Sequence[Scenario]", schedule: "Schedule") -> "list[Scenario]":
    """`ballots` with as many votes as `schedule` sends to each: what --only leaves of them."""
    raise NotImplementedError
