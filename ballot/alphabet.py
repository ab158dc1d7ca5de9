"""Crockford's 32 symbols, as people type them: for access codes and references."""

from typing import Final

SYMBOLS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
VALUES: Final = {symbol: value for value, symbol in enumerate(SYMBOLS)}
BITS: Final = 5

_INVISIBLE: Final = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""What comes along unseen when a code is copied from a letter or a message."""

_IGNORED: Final = frozenset("-\u2010\u2011\u2012\u2013\u2014\u2212" + _INVISIBLE)
_READ_AS: Final = (
    {symbol: symbol for symbol in SYMBOLS}
    | {symbol.lower(): symbol for symbol in SYMBOLS}
    | {"O": "0", "o": "0", "I": "1", "i": "1", "L": "1", "l": "1"}
)


def read(text: str) -> str | None:
    """`text` in canonical upper case; None if it holds a symbol that is never used.

    O is read as 0, I and L as 1; spaces, hyphens and what cannot be seen are ignored.
    """
    symbols = []
    for typed in text:
        if typed in _IGNORED or typed.isspace():
            continue
        symbol = _READ_AS.get(typed)
        if symbol is None:
            return None
        symbols.append(symbol)
    return "".join(symbols)


PAIRS: Final = tuple(first + second for first in SYMBOLS for second in SYMBOLS)


def write(value: int, count: int) -> str:
    """The lowest `count` times five bits of `value` as `count` symbols, most significant first."""
    if count % 2:
        return SYMBOLS[value >> BITS * (count - 1) & 31] + write(value, count - 1)
    return "".join([PAIRS[value >> shift & 1023] for shift in range(BITS * (count - 2), -1, -2 * BITS)])


def grouped(symbols: str) -> str:
    """`symbols` in groups of four with hyphens."""
    return "-".join(symbols[start : start + 4] for start in range(0, len(symbols), 4))
