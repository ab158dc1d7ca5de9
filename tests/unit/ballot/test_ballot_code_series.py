"""Codes by the thousand are the codes of `ballot/code.py`: same bytes in, same code and credential out."""

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ballot import code_series
from ballot.code import Code
from ballot.encoding import b64encode
from ballot.suite import SigningKey, public_key

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "code.json").read_text())
DRAWN = st.lists(st.binary(min_size=12, max_size=12), max_size=5)


def one_by_one(drawn: list[bytes]) -> list[Code]:
    """What `ballot/code.py` draws from the same bytes."""
    return [Code.draw(lambda _, each=each: each) for each in drawn]  # type: ignore[misc]  # a lambda's default


@given(DRAWN)
@settings(max_examples=300)
def test_a_series_draws_the_codes_that_single_draws_give(drawn: list[bytes]) -> None:
    """Tables and pairs of symbols change nothing, and every code has its check symbol."""
    found = code_series.draw(len(drawn), random=lambda _: b"".join(drawn))

    assert found == [code.text() for code in one_by_one(drawn)]
    assert [Code.parse(text).text() for text in found] == found


@given(DRAWN, st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40))
@settings(max_examples=50)
def test_a_series_has_the_credentials_of_its_codes(drawn: list[bytes], ballot: str) -> None:
    """The voter's device, which knows one code, comes to the credential that was issued."""
    codes = one_by_one(drawn)

    found = code_series.credentials([code.text() for code in codes], ballot)

    assert found == [code.credential(ballot) for code in codes]


def test_the_vectors_hold_for_a_series() -> None:
    """Published bytes, codes and credentials, all in one draw."""
    cases = VECTORS["codes"]
    drawn = b"".join(bytes.fromhex(case["random"]) for case in cases)

    codes = code_series.draw(len(cases), random=lambda count: drawn[:count])
    found = code_series.credentials(codes, cases[0]["ballot"])

    assert codes == [case["code"] for case in cases]
    assert [b64encode(credential) for credential in found] == [case["credential"] for case in cases]


def test_each_code_of_a_series_has_bytes_of_its_own() -> None:
    """One call asks for twelve bytes a code, and no two codes share any."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    codes = code_series.draw(20, random=random)

    assert asked == [240]
    assert codes == [
        Code.draw(lambda _, start=start: bytes(range(start, start + 12))).text()  # type: ignore[misc]  # as above
        for start in range(0, 240, 12)
    ]


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=50)
def test_a_public_key_is_that_of_the_signing_key(seed: bytes) -> None:
    """Whoever needs only the public half gets the same one."""
    assert public_key(seed) == SigningKey.from_seed(seed).public
