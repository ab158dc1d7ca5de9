"""What goes in one round: votes first, every shard in turn, and a few calls that votes never fill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intake.gate import ACCESS, CAST
from intake.lines import ACCESS_CALLS, ROUND_CALLS_MAX, Item, Lines

if TYPE_CHECKING:
    from intake.gate import Decision


def add(lines: Lines, function: str, shards: range) -> None:
    """Let one item wait for each shard."""

    def done(decision: Decision | None) -> None:
        raise AssertionError(decision)

    for shard in shards:
        lines.add(Item(function, "b", shard, (b"x",), 1.0, done, function))


def test_votes_on_many_shards_leave_calls_for_access_requests() -> None:
    """More busy vote lines than a round has calls: votes go first, and the few that are kept go too."""
    lines = Lines()
    add(lines, ACCESS, range(ACCESS_CALLS))
    add(lines, CAST, range(ROUND_CALLS_MAX))
    functions = [call.function for call in lines.take().calls]

    assert functions == [CAST] * (ROUND_CALLS_MAX - ACCESS_CALLS) + [ACCESS] * ACCESS_CALLS


def test_every_line_has_its_turn() -> None:
    """Whatever votes come, each access line goes within a few rounds, and each vote line as well."""
    lines = Lines()
    add(lines, CAST, range(100))
    add(lines, ACCESS, range(20))
    taken = [[(call.function, call.shard) for call in lines.take().calls] for _ in range(2)]

    assert [len(round_) for round_ in taken] == [ROUND_CALLS_MAX, 120 - ROUND_CALLS_MAX]
    assert [shard for round_ in taken for function, shard in round_ if function == CAST] == [*range(100)]
    assert [shard for round_ in taken for function, shard in round_ if function == ACCESS] == [*range(20)]
    assert not lines


def test_without_access_requests_votes_have_all_calls() -> None:
    """And without votes, access requests do."""
    for function in (CAST, ACCESS):
        lines = Lines()
        add(lines, function, range(ROUND_CALLS_MAX + 1))
        assert len(lines.take().calls) == ROUND_CALLS_MAX
