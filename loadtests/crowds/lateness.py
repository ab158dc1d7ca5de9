"""How many of a run's requests may be sent late by the generator before what it found is void.

One in a hundred may, of a thousand and more. Of fewer that hundredth would be a handful, or none at all, and
a single one decide: of those ten may, but no more than half. None may be a second late, of however many.
A latency counts from the planned moment all the same: what is late makes no figure better.
"""

LATE_MS_MAX = 100.0
VERY_LATE_MS_MAX = 1_000.0
MANY = 1_000
FEW = 10


def allowed(of: int) -> int:
    """How many of so many may be later than LATE_MS_MAX."""
    return of // 100 if of >= MANY else min(FEW, -(-of // 2))
