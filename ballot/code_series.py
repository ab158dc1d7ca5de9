"""Access codes by the thousand: the codes and credentials of `ballot/code.py` in three quarters of the time.

`ballot/code.py` says what a code is; the tests hold this against it. The codes are plain text here, because
they are on their way into the dispatch file and nowhere else.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ballot import alphabet
from ballot.code import CODE_SYMBOLS, RANDOM_BYTES, RANDOM_SYMBOLS, check_symbol, key_seed
from ballot.suite import public_key

_PAIR_BITS: Final = 2 * alphabet.BITS
_PAIR_MASK: Final = (1 << _PAIR_BITS) - 1
_WHOLE_PAIRS: Final = RANDOM_SYMBOLS // 2
_SPARE_BITS: Final = RANDOM_BYTES * 8 - RANDOM_SYMBOLS * alphabet.BITS

_PAIRS: Final = tuple(alphabet.write(value, 2) for value in range(1 << _PAIR_BITS))
"""Two symbols at once. Nine pairs are random; in the tenth the second is the check symbol."""


def _shares(place: int) -> list[int]:
    """What each symbol at `place` adds to the check symbol: that is a sum, so the places add up."""
    before, after = alphabet.SYMBOLS[0] * place, alphabet.SYMBOLS[0] * (RANDOM_SYMBOLS - place - 1)
    return [alphabet.VALUES[check_symbol(before + symbol + after)] for symbol in alphabet.SYMBOLS]


_SHARES: Final = [_shares(place) for place in range(RANDOM_SYMBOLS)]
_CHECKS: Final = [
    [first ^ second for first in _SHARES[place] for second in _SHARES[place + 1]]
    for place in range(0, 2 * _WHOLE_PAIRS, 2)
]
_LAST_CHECKS: Final = _SHARES[-1]


def draw(count: int, *, random: Callable[[int], bytes]) -> list[str]:
    """`count` new codes as printed, each from its 12 bytes of `random(12 * count)`."""
    drawn = random(RANDOM_BYTES * count)
    return [
        _printed(int.from_bytes(drawn[start : start + RANDOM_BYTES], "big") >> _SPARE_BITS)
        for start in range(0, len(drawn), RANDOM_BYTES)
    ]


def _printed(value: int) -> str:
    last = value & (1 << alphabet.BITS) - 1
    rest = value >> alphabet.BITS
    check = _LAST_CHECKS[last]
    pairs = []
    for checks in reversed(_CHECKS):
        pair = rest & _PAIR_MASK
        rest >>= _PAIR_BITS
        check ^= checks[pair]
        pairs.append(_PAIRS[pair])
    i, h, g, f, e, d, c, b, a = pairs
    return f"{a}{b}-{c}{d}-{e}{f}-{g}{h}-{i}{_PAIRS[last << alphabet.BITS | check]}"


def credentials(texts: Sequence[str], ballot_id: str) -> list[bytes]:
    """The credentials of codes as printed, on one ballot.

    All seeds first, then all keys: each of the two then stays in the processor's cache, which is an eighth.
    """
    seeds = [key_seed(text.replace("-", ""), ballot_id) for text in texts]
    return [public_key(seed) for seed in seeds]


assert CODE_SYMBOLS == 2 * (_WHOLE_PAIRS + 1)  # noqa: S101  # a fact about this file, not about input
