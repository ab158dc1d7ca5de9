"""Voters told that their vote is taken, who have none: excused by what recoveries lost, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ops.check import findings
from ops.check.scratch import scratch

if TYPE_CHECKING:
    from pathlib import Path

Lost = tuple[int, int, int, int]


def flagged(folder: Path, told: dict[str, int], lost: list[Lost]) -> list[str]:
    """Whose vote is a finding: `told` is when somebody was told, `lost` ranges with their events' times."""
    with scratch(folder) as tables:
        tables.add("repeated", [(name.encode(), 0, at) for name, at in told.items()])
        tables.add("numbers_given_up", lost)
        tables.index()
        findings.make_views(tables)
        [query] = [query for _, query in findings.queries().kinds if "there is no vote of it" in query]
        found = [where for where, _ in tables.ask(query)]
        return sorted(bytes.fromhex(where.split()[1]).decode() for where in found)


@pytest.mark.parametrize(
    ("told", "lost", "found"),
    [
        pytest.param({"a": 5, "b": 6}, [(0, 3, 4, 10)], "", id="as many as were lost"),
        pytest.param({"a": 5, "b": 6, "c": 7}, [(0, 3, 4, 10)], "abc", id="more than were lost"),
        pytest.param({"a": 5, "b": 11}, [(0, 3, 4, 10)], "b", id="told after the recovery"),
        pytest.param(
            {"a": 11, "b": 12}, [(0, 3, 4, 10), (0, 6, 6, 20)], "ab", id="lost before they were told"
        ),
        pytest.param({"a": 5, "b": 11}, [(0, 3, 4, 10), (0, 6, 6, 20)], "", id="two recoveries"),
    ],
)
def test_who_was_told_is_excused_by_what_was_lost_later(
    tmp_path: Path, told: dict[str, int], lost: list[Lost], found: str
) -> None:
    """By numbers that a later event named first, as many as there are."""
    assert flagged(tmp_path, told, lost) == list(found)
