"""The fuse: when too much would go to quarantine for reasons only our fault explains, the worker stops."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ballot.rejection import Rejection
from runtime.lifecycle import Fatal

WINDOW_ENTRIES: Final = 100
OURS_MAX: Final = 10
"""More than this many of the last WINDOW_ENTRIES entries, that is more than 10 %, trips it."""

OURS: Final = frozenset({Rejection.UNREADABLE.value, Rejection.NOT_IN_REGISTER.value})
"""A wrong key or a missing register. A hostile voter can cause the others, so they never count."""

assert OURS_MAX * 10 == WINDOW_ENTRIES  # noqa: S101  # ours: the two constants are one ratio


class FuseBlownError(Fatal):
    """Too many entries are unreadable or not in the register: look for a wrong key, then start again."""


@dataclass(frozen=True, slots=True)
class Fuse:
    """The last entries' verdicts, oldest first; true where the fault looks like ours."""

    seen: tuple[bool, ...] = ()

    def after(self, statuses: Iterable[str]) -> Self:
        """The fuse after these newly judged entries; FuseBlownError if it trips at any of them.

        The caller keeps the new one only once the batch is committed: a batch tried again counts once.
        """
        seen = list(self.seen)
        for status in statuses:
            seen.append(status in OURS)
            window = seen[-WINDOW_ENTRIES:]
            if len(window) == WINDOW_ENTRIES and sum(window) > OURS_MAX:
                raise FuseBlownError(
                    f"{sum(window)} of the last {WINDOW_ENTRIES} votes are unreadable or not in the register"
                )
        return type(self)(tuple(seen[-WINDOW_ENTRIES:]))
