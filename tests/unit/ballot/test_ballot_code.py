"""Access codes: every slip is caught, the credential follows from the code, the code never shows."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballot.alphabet import SYMBOLS
from ballot.code import Code, CodeMistyped, check_symbol

CODES = st.binary(min_size=12, max_size=12).map(lambda drawn: Code.draw(lambda _: drawn))
PLACES = st.integers(0, 19)


def plain(code: Code) -> str:
    """The 20 symbols without hyphens."""
    return code.text().replace("-", "")


def field_check_symbol(symbols: str) -> str:
    """The check symbol by the published formula, term by term."""
    total = 0
    for i, symbol in enumerate(symbols):
        term = SYMBOLS.index(symbol)
        for _ in range(i + 1):
            term <<= 1
            if term & 32:
                term ^= 0b100101
        total ^= term
    return SYMBOLS[total]


def test_published_check_symbol() -> None:
    """The interface's own example holds."""
    assert check_symbol("0123456789ABCDEFGHJ") == "4"


@given(CODES)
def test_check_symbol_is_the_published_sum(code: Code) -> None:
    """Horner's rule gives the sum of alpha^(i+1) x_i."""
    assert field_check_symbol(plain(code)[:-1]) == plain(code)[-1]


@given(CODES, PLACES, st.integers(1, 31))
def test_every_single_substitution_is_caught(code: Code, place: int, shift: int) -> None:
    """One wrong symbol, the check symbol included, is never accepted."""
    symbols = plain(code)
    wrong = SYMBOLS[(SYMBOLS.index(symbols[place]) + shift) % 32]

    with pytest.raises(CodeMistyped):
        Code.parse(symbols[:place] + wrong + symbols[place + 1 :])


@given(CODES, st.integers(0, 18))
def test_every_swap_of_neighbours_is_caught(code: Code, place: int) -> None:
    """Two different neighbours exchanged, the check symbol included, are never accepted."""
    symbols = plain(code)
    swapped = symbols[:place] + symbols[place + 1] + symbols[place] + symbols[place + 2 :]

    if swapped == symbols:
        assert Code.parse(swapped).text() == code.text()
    else:
        with pytest.raises(CodeMistyped):
            Code.parse(swapped)


@given(CODES)
def test_text_reads_back(code: Code) -> None:
    """What is printed is what is read, in any case and grouping."""
    printed = code.text()
    typed = " ".join(printed.replace("-", "").lower()).replace("0", "o").replace("1", "l")

    assert Code.parse(printed).text() == Code.parse(typed).text() == printed
    assert Code.parse(printed).credential("b") == code.credential("b")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "this has 0"),
        ("0123-4567-89AB-CDEF-GHJ", "this has 19"),
        ("0123-4567-89AB-CDEF-GHJ44", "this has 21"),
        ("U123-4567-89AB-CDEF-GHJ4", "never the letter U"),
        ("0123-4567-89AB-CDEF-GHJ\u0664", "letters and digits"),
        ("0123-4567-89AB-CDEF-GHJ5", "slip"),
        ("0123_4567_89AB_CDEF_GHJ4", "letters and digits"),
    ],
    ids=["empty", "short", "long", "letter-u", "foreign-digit", "wrong-check", "underscore"],
)
def test_mistyped_code_gets_one_sentence(typed: str, sentence: str) -> None:
    """Each slip is named without repeating what was typed."""
    with pytest.raises(CodeMistyped, match=sentence) as caught:
        Code.parse(typed)

    assert not typed or typed not in str(caught.value)


def test_ballots_do_not_share_credentials() -> None:
    """One code gives unrelated credentials on two ballots."""
    code = Code.parse("0123456789ABCDEFGHJ4")

    assert code.credential("one") != code.credential("two")


def test_code_never_shows() -> None:
    """Neither printing, nor formatting, nor pickling, nor copying gives a code away."""
    code = Code.parse("0123456789ABCDEFGHJ4")

    assert "4567" not in f"{code} {code!r}"
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never"):
            act(code)
