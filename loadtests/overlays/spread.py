"""How long answers took, in few numbers: buckets, and quantiles out of them."""

from collections import Counter
from typing import Final

from loadtests.crowds.buckets import bucket, quantile

SHOWN: Final = (("p50", 0.5), ("p99", 0.99))


class Spread:
    """Counts by bucket, and the longest."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._max_ms = 0.0

    def add(self, ms: float) -> None:
        """Count one answer."""
        self._max_ms = max(self._max_ms, ms)
        self._buckets[bucket(ms)] += 1

    @property
    def count(self) -> int:
        """How many there are."""
        return self._buckets.total()

    def quantile(self, share: float) -> float:
        """The milliseconds within which that share of them came; 0 without any."""
        return min(quantile(self._buckets, share), self._max_ms)

    def told(self) -> dict[str, float]:
        """The quantiles shown, and the longest."""
        return {name: round(self.quantile(share), 1) for name, share in SHOWN} | {
            "max": round(self._max_ms, 1),
            "answers": self.count,
        }
