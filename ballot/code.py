"""The access code: what a voter holds, how a slip is caught, and the credential that comes from it.

The code itself is never sent, stored or logged: only the credential leaves the voter's device.
"""

from collections.abc import Callable
from typing import Any, Final, NoReturn

from ballot import alphabet
from ballot.suite import SEED_BYTES, SigningKey, hkdf

CODE_SYMBOLS: Final = 20
RANDOM_SYMBOLS: Final = CODE_SYMBOLS - 1
RANDOM_BYTES: Final = 12
_FIELD_POLYNOMIAL: Final = 0b100101

assert RANDOM_BYTES * 8 >= RANDOM_SYMBOLS * alphabet.BITS  # noqa: S101  # a fact about this file, not about input


class CodeMistyped(ValueError):  # noqa: N818  # it is the voter's slip, not a fault
    """What was typed is not an access code; the message says what to look for, never what was typed."""


class Code:
    """An access code: 19 random symbols and a check symbol. Only `text()` shows it."""

    __slots__ = ("_symbols",)

    def __init__(self, symbols: str) -> None:
        if len(symbols) != CODE_SYMBOLS or check_symbol(symbols[:-1]) != symbols[-1]:
            raise ValueError("These are not the symbols of an access code.")
        self._symbols = symbols

    @classmethod
    def draw(cls, random: Callable[[int], bytes]) -> "Code":
        """A new code from the first 95 of the 96 bits of `random(12)`."""
        value = int.from_bytes(random(RANDOM_BYTES), "big") >> (
            RANDOM_BYTES * 8 - RANDOM_SYMBOLS * alphabet.BITS
        )
        symbols = alphabet.write(value, RANDOM_SYMBOLS)
        return cls(symbols + check_symbol(symbols))

    @classmethod
    def parse(cls, text: str) -> "Code":
        """The code a person typed, in any case and grouping."""
        symbols = alphabet.read(text)
        if symbols is None:
            raise CodeMistyped("An access code has only letters and digits, and never the letter U.")
        if len(symbols) != CODE_SYMBOLS:
            raise CodeMistyped(
                f"An access code has {CODE_SYMBOLS} letters and digits; this has {len(symbols)}."
            )
        if check_symbol(symbols[:-1]) != symbols[-1]:
            raise CodeMistyped(
                "This access code has a slip in it; compare it with your letter, letter by letter."
            )
        return cls(symbols)

    def text(self) -> str:
        """The code as printed: five groups of four."""
        return alphabet.grouped(self._symbols)

    def signing_key(self, ballot_id: str) -> SigningKey:
        """The voter's signing key on this ballot; another ballot's is unrelated."""
        return SigningKey.from_seed(key_seed(self._symbols, ballot_id))

    def credential(self, ballot_id: str) -> bytes:
        """The public half of the signing key, 32 bytes."""
        return self.signing_key(ballot_id).public

    def __repr__(self) -> str:
        return "<Code redacted>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("An access code is never pickled or copied.")


def key_seed(symbols: str, ballot_id: str) -> bytes:
    """The seed of the signing key of the code with these 20 canonical `symbols`, on one ballot."""
    salt = b"strike-ballot/v1/" + ballot_id.encode()
    return hkdf(symbols.encode(), salt=salt, info=b"credential", length=SEED_BYTES)


def check_symbol(symbols: str) -> str:
    """The check symbol of 19 canonical `symbols`: the sum of alpha^(i+1) x_i over GF(32).

    By Horner's rule from the last. Weights of any two places differ and none is zero, so every single wrong
    symbol and every swap of neighbours shows.
    """
    total = 0
    for symbol in reversed(symbols):
        total = _times_alpha(total ^ alphabet.VALUES[symbol])
    return alphabet.SYMBOLS[total]


def _times_alpha(value: int) -> int:
    value <<= 1
    return value ^ _FIELD_POLYNOMIAL if value & 32 else value
