"""Edwards25519 in plain integers, for keys and signatures that no honest signer makes."""

import hashlib
from typing import TypeAlias

Point: TypeAlias = tuple[int, int]

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
IDENTITY: Point = (0, 1)


def root(y: int) -> int | None:
    """An x of the point with this y, if the curve has one."""
    square = (y * y - 1) * pow(CURVE * y * y + 1, PRIME - 2, PRIME)
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if (x * x - square) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    return None if (x * x - square) % PRIME else x


def add(one: Point, other: Point) -> Point:
    """The sum of two points."""
    (x1, y1), (x2, y2) = one, other
    k = CURVE * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, PRIME - 2, PRIME)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, PRIME - 2, PRIME)
    return x % PRIME, y % PRIME


def times(factor: int, point: Point) -> Point:
    """`point` added to itself, `factor` of them."""
    found = IDENTITY
    while factor:
        if factor & 1:
            found = add(found, point)
        point, factor = add(point, point), factor >> 1
    return found


def spelt(point: Point) -> bytes:
    """The 32 bytes of a point."""
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _base() -> Point:
    y = 4 * pow(5, PRIME - 2, PRIME) % PRIME
    x = root(y)
    assert x is not None
    return PRIME - x if x & 1 else x, y


def _small() -> Point:
    """A point of order eight."""
    for y in range(2, 100):
        x = root(y)
        if x is not None:
            point = times(ORDER, (x, y))
            if times(4, point) != IDENTITY:
                return point
    raise AssertionError


BASE, SMALL = _base(), _small()


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    """The scalar that ties a signature to its message."""
    return int.from_bytes(hashlib.sha512(r + public + message).digest(), "little") % ORDER


def sign(public: bytes, r: bytes, drawn: int, message: bytes, *, secret: int) -> bytes:
    """What a signer makes who keeps to the equation and to nothing else."""
    return r + ((drawn + challenge(r, public, message) * secret) % ORDER).to_bytes(32, "little")
