"""The report tells how many tried and were never counted, and by how much the leading option leads."""

import json
from pathlib import Path

import pytest

from loadtests.report import document, page, tried

RECORD = {
    "attempts": 1234,
    "never_succeeded": {
        "voters": 5,
        "while_open": 3,
        "near_outage": 2,
        "why": {"ready": 3, "after": 2, "revoked": 0, "made up": 7},
        "by_hour": [],
    },
    "margins": [{"question": "strike", "leading": "yes", "next": "no", "votes": 1300}],
}


def test_what_is_on_record_is_told() -> None:
    """Each reason that anybody had, and the margin of each question."""
    assert tried.rows(tried.kept(RECORD)) == [
        ("attempts on record beside accepted votes", "1,234"),
        ("voters who tried, and from whom nothing was counted", "5"),
        ("… who were told that their code is good, and no vote came", "3"),
        ("… who tried only after it closed", "2"),
        ("… who tried last in an outage, or just before one", "2"),
        ("votes by which yes is before no in strike", "1,300"),
    ]


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"never_succeeded": 3}, {"never_succeeded": {"voters": "many"}}],
)
def test_what_is_not_recorded_is_left_out(value: object) -> None:
    """A run from before, or a file that is not what was agreed, has no such table and no crash."""
    assert tried.kept(value) == {}
    assert tried.rows({}) == []


def test_a_record_in_parts_is_told_in_parts() -> None:
    """Without margins or reasons the rest still stands."""
    record = tried.kept({"never_succeeded": {"voters": 0}, "margins": [1, {"votes": "x"}]})
    assert tried.rows(record)[1] == ("voters who tried, and from whom nothing was counted", "0")


def test_the_page_shows_it(tmp_path: Path) -> None:
    """Beside the availability record; a record without it has no such table."""
    for value, there in (({"agree": True, "attempts": RECORD}, True), ({"agree": True}, False)):
        (tmp_path / "availability.json").write_text(json.dumps(value))
        shown = page.render(document.build(tmp_path))
        assert ("from whom nothing was counted" in shown) is there
