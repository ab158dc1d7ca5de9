"""The primaries' clocks, compared: each decides by its own when a ballot opens and closes.

While two of them differ by more than the bound no vote is taken at all, since nobody could say which is
right. The edges' own wall clocks never matter: readings are laid on this process's monotonic count.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from runtime import logs

log = logs.get("clocks")

DIFFERENCE_MAX_US: Final = 50_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A primary's clock, as how far it is ahead of our monotonic count, give or take half a round trip."""

    ahead_us: int
    doubt_us: int

    @classmethod
    def of(cls, seconds: bytes, microseconds: bytes, *, asked_s: float, answered_s: float) -> "Reading":
        """The answer to TIME, read half-way between asking and the answer."""
        now_us = int(seconds) * 1_000_000 + int(microseconds)
        middle_s = (asked_s + answered_s) / 2
        return cls(now_us - round(middle_s * 1_000_000), round((answered_s - asked_s) * 500_000))

    def differs(self, other: "Reading") -> bool:
        """Whether the two clocks are further apart than the bound, doubt set aside."""
        apart_us = abs(self.ahead_us - other.ahead_us) - self.doubt_us - other.doubt_us
        return apart_us > DIFFERENCE_MAX_US


class Clocks:
    """The last reading of every primary that is connected."""

    def __init__(self) -> None:
        self._readings: dict[str, Reading] = {}
        self._deciding: Collection[str] | None = None
        self._strayed: frozenset[str] = frozenset()
        self.agree = True

    def decide_by(self, names: Collection[str]) -> None:
        """Only these hold shards; another's clock keeps no one out but itself."""
        self._deciding = names
        self._compare()

    def read(self, name: str, reading: Reading) -> None:
        """Keep a new reading; a clock that was set between two of them is worth a line in the log."""
        before = self._readings.get(name)
        self._readings[name] = reading
        if before is not None and reading.differs(before):
            log.warning(
                "queue clock jumped", node=name, milliseconds=(reading.ahead_us - before.ahead_us) // 1_000
            )
        self._compare()

    def forget(self, name: str, reading: Reading | None) -> None:
        """A primary that is not connected decides nothing; one that was read anew since then does."""
        if reading is not None and self._readings.get(name) is reading:
            del self._readings[name]
            self._compare()

    def fits(self, name: str) -> bool:
        """Whether votes may be decided by this clock."""
        return self.agree and name not in self._strayed

    def _compare(self) -> None:
        deciding = {
            name: reading
            for name, reading in self._readings.items()
            if self._deciding is None or name in self._deciding
        }
        agree = not any(one.differs(other) for one in deciding.values() for other in deciding.values())
        if agree != self.agree:
            if agree:
                log.info("queue clocks agree again")
            else:
                log.alarm(
                    "queue clocks differ", ahead_us={name: each.ahead_us for name, each in deciding.items()}
                )
        self.agree = agree
        self._strayed = frozenset(
            name
            for name, reading in self._readings.items()
            if name not in deciding and any(reading.differs(other) for other in deciding.values())
        )
