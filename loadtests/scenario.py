"""A published ballot as data: who was entitled, what was counted, how its voters behave; nothing is guessed.

The files stand in `scenarios/`. A fault in one is one plain sentence; so are totals that do not add up.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ballot.definition import Definition, DefinitionFaults, parse_toml
from ballot.encoding import format_time

SCENARIOS = Path(__file__).resolve().parent / "scenarios"
SPOILT = "spoilt"
HOUR_US = 3_600 * 1_000_000
# The window of a run: opened an hour ago, so that no clock difference matters, and open longer than any run.
OPENED_BEFORE_US = HOUR_US
CLOSES_AFTER_US = 24 * HOUR_US


class ScenarioFault(ValueError):  # noqa: N818  # a fault in a file, as DefinitionFaults is
    """What is wrong with a scenario file, in one sentence."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Which share of the votes comes with which human habit (0 to 1)."""

    double_click: float
    retry: float
    mistyped: float
    used_code: float
    foreign_code: float
    reissue: float
    later_repeat: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """One published ballot; `published` is question -> option or `spoilt` -> votes, in paper order."""

    name: str
    file: str
    title: str
    source: str
    entitled: int
    votes: int
    seed: int
    definition: Definition
    definition_toml: str
    published: Mapping[str, Mapping[str, int]]
    behaviour: Behaviour

    @property
    def ballot(self) -> str:
        """The ballot's id."""
        return self.definition.id

    def definition_open_at(self, now_us: int) -> str:
        """The definition as TOML with its window moved around `now_us`, and nothing else changed."""
        moved = self.definition_toml
        for field, at_us in (("opens", now_us - OPENED_BEFORE_US), ("closes", now_us + CLOSES_AFTER_US)):
            moved = re.sub(rf"(?m)^{field} = .*$", f"{field} = {format_time(at_us)}", moved)
        return moved


def names() -> list[str]:
    """Every scenario there is, by name."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def load(name: str) -> Scenario:
    """The scenario called `name`, or the one in the file at that path."""
    path = Path(name) if name.endswith(".toml") else SCENARIOS / f"{name}.toml"
    if not path.is_file():
        raise ScenarioFault(f"There is no scenario '{name}'; there are {', '.join(names())}.")
    try:
        return _parse(path.stem, tomllib.loads(path.read_text(encoding="utf-8")), folder=path.parent)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, DefinitionFaults, OSError) as error:
        raise ScenarioFault(f"Scenario {path.stem}: {error}") from error


def _parse(name: str, data: Mapping[str, Any], *, folder: Path) -> Scenario:
    """`data` as a scenario, or the first fault in it."""
    _exactly(name, "the file", data, {"scenario", "published", "behaviour"})
    head = data["scenario"]
    _exactly(name, "[scenario]", head, {"title", "source", "definition", "entitled", "votes", "seed"})
    for field in ("title", "source", "definition"):
        if not isinstance(head[field], str) or not head[field]:
            raise ScenarioFault(f"Scenario {name}: {field} must be a text.")
    counts = {
        field: _count(name, f"[scenario] {field}", head[field]) for field in ("entitled", "votes", "seed")
    }
    if counts["votes"] > counts["entitled"]:
        raise ScenarioFault(f"Scenario {name}: there are more votes than people entitled to vote.")
    definition_toml = (folder / head["definition"]).read_text(encoding="utf-8")
    definition = parse_toml(definition_toml)
    return Scenario(
        name=name,
        file=str(folder / f"{name}.toml"),
        title=head["title"],
        source=head["source"],
        definition=definition,
        definition_toml=definition_toml,
        published=_published(name, data["published"], definition, votes=counts["votes"]),
        behaviour=_behaviour(name, data["behaviour"]),
        **counts,
    )


def _published(name: str, data: Any, definition: Definition, *, votes: int) -> dict[str, dict[str, int]]:
    """The published figures, every option and `spoilt` listed, each question adding up to the votes cast."""
    _exactly(name, "[published]", data, {question.id for question in definition.questions})
    published = {}
    for question in definition.questions:
        figures = data[question.id]
        wanted = [*(option.id for option in question.options), SPOILT]
        _exactly(name, f"[published.{question.id}]", figures, set(wanted))
        published[question.id] = {
            option: _count(name, f"[published.{question.id}] {option}", figures[option]) for option in wanted
        }
        total = sum(published[question.id].values())
        if total != votes:
            raise ScenarioFault(
                f"Scenario {name}: question {question.id} adds up to {total:,}, not the {votes:,} cast."
            )
    return published


def _behaviour(name: str, data: Any) -> Behaviour:
    """The shares, each between 0 and 1."""
    wanted = [field.name for field in fields(Behaviour)]
    _exactly(name, "[behaviour]", data, set(wanted))
    for field in wanted:
        if (
            isinstance(data[field], bool)
            or not isinstance(data[field], int | float)
            or not 0 <= data[field] <= 1
        ):
            raise ScenarioFault(f"Scenario {name}: [behaviour] {field} must be a share from 0 to 1.")
    return Behaviour(**{field: float(data[field]) for field in wanted})


def _exactly(name: str, where: str, data: Any, wanted: set[str]) -> None:
    """Refuse `data` unless it is a table with exactly the keys `wanted`."""
    if not isinstance(data, dict):
        raise ScenarioFault(f"Scenario {name}: {where} must be a table.")
    if missing := sorted(wanted - data.keys()):
        raise ScenarioFault(f"Scenario {name}: {where} lacks {', '.join(missing)}.")
    if unknown := sorted(data.keys() - wanted):
        raise ScenarioFault(f"Scenario {name}: {where} has {', '.join(unknown)}, which nothing reads.")


def _count(name: str, where: str, value: Any) -> int:
    """`value` if it is a whole number, not negative."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ScenarioFault(f"Scenario {name}: {where} must be a whole number, 0 or more.")
    return value


def renamed(scenario: Scenario, ballot: str) -> Scenario:
    """The same paper and figures as a ballot of another id."""
    toml = re.sub(r'(?m)^id = ".*"$', f'id = "{ballot}"', scenario.definition_toml, count=1)
    return replace(scenario, definition=parse_toml(toml), definition_toml=toml)
