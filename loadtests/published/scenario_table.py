"""One table of a scenario file, read strictly: what is missing, unknown or no such value is one sentence."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


class ScenarioFault(ValueError):  # noqa: N818  # a fault in a file, as DefinitionFaults is
    """What is wrong with a scenario file, in one sentence."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table called `where` of scenario `name`; every reader refuses what it cannot take."""

    name: str
    where: str
    values: Mapping[str, Any]

    def fault(self, what: str) -> ScenarioFault:
        """`what` is wrong here, as an exception to raise."""
        return ScenarioFault(f"Scenario {self.name}: {self.where} {what}.")

    def count(self, field: str) -> int:
        """A whole number, not negative."""
        value = self.values[field]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self.fault(f"{field} must be a whole number, 0 or more")
        return value

    def number(self, field: str, low: float, high: float) -> float:
        """A number from `low` to `high`."""
        value = self.values[field]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not low <= value <= high
        ):
            raise self.fault(f"{field} must be a number from {low:g} to {high:g}")
        return float(value)

    def share(self, field: str) -> float:
        """A part of all, 0 to 1."""
        value = self.values[field]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise self.fault(f"{field} must be a share from 0 to 1")
        return float(value)

    def text(self, field: str) -> str:
        """A text that is not empty."""
        value = self.values[field]
        if not isinstance(value, str) or not value:
            raise self.fault(f"{field} must be a text")
        return value

    def inner(self, field: str) -> Any:
        """The table, list or value that stands under `field`, to be checked by whoever reads it."""
        return self.values[field]


def table(
    name: str, where: str, data: Any, wanted: Collection[str], optional: Collection[str] | None = ()
) -> Table:
    """`data` with exactly the keys `wanted`, and any of `optional`; None takes any other key as well."""
    if not isinstance(data, dict):
        raise ScenarioFault(f"Scenario {name}: {where} must be a table.")
    if missing := sorted(set(wanted) - data.keys()):
        raise ScenarioFault(f"Scenario {name}: {where} lacks {', '.join(missing)}.")
    if optional is not None and (unknown := sorted(data.keys() - set(wanted) - set(optional))):
        raise ScenarioFault(f"Scenario {name}: {where} has {', '.join(unknown)}, which nothing reads.")
    return Table(name, where, data)
