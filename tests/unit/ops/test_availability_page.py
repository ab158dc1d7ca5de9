"""The record reads well and truly: no outage is rounded away or lost from the picture, and counts add up."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ops.availability.attempts import WHY, Attempts, Margin, Never, Outcome, margins, queries
from ops.availability.forms import as_csv, as_json
from ops.availability.page import as_text, duration, percent
from ops.availability.record import Record, UnconfirmedHour, Window
from ops.availability.strip import LINES_MAX, strip
from ops.availability.timeline import Timeline, Turn, draw
from ops.monitor import journal
from ops.monitor.intervals import Interval, State

S = 1_000_000
HOUR = 3_600 * S
OPENS = 1_751_360_400 * S  # 2025-07-01T09:00:00Z
WEEKS = 28 * 24 * HOUR


def month(*down: tuple[int, int], turns: Sequence[Turn] = ()) -> Timeline:
    """Four weeks of votes taken, but for these seconds after the opening."""
    lane, reached = [], OPENS
    for start, end in down:
        lane.append(Interval(reached, OPENS + start * S, State.UP))
        lane.append(Interval(OPENS + start * S, OPENS + end * S, State.DOWN, "http 503"))
        reached = OPENS + end * S
    lane.append(Interval(reached, OPENS + WEEKS, State.UP))
    return draw([lane], turns, from_us=OPENS, to_us=OPENS + WEEKS)


def record(timeline: Timeline, turns: Sequence[Turn] = ()) -> Record:
    """The record around a timeline."""
    window = Window(OPENS, OPENS + WEEKS, timeline.from_us, timeline.to_us, OPENS + WEEKS + S)
    return Record(window, {"monitor": []}, turns)


TRIED = Attempts(
    attempts=30,
    codes=7,
    outcomes=[
        Outcome(None, "access", "ready", 20, 6),
        Outcome(None, "vote", "used", 10, 1),
        Outcome(OPENS, "access", "ready", 20, 6),
        Outcome(OPENS + HOUR, "vote", "used", 10, 1),
    ],
    never=[Never(OPENS, "ready", 3, 3, 5, 2), Never(OPENS + WEEKS, "after", 4, 4, 4, 0)],
    margins=[Margin("strike", "yes", "no", 3), Margin("asos", "yes", "no", 4)],
)


def test_an_outage_is_never_rounded_away() -> None:
    """Three seconds in four weeks still keep it below 100 %."""
    assert percent(1.0) == "100.0000 %"
    assert percent(0.99999999) == "99.9999 %"
    assert percent(None) == "unknown"
    text = as_text("tube", record(found := month((100, 103))), found, None)
    assert "votes were taken 99.9998 % of the time on record, which is 100.0000 % of all" in text


def test_the_picture_shows_the_shortest_outage() -> None:
    """A day a line, half an hour a sign; each sign is the worst of its part."""
    lines = list(strip(month((5 * 86_400, 5 * 86_400 + 3))))
    assert len(lines) == 29
    assert lines[0].split("  ")[-1].strip() == "-" * 30
    assert [line.count("X") for line in lines].index(1) == 5
    assert lines[5].index("X") - lines[6].index("-") == 18


@pytest.mark.parametrize(
    ("seconds", "lines"), [(59, 1), (7_200, 12), (2 * 86_400, 48), (60 * 86_400, 60), (4_000 * 86_400, 63)]
)
def test_the_picture_fits_a_screen(seconds: int, lines: int) -> None:
    """However long the ballot is, the scale follows, and what is cut off is said."""
    from_us = 1_751_328_000 * S  # midnight
    timeline = draw([], [], from_us=from_us, to_us=from_us + seconds * S)
    found = list(strip(timeline))
    assert len(found) == lines <= LINES_MAX + 1
    assert all(len(line) <= 90 for line in found)
    assert all("?" in line for line in found[:LINES_MAX])


def test_a_planned_outage_is_told_as_one() -> None:
    """Its sign, its line and its reason differ from those of a fault."""
    turns = [
        Turn(OPENS, "monitor", started=True),
        Turn(OPENS + HOUR, "monitor", started=False),
        Turn(OPENS + 2 * HOUR, "monitor", started=True),
    ]
    lane = [Interval(OPENS, OPENS + HOUR, State.UP), Interval(OPENS + 2 * HOUR, OPENS + WEEKS, State.UP)]
    timeline = draw([lane], turns, from_us=OPENS, to_us=OPENS + WEEKS)
    text = as_text("tube", record(timeline, turns), timeline, None)
    assert "PP---" in text
    assert "2025-07-01T10:00:00Z  2025-07-01T11:00:00Z      1:00:00  planned: the service was asked" in text
    told = json.loads(as_json("tube", record(timeline, turns), timeline, None))
    assert [(each["seconds"], each["planned"]) for each in told["outages"]] == [(3600.0, True)]
    assert [each["started"] for each in told["service"]] == [True, False, True]


def test_more_outages_than_fit_are_counted() -> None:
    """Forty lines, and how many are left for the export, which has them all."""
    timeline = month(*((n * 100, n * 100 + 10) for n in range(1, 60)))
    text = as_text("tube", record(timeline), timeline, None)
    assert "outages: 59, 0 of them planned, the longest 10.0 s" in text
    assert "and 19 more" in text
    told = json.loads(as_json("tube", record(timeline), timeline, None))
    assert len(told["outages"]) == 59
    rows = list(csv.DictReader(as_csv(record(timeline), timeline, None).splitlines()))
    assert [row["state"] for row in rows].count("down") == 59
    assert sum(float(row["seconds"]) for row in rows) == WEEKS / S


def test_who_never_succeeded_is_set_against_the_margin() -> None:
    """Three who tried while it was open: enough for a margin of three, not for one of four."""
    text = as_text("tube", record(found := month()), found, TRIED)
    assert "voters who tried, and from whom nothing was counted: 7" in text
    assert "strike: yes before no by 3 votes; the 3 who tried while it was open could have changed" in text
    assert "asos: yes before no by 4 votes; the 3 who tried while it was open could not have changed" in text
    assert "2 of them tried last in an outage" in text
    told = json.loads(as_json("tube", record(found), found, TRIED))["attempts"]
    assert told["never_succeeded"]["voters"] == sum(told["never_succeeded"]["why"].values()) == 7
    assert [margin["could_have_changed"] for margin in told["margins"]] == [True, False]
    rows = list(csv.DictReader(as_csv(record(found), found, TRIED).splitlines()))
    assert [row["what"] for row in rows] == ["attempts"] * 2 + ["never succeeded"] * 2


def test_what_edges_could_not_confirm_is_told_by_hour() -> None:
    """Without a voter and without a ballot, as edges count it."""
    hours = [UnconfirmedHour(OPENS + n * HOUR, n, 2 * n) for n in range(1, 61)]
    found = month()
    kept = replace(record(found), unconfirmed=hours)
    text = as_text("tube", kept, found, TRIED)
    assert "could not be confirmed: 1,830 votes, 3,660 questions of the page" in text
    assert "and 12 hours more" in text
    told = json.loads(as_json("tube", kept, found, TRIED))["attempts"]["not_confirmed"]
    assert (told["votes"], told["access"], len(told["by_hour"])) == (1830, 3660, 60)
    rows = list(csv.DictReader(as_csv(kept, found, TRIED).splitlines()))
    assert sum(int(row["attempts"]) for row in rows if row["outcome"] == "not_confirmed") == 1830 + 3660


def test_margins_are_between_the_leading_two() -> None:
    """By votes, then by name; a question with one option has none."""
    result = {
        "questions": [
            {"id": "strike", "counts": {"no": 5, "yes": 9, "maybe": 7}},
            {"id": "chair", "counts": {"b": 4, "a": 4}},
            {"id": "alone", "counts": {"x": 1}},
        ]
    }
    assert margins(result) == [Margin("strike", "yes", "maybe", 2), Margin("chair", "a", "b", 0)]


def test_the_queries_are_all_there() -> None:
    """Each by its name, and each reason they give has its sentence."""
    assert queries().keys() == {"outcomes", "totals", "never"}
    assert all(f"'{why}'" in queries()["never"] for why in WHY)


@pytest.mark.parametrize(
    ("us", "text"),
    [(0, "0.0 s"), (1_500_000, "1.5 s"), (61 * S, "0:01:01"), (26 * HOUR + 5 * S, "1 d 2:00:05")],
)
def test_lengths_are_told_as_people_do(us: int, text: str) -> None:
    """Tenths of short ones, days of long ones."""
    assert duration(us) == text


def test_what_is_not_in_voterdb_yet_is_read_beside_the_monitor(tmp_path: Path) -> None:
    """The interval still growing, those that wait and the last that did, without a change to a file."""
    assert journal.seen_here(tmp_path) == []
    keeping = journal.Journal(tmp_path)
    first, second = Interval(0, 5, State.UP), Interval(5, 9, State.DOWN, "refused")
    keeping.append([first])
    keeping.mark_written(keeping.unwritten()[-1].end_offset)
    keeping.append([second])
    growing = Interval(9, 12, State.UP)
    keeping.checkpoint(growing)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(b'{"started_us": 12')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert journal.seen_here(tmp_path) == [first, second, growing]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
