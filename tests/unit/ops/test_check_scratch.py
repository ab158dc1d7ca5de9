"""The checker's scratch file: gone after the check, and one sentence when there is no room for it."""

import sqlite3
from pathlib import Path

import click
import pytest

from ops.check.scratch import scratch


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """No traceback, and nothing left behind."""
    with (  # noqa: PT012  # the room runs out inside
        pytest.raises(click.ClickException, match="there is no room in"),
        scratch(tmp_path) as tables,
    ):
        pages = tables.count("PRAGMA page_count")
        tables.count(f"PRAGMA max_page_count = {pages + 1}")
        tables.add("electorate", [(number.to_bytes(16, "big"),) for number in range(10_000)])

    assert not list(tmp_path.iterdir())


def test_a_fault_of_ours_stays_loud(tmp_path: Path) -> None:
    """A query that is wrong is a bug, and shows as one."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"), scratch(tmp_path) as tables:
        tables.count("SELECT count(*) FROM nowhere")

    assert not list(tmp_path.iterdir())
