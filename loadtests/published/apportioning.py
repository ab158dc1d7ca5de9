"""A whole number in given proportions, so that the parts still add up to it."""

from collections.abc import Sequence


def apportioned(parts: Sequence[int], total: int) -> list[int]:
    """`total` in the proportions of `parts`, by largest remainder; the first of equal ones gets the rest."""
    whole = sum(parts)
    if not whole:
        return [0] * len(parts)
    shares = [divmod(part * total, whole) for part in parts]
    rest = total - sum(share for share, _ in shares)
    lucky = sorted(range(len(parts)), key=lambda i: (-shares[i][1], i))[:rest]
    return [share + (i in lucky) for i, (share, _) in enumerate(shares)]
