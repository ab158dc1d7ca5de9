"""The ballots of a group, made from one scenario: their sizes, turnouts and figures add up to its own.

In exactly so many of them as the group says does half of the entitled vote, and one vote less than half.
The same scenario gives the same ballots; nothing is drawn but who turns out how well.
Where sizes are alike (`pareto = 0`), turnouts are.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ballot.definition import parse_toml
from loadtests.published.scenario import GroupShape, Scenario, ScenarioFault, apportioned, random_of, shrunk

if TYPE_CHECKING:
    from loadtests.published.schedule import Schedule

# A small ballot has fewer people than this, at full scale, and every ballot at least so many.
SMALL, SMALLEST = 50, 4
TURNOUT_SIGMA = 0.08
TURNOUT_AROUND_MEAN = (0.4, 1.6)
ASIDE_MAX = 10


def members(scenario: Scenario) -> list[Scenario]:
    """The ballots of `scenario`, largest first; the scenario itself alone if it is no group."""
    shape = scenario.group
    if shape is None:
        return [scenario]
    sizes = _sizes(scenario, shape)
    votes = _votes(scenario, shape, sizes)
    published = _figures(scenario, votes)
    return [
        replace(
            _called(scenario, number),
            entitled=size,
            votes=cast,
            published={question: rows[number] for question, rows in published.items()},
            group=None,
        )
        for number, (size, cast) in enumerate(zip(sizes, votes, strict=True))
    ]


def as_scheduled(ballots: Sequence[Scenario], schedule: "Schedule") -> list[Scenario]:
    """`ballots` with as many votes as `schedule` sends to each: what --only leaves of them."""
    sent = np.bincount(schedule.ballots, minlength=len(ballots))
    return [
        shrunk(ballot, votes=_votes_of_online(ballot, int(online)))
        for ballot, online in zip(ballots, sent, strict=True)
    ]


def _votes_of_online(ballot: Scenario, online: int) -> int:
    """How many votes `ballot` has when `online` of them are cast online and its share comes on paper."""
    votes = ballot.votes * online // max(1, ballot.online_votes)
    while votes < ballot.votes and replace(ballot, votes=votes).online_votes < online:
        votes += 1
    while votes > 0 and replace(ballot, votes=votes).online_votes > online:
        votes -= 1
    return votes


def is_exact(ballot: Scenario) -> bool:
    """Whether just half of the entitled vote."""
    return 2 * ballot.votes == ballot.entitled


def is_one_short(ballot: Scenario) -> bool:
    """Whether one more vote would make half of the entitled."""
    return ballot.votes == half(ballot.entitled) - 1


def half(entitled: int) -> int:
    """The fewest votes that are half of the entitled or more."""
    return (entitled + 1) // 2


def _called(scenario: Scenario, number: int) -> Scenario:
    """The same paper for employer `number`, from 1, as a ballot of its own."""
    ballot = f"{scenario.ballot}-{number + 1:03d}"
    toml = re.sub(r'(?m)^id = ".*"$', f'id = "{ballot}"', scenario.definition_toml, count=1)
    toml = re.sub(r'(?m)^employer = "(.*)"$', rf'employer = "\1 {number + 1}"', toml, count=1)
    return replace(scenario, definition=parse_toml(toml), definition_toml=toml)


def _sizes(scenario: Scenario, shape: GroupShape) -> list[int]:
    """How many are entitled in each ballot, largest first."""
    below = max(SMALLEST + 1, round(SMALL * scenario.scale)) if shape.small else SMALLEST
    small = [int(size) for size in np.linspace(below - 1, max(SMALLEST, below // 5), shape.small)]
    middle = shape.ballots - shape.small - 1
    first = max(round(shape.largest * scenario.entitled), below) if middle else scenario.entitled - sum(small)
    rest = scenario.entitled - first - sum(small) - middle * below
    if rest < 0 or first < below:
        raise ScenarioFault(
            f"Scenario {scenario.name}: {scenario.entitled:,} people are too few for {shape.ballots} ballots."
        )
    exponent = 1 / shape.pareto if shape.pareto else 0.0
    weights = [round(1e6 * (rank + 1) ** -exponent) for rank in range(middle)]
    return sorted([first, *(below + more for more in apportioned(weights, rest)), *small], reverse=True)


def _votes(scenario: Scenario, shape: GroupShape, sizes: Sequence[int]) -> list[int]:
    """How many vote in each: the special ballots as they must, the others around the mean."""
    rng = random_of(scenario, "turnout", scenario.seed)
    special = _special(shape, sizes)
    goals = {index: half(sizes[index]) - short for index, short in special.items()}
    others = [index for index in range(len(sizes)) if index not in goals]
    left = scenario.votes - sum(goals.values())
    mean = left / sum(sizes[index] for index in others)
    if not 0 < mean < 1:
        raise ScenarioFault(
            f"Scenario {scenario.name}: the special ballots leave too few votes for the others."
        )
    sigma = TURNOUT_SIGMA / mean if shape.pareto else 0.0
    turnout = np.clip(rng.normal(1.0, sigma, len(others)), *TURNOUT_AROUND_MEAN)
    parts = [round(float(part) * sizes[index] * 1e6) for index, part in zip(others, turnout, strict=True)]
    votes = [goals.get(index, 0) for index in range(len(sizes))]
    for index, cast in zip(others, apportioned(parts, left), strict=True):
        votes[index] = max(1, min(sizes[index], cast))
    _none_by_chance(scenario, votes, sizes, others)
    return votes


def _none_by_chance(
    scenario: Scenario, votes: list[int], sizes: Sequence[int], others: Sequence[int]
) -> None:
    """Let no other ballot be special by accident; the largest gives what the others get."""
    first, second = others[:2]

    def by_chance(index: int) -> bool:
        return votes[index] in {half(sizes[index]) - 1, sizes[index] / 2}

    for index in others[1:]:
        while by_chance(index):
            votes[index] += 1
    votes[first] += scenario.votes - sum(votes)
    for _ in range(ASIDE_MAX):
        if 0 < votes[first] <= sizes[first] and not by_chance(first) and not by_chance(second):
            return
        votes[first] -= 1
        votes[second] += 1
    raise ScenarioFault(f"Scenario {scenario.name}: no turnouts of the ballots add up to {scenario.votes:,}.")


def _special(shape: GroupShape, sizes: Sequence[int]) -> dict[int, bool]:
    """Which ballots are one vote short (True) or exactly half (False): of all sizes but the two largest."""
    even = [index for index in range(2, len(sizes)) if sizes[index] % 2 == 0]
    exactly = _spread(even, shape.exactly)
    free = [index for index in range(2, len(sizes)) if index not in exactly]
    return dict.fromkeys(exactly, False) | dict.fromkeys(_spread(free, shape.one_short), True)


def _spread(indices: Sequence[int], wanted: int) -> list[int]:
    """`wanted` of `indices`, evenly spread."""
    if wanted > len(indices):
        raise ScenarioFault("A group has too few ballots of the sizes that its special ballots need.")
    return [indices[place * len(indices) // wanted] for place in range(wanted)]


def _figures(scenario: Scenario, votes: Sequence[int]) -> dict[str, list[dict[str, int]]]:
    """For each question the figures of every ballot: across they add up to its votes, down to the group's."""
    published = {}
    for question, figures in scenario.published.items():
        rows: list[dict[str, int]] = [{} for _ in votes]
        left = list(votes)
        for option, total in figures.items():
            # In proportion to what is left of each ballot, which no ballot's part can then exceed.
            for number, part in enumerate(apportioned(left, total)):
                rows[number][option] = part
                left[number] -= part
        published[question] = rows
    return published
