"""What a metrics port says, read without a library: values by name and labels, quantiles of histograms."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

LINE = re.compile(r"(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}\n]*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of one port; `values` is name -> labels -> value, as told."""

    values: Mapping[str, Mapping[Labels, float]] = field(default_factory=dict)

    def sum(self, name: str) -> float | None:
        """All values of `name` together; None if there is none, or one is not a number."""
        found = self.values.get(name)
        if not found:
            return None
        total = math.fsum(found.values())
        return None if math.isnan(total) else total

    def most(self, name: str) -> float | None:
        """The largest value of `name`."""
        found = [value for value in self.values.get(name, {}).values() if not math.isnan(value)]
        return max(found, default=None)

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of `name` by one of its labels."""
        found: dict[str, float] = {}
        for labels, value in self.values.get(name, {}).items():
            key = dict(labels).get(label, "")
            found[key] = found.get(key, 0.0) + value
        return found

    def buckets(self, name: str) -> dict[float, float]:
        """A histogram's counts up to each bound, as told: cumulative."""
        return {float(bound): count for bound, count in self.by(f"{name}_bucket", "le").items() if bound}


def read(text: str) -> Reading:
    """The values in an answer; lines that are no values are left out."""
    values: dict[str, dict[Labels, float]] = {}
    for name, labels, told in LINE.findall(text):
        try:
            value = float(told)
        except ValueError:
            continue
        values.setdefault(name, {})[frozenset(LABEL.findall(labels))] = value
    return Reading(values)


def quantile(before: Mapping[float, float], after: Mapping[float, float], share: float) -> float | None:
    """The `share` quantile of what came between two readings; None when nothing came.

    Within a bucket values are taken to be spread evenly; of the open last one only the lower bound is known.
    A process that started anew counts from 0, and everything it tells is new.
    """
    anew = any(count < before.get(bound, 0.0) for bound, count in after.items())
    new = [
        (bound, count - (0.0 if anew else before.get(bound, 0.0))) for bound, count in sorted(after.items())
    ]
    total = new[-1][1] if new else 0.0
    if total <= 0:
        return None
    wanted, low, below = share * total, 0.0, 0.0
    for bound, count in new:
        if count >= wanted:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (wanted - below) / (count - below if count > below else 1.0)
        low, below = bound, count
    return low
