"""Latencies in few numbers: bucket i holds what took 0.1 ms x 1.05^i or less, and more than the one before.

A quantile read from them is at most 5 % above the true one, and histograms of many seconds and processes
add up.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

FIRST_MS = 0.1
GROWTH = 1.05
BUCKETS_MAX = 400
"""The last one ends above eight hours: nothing that a run measures takes longer."""

_LOG_GROWTH = math.log(GROWTH)


def bucket(milliseconds: float) -> int:
    """The bucket that holds `milliseconds`; nothing takes less than no time."""
    if milliseconds <= FIRST_MS:
        return 0
    return min(math.ceil(math.log(milliseconds / FIRST_MS) / _LOG_GROWTH - 1e-9), BUCKETS_MAX - 1)


def bucket_of_each(milliseconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """The same of many at once."""
    found = np.ceil(np.log(np.maximum(milliseconds, FIRST_MS) / FIRST_MS) / _LOG_GROWTH - 1e-9)
    return np.minimum(found, BUCKETS_MAX - 1).astype(np.int64)


def upper_ms(index: int) -> float:
    """The longest time that bucket `index` holds, in milliseconds."""
    return FIRST_MS * GROWTH**index


def quantile(buckets: Mapping[int, int], share: float, *, never: int = 0) -> float:
    """The milliseconds within which `share` (0 to 1) of what is in `buckets` lies; 0 if nothing is.

    So many more as `never` says take for ever: what lies among them is infinite.
    """
    total = sum(buckets.values()) + never
    wanted = max(1, math.ceil(share * total - 1e-9))
    seen = 0
    for index in sorted(buckets):
        seen += buckets[index]
        if seen >= wanted:
            return upper_ms(index)
    return math.inf if never else 0.0


def added(histograms: Iterable[Mapping[int, int]]) -> Counter[int]:
    """All of them as one."""
    total: Counter[int] = Counter()
    for histogram in histograms:
        total.update(histogram)
    return total


def as_json(buckets: Mapping[int, int]) -> dict[str, int]:
    """With text for keys, as JSON wants it, in order."""
    return {str(index): buckets[index] for index in sorted(buckets)}


def from_json(told: Mapping[str, int]) -> Counter[int]:
    """What `as_json` wrote."""
    return Counter({int(index): count for index, count in told.items()})
