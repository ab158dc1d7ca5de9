"""One measured figure: ours, what it is measured against, and every round of both."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` and `baseline` hold one number a round, taken in turn.

    `goal` is the ratio to reach, if there is one, or with `goal_is_for_ours` the figure itself; `aim` is what
    to go for then. With `at_most` less is better: memory, latency.
    """

    name: str
    unit: str
    ours: list[float]
    baseline: list[float]
    baseline_name: str
    goal: float | None = None
    note: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    goal_is_for_ours: bool = False
    aim: float | None = None
    at_most: bool = False

    @property
    def ratio(self) -> float | None:
        """The median of ours over the median of the baseline."""
        return median(self.ours) / median(self.baseline) if self.ours and self.baseline else None

    @property
    def verdict(self) -> str:
        """Whether the goal was reached; nothing when there is none."""
        found = self.judged
        if self.goal is None or found is None:
            return ""
        if self.aim is not None and self._reaches(found, self.aim):
            return "reached, and the aim"
        return "reached" if self._reaches(found, self.goal) else "NOT reached"

    @property
    def judged(self) -> float | None:
        """What is held against the goal: the ratio, or the figure itself."""
        if self.goal_is_for_ours:
            return median(self.ours) if self.ours else None
        return self.ratio

    def _reaches(self, found: float, wanted: float) -> bool:
        return found <= wanted if self.at_most else found >= wanted

    def row(self) -> tuple[str, str, str, str, str]:
        """For the table of goals: the figure, what was found, what to reach, what to go for, the verdict."""
        found = "-" if self.judged is None else _number(self.judged)
        bound = "<= " if self.at_most else ""
        wanted = [bound + _number(each) if each is not None else "" for each in (self.goal, self.aim)]
        unit = self.unit if self.goal_is_for_ours else f"of {self.baseline_name}"
        return (self.name, f"{found} {unit}", wanted[0], wanted[1], self.verdict)

    def to_dict(self) -> dict[str, Any]:
        """For the machine-readable copy."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": median(self.ours) if self.ours else None,
            "baseline": median(self.baseline) if self.baseline else None,
            "baseline_name": self.baseline_name,
            "ratio": self.ratio,
            "goal": self.goal,
            "aim": self.aim,
            "at_most": self.at_most,
            "goal_is_for": "ours" if self.goal_is_for_ours else "ratio",
            "verdict": self.verdict,
            "note": self.note,
            "rounds": {"ours": self.ours, "baseline": self.baseline},
            **self.detail,
        }

    def lines(self) -> list[str]:
        """For people."""
        of = "ours" if self.goal_is_for_ours else "ratio"
        bound = "<= " if self.at_most else ""
        aim = f", then {bound}{self.aim:g}" if self.aim is not None else ""
        goal = f"  goal {of} {bound}{self.goal:g}{aim}: {self.verdict}" if self.goal is not None else ""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else "-"
        numbers = (
            f"  ours {_shown(self.ours)}  {self.baseline_name} {_shown(self.baseline)}  ratio {ratio}{goal}"
        )
        return [f"{self.name} [{self.unit}]", numbers, *([f"  ({self.note})"] if self.note else [])]


def _shown(rounds: list[float]) -> str:
    if not rounds:
        return "-"
    return _number(median(rounds))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
