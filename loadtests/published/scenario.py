"""A published ballot as data: who was entitled, what was counted, how its voters behave; nothing is guessed.

The files stand in `scenarios/`. A fault in one is one plain sentence; so are totals that do not add up.
"""

import hashlib
import math
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ballot.definition import Definition, DefinitionFaults, parse_toml
from ballot.encoding import format_time
from loadtests.published import scenario_parts as parts
from loadtests.published.apportioning import apportioned
from loadtests.published.arrivals import Arrivals
from loadtests.published.scenario_parts import Behaviour, GroupShape, OverlayCall, PaperReturns
from loadtests.published.scenario_table import ScenarioFault, Table, table
from loadtests.published.scenario_variants import split, varied

__all__ = [
    "SCENARIOS",
    "SPOILT",
    "Behaviour",
    "GroupShape",
    "OverlayCall",
    "PaperReturns",
    "Scenario",
    "ScenarioFault",
    "apportioned",
    "load",
    "names",
    "random_of",
    "renamed",
    "scaled",
    "shrunk",
    "variants",
]

SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
SPOILT = "spoilt"
HOUR_US = 3_600 * 1_000_000
# The window of a run: opened an hour ago, so that no clock difference matters, and open longer than any run.
OPENED_BEFORE_US = HOUR_US
CLOSES_AFTER_US = 24 * HOUR_US
# A ballot of a group is never scaled below so many votes: one short of half must still be one vote.
GROUP_VOTES_MIN = 4


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
    variant: str = ""
    hours: float = 336.0
    opens_hour: float = 9.0
    last_minutes: float = 0.0
    """Only the votes of the last so many minutes are cast, though `votes` are all; 0: all are cast."""
    extends_minutes: float = 0.0
    """The close is at first so much earlier, and put off while people vote: the rush is to the first."""
    arrivals: Arrivals = field(default_factory=Arrivals)
    paper: PaperReturns | None = None
    overlays: tuple[OverlayCall, ...] = ()
    group: GroupShape | None = None
    scale: float = 1.0

    @property
    def spec(self) -> str:
        """What `load` makes this scenario of again in another process, unless it was `shrunk` since."""
        variant = f":{self.variant}" if self.variant else ""
        return f"{self.file}{variant}" + (f"@{self.scale!r}" if self.scale != 1 else "")

    @property
    def paper_votes(self) -> int:
        """How many of the votes come on paper."""
        return 0 if self.paper is None else round(self.paper.share * self.votes)

    @property
    def online_votes(self) -> int:
        """How many of the votes are cast online."""
        return self.votes - self.paper_votes

    @property
    def late_casts(self) -> int:
        """How many people beside the voters try after the close."""
        return min(math.ceil(round(self.behaviour.late * self.online_votes, 6)), self.entitled - self.votes)

    @property
    def first_close_hours(self) -> float:
        """When it was to close as it was announced at first."""
        return self.hours - self.extends_minutes / 60

    @property
    def at_close_casts(self) -> int:
        """How many beside those try at the very moment of a close: as many at the first as at the last."""
        closes = 2 if self.extends_minutes else 1
        return min(closes * self.behaviour.at_close, self.entitled - self.votes - self.late_casts)

    @property
    def ballot(self) -> str:
        """The ballot's id."""
        return self.definition.id

    def definition_open_at(self, now_us: int, *, closes_us: int | None = None) -> str:
        """The definition as TOML with its window moved around `now_us`, and nothing else changed."""
        moved = self.definition_toml
        closes_us = now_us + CLOSES_AFTER_US if closes_us is None else closes_us
        for moment, at_us in (("opens", now_us - OPENED_BEFORE_US), ("closes", closes_us)):
            moved = re.sub(rf"(?m)^{moment} = .*$", f"{moment} = {format_time(at_us)}", moved)
        return moved


