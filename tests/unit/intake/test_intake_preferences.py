"""Which language and which encoding a client gets, whatever it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake.preferences import LANGUAGES, accepts, preferred_language, weights


@pytest.mark.parametrize(
    ("asked", "header", "language"),
    [
        ("cy", "en", "cy"),
        ("en", "cy", "en"),
        ("fr", "cy", "cy"),
        ("", "", None),
        (None, "", None),
        (None, "fr, de;q=0.5", None),
        (None, "cy", "cy"),
        (None, "CY-gb", "cy"),
        (None, "en-GB,en;q=0.9,cy;q=0.8", "en"),
        (None, "fr, cy;q=0.3, en;q=0.2", "cy"),
        (None, "en;q=0.1, cy;q=0.7", "cy"),
        (None, "cy;q=0, en;q=0.1", "en"),
        (None, "cy;q=0", None),
        (None, "cyx, enx", None),
        (None, "*", None),
        ("CY", "", None),
    ],
)
def test_the_language(asked: str | None, header: str, language: str | None) -> None:
    """What the link says, else what the browser says, else nothing is known."""
    assert preferred_language(asked, header) == language


@pytest.mark.parametrize(
    ("header", "gzip"),
    [
        ("gzip", True),
        ("br, GZIP ;q=0.5", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=2", False),
        ("gzip;q=nan", False),
        ("*;q=1, gzip;q=0", False),
        ("x-gzip", False),
    ],
)
def test_the_encoding(header: str, *, gzip: bool) -> None:
    """Only what is accepted by name, or by the star, with more than nothing."""
    assert accepts(header, "gzip") is gzip


@given(st.text(max_size=200), st.none() | st.text(max_size=5))
def test_nonsense_is_no_preference(header: str, asked: str | None) -> None:
    """Nothing that a header holds is an error."""
    assert preferred_language(asked, header) in {None, *LANGUAGES}
    assert accepts(header, "gzip") in {True, False}
    assert all(0.0 <= weight <= 1.0 for _, weight in weights(header))


def test_long_lists_are_cut() -> None:
    """Whoever names a thousand languages is believed the first few."""
    assert weights("en," * 100 + "cy") == weights("en," * 200)
