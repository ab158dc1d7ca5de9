"""The fuse: when too much would go to quarantine for reasons only our fault explains, storing stops."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ballot.rejection import Rejection

WINDOW_ENTRIES: Final = 100
OURS_MAX: Final = 10
"""More than this many of the last WINDOW_ENTRIES entries, that is more than 10 %, blows it. It does not wait
for a full window: what comes in small batches would be gone by then."""

OURS: Final = frozenset({Rejection.UNREADABLE.value, Rejection.NOT_IN_REGISTER.value})
"""A wrong key or a missing register. A hostile voter can cause the others, so they never count."""

assert OURS_MAX * 10 == WINDOW_ENTRIES  # noqa: S101  # ours: the two constants are one ratio


class FuseBlownError(Exception):
    """Too many entries are unreadable or not in the register: nothing of this batch may be kept."""


@dataclass(frozen=True, slots=True)
class Fuse:
    """The last entries' verdicts, oldest first; true where the fault looks like ours."""

    seen: tuple[bool, ...] = ()

    def after(self, statuses: Iterable[str]) -> Self:
        """The fuse after these newly judged entries; FuseBlownError if it blows at any of them.

        The caller keeps the new one only once the batch is committed: a batch tried again counts once.
        """
        seen = list(self.seen)
        for status in statuses:
            seen.append(status in OURS)
            window = seen[-WINDOW_ENTRIES:]
            if sum(window) > OURS_MAX:
                raise FuseBlownError(
                    f"{sum(window)} of the last {len(window)} entries are unreadable or not in the register"
                )
        return type(self)(tuple(seen[-WINDOW_ENTRIES:]))


def share_is_fine(statuses: Iterable[str]) -> bool:
    """Whether at most one in ten of these, however many they are, looks like our fault."""
    ours = [status in OURS for status in statuses]
    return sum(ours) * WINDOW_ENTRIES <= OURS_MAX * len(ours)
