"""What the checker reads besides votes: results, recoveries, quarantined entries, what voters sent."""

import json
from pathlib import Path
from typing import Any

import click
import pytest

from ballot import signed
from ballot.books import Books
from ballot.encoding import b64encode
from ballot.suite import SigningKey
from ops.check import kept_record, recovered, result
from ops.check.kept_record import KeptRecord
from ops.check.receipts import read_attempts
from ops.check.scratch import Scratch, scratch
from ops.check.store_side import BallotRecord

KEY = SigningKey.from_seed(bytes(32))
TERMS = dict.fromkeys(Books.__dataclass_fields__, 0) | {
    "entitled": 9,
    "issued": 9,
    "used": 4,
    "unused": 5,
    "accepted": 4,
    "stored": 4,
    "voted_electronic": 4,
}
BOOKS = Books(**TERMS)
RECORD = BallotRecord(
    "industrial-action", electronic=True, shards=1, definition_sha256=bytes(32), opens_us=1, closes_us=2
)


def made(**changed: Any) -> dict[str, Any]:
    """A result of those books, signed."""
    books = {**TERMS, "opened": 3, "set_aside": 1} | changed
    return signed.sign_object(
        {"ballot": "pay", "definition_sha256": "00" * 32, "books": books}, label=signed.RESULT_LABEL, key=KEY
    )


def faults(value: dict[str, Any], ballot: str = "pay") -> list[str]:
    """What the checker says of a result."""
    return [what for _, what in result._faults(value, ballot, RECORD, BOOKS, KEY.public)]


def test_a_result_of_these_books_is_well() -> None:
    """Each term the same, each stored vote opened or set aside."""
    assert faults(made()) == []


def test_a_result_of_other_books_is_named_by_term() -> None:
    """Whoever signed it."""
    assert faults(made(stored=5)) == ["the result says 5; there are 4"]
    assert faults(made(opened=4)) == ["4 votes are stored; the result opened or set aside [4, 1]"]
    assert faults(made(opened="3")) == ["4 votes are stored; the result opened or set aside ['3', 1]"]
    assert faults(made(), "other") == ["the result is of another ballot or definition"]


def test_a_changed_result_is_not_signed() -> None:
    """One more for yes."""
    assert faults({**made(), "votes_cast": 5}) == ["the result is not signed by the result key on record"]


def test_what_is_no_result_is_one_sentence(tmp_path: Path) -> None:
    """Junk, and JSON of another kind."""
    for junk in (b"\xff", b"[]", b'{"books": 1}', b""):
        (tmp_path / "r").write_bytes(junk)
        with pytest.raises(click.ClickException, match="is not a result"):
            result.read_result(tmp_path / "r")


def test_ranges_of_several_recoveries_are_joined() -> None:
    """What touches or overlaps is one range; shards are apart."""
    assert recovered.joined([(1, 9, 9), (0, 5, 7), (0, 8, 8), (0, 6, 6), (0, 20, 21)]) == [
        (0, 5, 8),
        (0, 20, 21),
        (1, 9, 9),
    ]


def test_a_number_is_given_up_when_it_was_first_named() -> None:
    """A later event that names it again does not move it; what the newest has no longer is not given up."""
    first, second = [(0, 5, 9), (1, 1, 1)], [(0, 3, 7), (1, 1, 1)]
    found = recovered._first_named([(0, 3, 7), (1, 1, 1)], [(first, 100), (second, 200)])
    assert sorted(found) == [(0, 3, 4, 200), (0, 5, 7, 100), (1, 1, 1, 100)]


def test_a_recovery_of_an_odd_form_accounts_for_nothing() -> None:
    """Numbers that are none, shards that are none, ranges that are no pairs."""
    odd = {"0": [[1, 2], [3], ["4", 5], 6], "x": [[1, 1]], "1": 7}

    assert list(recovered._ranges(odd)) == [(0, 1, 2)]
    assert list(recovered._ranges([1])) == []
    assert list(recovered._references(["no reference", 5])) == [("no reference",)]


def record(**fields: bytes) -> bytes:
    """A quarantined entry as workers keep it."""
    return json.dumps({name: b64encode(value) for name, value in fields.items()}).encode()


def test_a_quarantined_entry_is_read_as_far_as_it_goes() -> None:
    """A vote, a paper that counts, one that lost, and junk."""
    assert kept_record.parse(record(k=b"v", t=b"17", n=b"3")) == KeptRecord("vote", 17, 3)
    assert kept_record.parse(record(k=b"v", t=b"x", n=b"-3")) == KeptRecord("vote", None, None)
    assert kept_record.parse(record(k=b"r", t=b"17", won=b"1", m=b"postal")) == KeptRecord("postal", 17)
    for junk in (
        record(k=b"r", won=b"0", m=b"postal"),
        record(k=b"r", won=b"1", m=b"carrier"),
        b"",
        b"[1]",
        b"{}",
    ):
        assert kept_record.parse(junk) == kept_record.UNKNOWN


def test_what_voters_sent_is_of_this_ballot_and_in_one_form(tmp_path: Path) -> None:
    """A line each; what is not is one sentence with its line."""
    file = tmp_path / "attempts.jsonl"
    good = json.dumps({"ballot": "pay", "sealed_sha256": "ab" * 32})
    with scratch(tmp_path) as tables:
        file.write_text(f"{good}\n\n{good}\n")
        read_attempts(file, "pay", tables)
        assert _count(tables) == 2
        for odd in ("[]", "{}", '{"ballot": "pay", "sealed_sha256": "ab"}', good.replace("pay", "other")):
            file.write_text(f"{good}\n{odd}\n")
            with pytest.raises(click.ClickException, match="line 2"):
                read_attempts(file, "pay", tables)


def _count(tables: Scratch) -> int:
    return tables.count("SELECT count(*) FROM attempts")