def names() -> list[str]:
    """Every scenario there is, by name."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def load(name: str) -> Scenario:
    """The scenario NAME[:VARIANT][@SCALE], where NAME is one of `names()` or the path of a file."""
    stem, variant, scale = split(name)
    path = Path(stem) if stem.endswith(".toml") else SCENARIOS / f"{stem}.toml"
    if not path.is_file():
        raise ScenarioFault(f"There is no scenario '{stem}'; there are {', '.join(names())}.")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        read = _parse(path.stem, varied(path.stem, data, variant), folder=path.absolute().parent)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, DefinitionFaults, OSError) as error:
        raise ScenarioFault(f"Scenario {path.stem}: {error}") from error
    return read if scale is None else scaled(read, scale)


def variants(name: str) -> list[str]:
    """The variants of the scenario called `name`, the default first; its name is empty where there is one."""
    first = load(name)
    data = tomllib.loads(Path(first.file).read_text(encoding="utf-8"))
    return [first.variant, *data.get("variants", {})]


def _parse(name: str, data: Mapping[str, Any], *, folder: Path) -> Scenario:
    """`data` as a scenario, or the first fault in it."""
    optional = ("arrivals", "paper", "overlays", "group")
    whole = table(name, "the file", data, ("scenario", "published", "behaviour"), optional)
    wanted = ("title", "source", "definition", "entitled", "votes", "seed")
    head = table(
        name,
        "[scenario]",
        whole.inner("scenario"),
        wanted,
        ("hours", "opens_hour", "last_minutes", "extends_minutes", "variant"),
    )
    votes = head.count("votes")
    if votes > head.count("entitled"):
        raise ScenarioFault(f"Scenario {name}: there are more votes than people entitled to vote.")
    definition_toml = (folder / head.text("definition")).read_text(encoding="utf-8")
    definition = parse_toml(definition_toml)
    hours = (definition.closes_us - definition.opens_us) / HOUR_US
    if "hours" in head.values:
        hours = head.number("hours", 0.1, parts.HOURS_MAX)
    made = Scenario(
        name=name,
        file=str(folder / f"{name}.toml"),
        title=head.text("title"),
        source=head.text("source"),
        definition=definition,
        definition_toml=definition_toml,
        entitled=head.count("entitled"),
        votes=votes,
        seed=head.count("seed"),
        published=_published(name, data["published"], definition, votes=votes),
        behaviour=parts.behaviour(name, data["behaviour"]),
        hours=hours,
        **_optional(head, data, hours=hours, votes=votes),
    )
    if made.group is not None and (made.paper is not None or made.behaviour.late or made.behaviour.at_close):
        raise ScenarioFault(f"Scenario {name}: a group has no papers, and nobody who comes late.")
    return made


def _optional(head: Table, data: Mapping[str, Any], *, hours: float, votes: int) -> dict[str, Any]:
    """What a scenario may leave out, as far as this one does not."""
    readers: dict[str, Callable[[], Any]] = {
        "opens_hour": lambda: head.number("opens_hour", 0, 23.99),
        "last_minutes": lambda: head.number("last_minutes", 1, hours * 60),
        "extends_minutes": lambda: head.number("extends_minutes", 1, hours * 60),
        "variant": lambda: head.text("variant"),
        "arrivals": lambda: parts.arrivals(head.name, data["arrivals"], hours=hours),
        "paper": lambda: parts.paper(head.name, data["paper"]),
        "overlays": lambda: parts.overlays(head.name, data["overlays"]),
        "group": lambda: parts.group(head.name, data["group"], votes=votes),
    }
    return {field: read() for field, read in readers.items() if field in head.values or field in data}


def _published(name: str, data: Any, definition: Definition, *, votes: int) -> dict[str, dict[str, int]]:
    """The published figures, every option and `spoilt` listed, each question adding up to the votes cast."""
    table(name, "[published]", data, [question.id for question in definition.questions])
    published = {}
    for question in definition.questions:
        wanted = [*(option.id for option in question.options), SPOILT]
        figures = table(name, f"[published.{question.id}]", data[question.id], wanted)
        published[question.id] = {option: figures.count(option) for option in wanted}
        total = sum(published[question.id].values())
        if total != votes:
            raise ScenarioFault(
                f"Scenario {name}: question {question.id} adds up to {total:,}, not the {votes:,} cast."
            )
    return published


def scaled(scenario: Scenario, scale: float) -> Scenario:
    """`scenario` at `scale` (above 0, to 1) of its size; each question still adds up to the votes cast."""
    if not 0 < scale <= 1:
        raise ScenarioFault(f"Scenario {scenario.name}: a scale is above 0 and at most 1.")
    if scale == 1:
        return scenario
    if scenario.scale != 1:
        raise ScenarioFault(f"Scenario {scenario.name}: it is scaled already.")
    votes = max(1, round(scenario.votes * scale))
    if scenario.group is not None:
        votes = max(votes, scenario.group.ballots * GROUP_VOTES_MIN)
    entitled = max(votes, round(scenario.entitled * scale))
    overlays = tuple(call.among(scale) for call in scenario.overlays)
    return replace(shrunk(scenario, votes=votes, entitled=entitled), scale=scale, overlays=overlays)


def shrunk(scenario: Scenario, *, votes: int, entitled: int | None = None) -> Scenario:
    """`scenario` with only so many votes, every figure in proportion by largest remainder."""
    if not 0 <= votes <= scenario.votes:
        raise ScenarioFault(f"Scenario {scenario.name}: {votes:,} votes are no part of {scenario.votes:,}.")
    return replace(
        scenario,
        votes=votes,
        entitled=scenario.entitled if entitled is None else entitled,
        published={
            question: dict(zip(figures, apportioned(list(figures.values()), votes), strict=True))
            for question, figures in scenario.published.items()
        },
    )


def random_of(scenario: Scenario, what: str, seed: int | None) -> np.random.Generator:
    """The randomness for `what` of `scenario`, from its own seed or another; each `what` has its own."""
    chosen = scenario.seed if seed is None else seed
    words = f"{scenario.name}:{scenario.variant}/{scenario.ballot}/{what}/{chosen}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(words.encode()).digest()))


def renamed(scenario: Scenario, ballot: str) -> Scenario:
    """The same paper and figures as a ballot of another id."""
    toml = re.sub(r'(?m)^id = ".*"$', f'id = "{ballot}"', scenario.definition_toml, count=1)
    return replace(scenario, definition=parse_toml(toml), definition_toml=toml)
