"""A ballot as large as a run needs, on a published paper; and what must be counted when the run is over."""

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path

from loadtests.published import scenario
from loadtests.published.plan import Plan
from loadtests.published.scenario import SPOILT, Scenario

PAPER = "tube-two-questions"
SPOILT_SHARE = 0.004
FIRST_SHARE = 0.9
HABITS = {
    "double_click": 0.03,
    "retry": 0.05,
    "mistyped": 0.01,
    "used_code": 0.02,
    "foreign_code": 0.002,
    "reissue": 0.0,
    "later_repeat": 0.03,
}


def sized(voters: int, folder: Path) -> Scenario:
    """A scenario of so many voters, all of whom vote, written into `folder` for the crowd to read."""
    paper = scenario.load(PAPER)
    definition = folder / "definition.toml"
    definition.write_text(paper.definition_toml, encoding="utf-8")
    lines = [
        "[scenario]",
        'title = "Faults under load"',
        f'source = "the paper of {PAPER}, with other figures"',
        f'definition = "{definition.name}"',
        f"entitled = {voters}",
        f"votes = {voters}",
        "seed = 1",
    ]
    for question in paper.definition.questions:
        first, *others = [option.id for option in question.options]
        spoilt = int(voters * SPOILT_SHARE)
        firsts = voters - spoilt if not others else int((voters - spoilt) * FIRST_SHARE)
        figures = {first: firsts, **dict.fromkeys(others, 0), SPOILT: spoilt}
        if others:
            figures[others[0]] = voters - spoilt - firsts
        lines += [f"[published.{question.id}]", *(f"{option} = {votes}" for option, votes in figures.items())]
    lines += ["[behaviour]", *(f"{habit} = {share}" for habit, share in HABITS.items())]
    path = folder / "faults.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return scenario.load(str(path))


def as_voted(played: Scenario, plan: Plan, voted: AbstractSet[str]) -> Scenario:
    """`played` with the figures that those in `voted`, by member id, must add up to, and no others."""
    counts = {question: Counter(dict.fromkeys(options, 0)) for question, options in played.published.items()}
    for voter in plan.voters:
        if voter.member_id in voted:
            for question, marks in voter.paper.answers:
                legal = len(marks) == 1 and marks[0] in played.published[question]
                counts[question][marks[0] if legal else SPOILT] += 1
    return replace(
        played,
        votes=len(voted),
        published={question: dict(figures) for question, figures in counts.items()},
    )


def beside(ballot: str) -> Scenario:
    """A small ballot called `ballot` on which nobody votes: its queue may be spoilt."""
    return scenario.renamed(scenario.load("branch-41"), ballot)
