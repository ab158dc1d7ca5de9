"""One measured figure: ours, what it is measured against, and every round of both."""

from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """`ours` and `baseline` hold one number a round, taken in turn.

    `goal` is the ratio to reach, if there is one, or with `goal_is_for_ours` the figure itself.
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

    @property
    def ratio(self) -> float | None:
        """The median of ours over the median of the baseline."""
        return median(self.ours) / median(self.baseline) if self.ours and self.baseline else None

    @property
    def verdict(self) -> str:
        """Whether the goal was reached; nothing when there is none."""
        found = median(self.ours) if self.goal_is_for_ours else self.ratio
        if self.goal is None or found is None:
            return ""
        return "reached" if found >= self.goal else "not reached"

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
            "goal_is_for": "ours" if self.goal_is_for_ours else "ratio",
            "verdict": self.verdict,
            "note": self.note,
            "rounds": {"ours": self.ours, "baseline": self.baseline},
            **self.detail,
        }

    def lines(self) -> list[str]:
        """For people."""
        of = "ours" if self.goal_is_for_ours else "ratio"
        goal = f"  goal {of} {self.goal:g}: {self.verdict}" if self.goal is not None else ""
        ratio = f"{self.ratio:.2f}" if self.ratio is not None else "-"
        numbers = (
            f"  ours {_shown(self.ours)}  {self.baseline_name} {_shown(self.baseline)}  ratio {ratio}{goal}"
        )
        return [f"{self.name} [{self.unit}]", numbers, *([f"  ({self.note})"] if self.note else [])]


def _shown(rounds: list[float]) -> str:
    if not rounds:
        return "-"
    value = median(rounds)
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
