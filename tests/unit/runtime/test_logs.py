"""A log line is JSON, says when, who and what, and never shows bytes or secrets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from runtime import logs
from runtime.home import Home, Redacted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Log into a home of the test's own, and put the logging module back as it was."""
    before = logging.getLogger().handlers[:]
    home = Home.from_environment({"BALLOT_HOME": str(tmp_path)})
    logs.configure("tester", home)
    yield home
    logs.configure("ballot")
    logging.getLogger().handlers[:] = before


def lines(home: Home) -> list[dict[str, Any]]:
    """Return the lines logged so far."""
    return [orjson.loads(line) for line in (home.logs / "tester.log").read_bytes().splitlines()]


def test_a_line_says_when_who_and_what(home: Home) -> None:
    """Every line carries time, level, process, part and action, and the fields given."""
    logs.get("store").alarm("conflict", count=3, reasons={"a": 1})

    (line,) = lines(home)
    assert line["at"].endswith("Z")
    assert (line["level"], line["process"], line["part"]) == ("alarm", "tester", "store")
    assert (line["action"], line["count"], line["reasons"]) == ("conflict", 3, {"a": 1})


def test_bytes_and_secrets_are_never_printed(home: Home) -> None:
    """Of bytes, however deep, only length and eight digits of a digest appear; of a secret nothing."""
    code = b"0123456789ABCDEFGHJ4"
    log = logs.get("x")
    log.info("a", code=code, nested=[{"deep": (bytearray(code),)}], view=memoryview(code))
    log.info("b", password=Redacted("hunter2"))

    text = (home.logs / "tester.log").read_text()
    assert "0123456789" not in text
    assert "hunter2" not in text
    assert lines(home)[0]["code"].startswith("<20 bytes sha256:")


def test_a_field_cannot_overwrite_who_wrote_the_line(home: Home) -> None:
    """A field named like one of the line's own is left out."""
    logs.get("x").info("a", level="alarm", process="other")

    assert (lines(home)[0]["level"], lines(home)[0]["process"]) == ("info", "tester")


def test_odd_values_do_not_break_the_log(home: Home) -> None:
    """Anything can be logged: huge numbers, exceptions, sets, objects, lone surrogates, endless text."""
    logs.get("x").error("a", big=1 << 80, error=ValueError("no"), some={1}, thing=object(), text="x" * 5000)
    logs.get("x").error("b", broken="\ud800")

    assert lines(home)[0]["error"] == "ValueError: no"
    assert lines(home)[0]["big"] == str(1 << 80)
    assert len(lines(home)[0]["text"]) == logs.TEXT_CHARACTERS_MAX
    assert lines(home)[1]["action"] == "b"


def test_libraries_warnings_become_lines(home: Home) -> None:
    """A library's warning and its exception are lines like ours."""
    logging.getLogger("aiohttp").error("request failed", exc_info=OSError("gone"))

    (line,) = lines(home)
    assert (line["level"], line["part"], line["error"]) == ("error", "aiohttp", "OSError: gone")
