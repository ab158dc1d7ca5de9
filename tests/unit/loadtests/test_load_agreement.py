"""Observers who saw the same agree; one who missed what it must have seen is told, with the moment."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from loadtests.crowds.buckets import bucket
from loadtests.outside import agreement, watch
from loadtests.outside.observed import DOWN, PARTLY, UNKNOWN, UP, Interval
from loadtests.outside.observers import Mark, Observer, Outage, contested, differences, outages
from loadtests.outside.voters import voters_saw
from loadtests.staging.stage import StageFault

S = 1_000_000
RUN = (0, 100 * S)


def down(*stretches: tuple[float, float]) -> list[Interval]:
    """Up for the whole run but for these stretches, in seconds."""
    found, reached = [], 0
    for start, end in stretches:
        found += [Interval(reached, int(start * S), UP), Interval(int(start * S), int(end * S), DOWN, "why")]
        reached = int(end * S)
    return [*found, Interval(reached, RUN[1], UP)]


def compared(
    run: Path,
    *,
    inside: Sequence[Interval] = (),
    outside: Sequence[Interval] = (),
    seconds: Sequence[dict[str, Any]] = (),
    marks: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What the file says of such a run."""
    (run / "seconds.jsonl").write_text("".join(json.dumps(line) + "\n" for line in seconds))
    (run / "marks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in marks))
    return agreement.compared(
        run,
        ballot="b",
        window_us=RUN,
        inside=inside or down(),
        outside=outside or down(),
        outside_period_s=1.0,
    )


def test_voters_saw_it_down_only_when_nobody_was_answered() -> None:
    """Refusals are answers; generators count together; a second without a try is nobody's."""
    lines = [
        {"s": 1, "outcomes": {"accepted": 3}},
        {"s": 2, "outcomes": {"503": 3}},
        {"s": 2, "outcomes": {"403": 1}},
        {"s": 3, "outcomes": {"none": 1, "503": 2, "accepted": 0}},
        {"s": 4, "outcomes": {"none": 1}},
        {"s": 6, "outcomes": {}},
        {"s": 7, "outcomes": {"429": 1, "hung up": 5}},
        {"s": 8, "outcomes": {"500": 1, "hung up": 5}},
        {"s": 9, "outcomes": {"accepted": 8, "503": 2}},
        {"s": 10, "outcomes": {"accepted": 81, "503": 19}},
        {"s": 11, "outcomes": {"hung up": 1}},
    ]
    assert [(each.from_us // S, each.to_us // S, each.state) for each in voters_saw(lines)] == [
        (1, 2, UP),
        (2, 3, PARTLY),
        (3, 5, DOWN),
        (7, 8, UP),
        (8, 9, DOWN),
        (9, 10, PARTLY),
        (10, 11, UP),
    ]


def test_an_overload_contradicts_nobody(tmp_path: Path) -> None:
    """While many are refused and many accepted, a monitor's own votes may fare either way."""
    seconds = [{"s": second, "outcomes": {"503": 2, "accepted": 2}} for second in range(20, 40)]
    marks = [{"kind": "window", "name": "burst", "from_us": 20 * S, "to_us": 40 * S}]
    told = compared(tmp_path, inside=down((20, 40)), outside=down((20, 40)), seconds=seconds, marks=marks)
    assert told["agree"], told["differences"]
    assert told["unplanned_s"] == 0.0
    assert told["available"]["voters"] == 0.0


def test_contested_time_is_found_by_direction() -> None:
    """Each stretch in which they contradict each other, and who said what; unknown contradicts nobody."""
    one = [Interval(0, 4, UP), Interval(4, 8, DOWN), Interval(8, 12, UNKNOWN)]
    other = [Interval(0, 2, UP), Interval(2, 4, DOWN), Interval(4, 6, UP), Interval(6, 12, DOWN)]
    assert list(contested(one, other)) == [(2, 4, True), (4, 6, False)]
    assert list(contested(one, [])) == []
    assert list(contested(one, one)) == []


def test_the_same_outage_is_one_with_its_cause() -> None:
    """Sightings of one fault join up; the cause is what began last before it."""
    inside = Observer("inside", down((10, 15)), 8 * S)
    outside = Observer("outside", down((9, 13)), 4 * S)
    marks = [Mark("overlay botnet", 0, 100 * S), Mark("kill the queue", 9 * S, 9 * S)]
    assert outages([inside, outside], marks) == [
        Outage(9 * S, 15 * S, ("inside", "outside"), "kill the queue")
    ]


def test_edges_may_differ_by_a_probe(tmp_path: Path) -> None:
    """One period and the deadline of the slower probe: both saw the same outage."""
    marks = [{"kind": "fault", "name": "kill", "from_us": 10 * S, "to_us": 13 * S}]
    told = compared(tmp_path, inside=down((15, 20)), outside=down((10.5, 13)), marks=marks)
    assert told["agree"], told["differences"]
    assert [(each["cause"], each["seen_by"]) for each in told["outages"]] == [("kill", ["inside", "outside"])]
    assert told["available"]["outside"] == pytest.approx(0.975)
    assert agreement.judgement(told)[2:] == ("agrees; 1 outages", True)


def test_a_monitor_that_missed_a_long_outage_is_told(tmp_path: Path) -> None:
    """Longer than its blind time, the two contradict each other, with the moment in the sentence."""
    marks = [{"kind": "fault", "name": "kill", "from_us": 10 * S, "to_us": 30 * S}]
    told = compared(tmp_path, outside=down((10, 30)), marks=marks)
    assert told["differences"] == [
        "By what outside saw no votes were taken from 10.0 s to 30.0 s; by what inside saw they were."
    ]
    assert not agreement.judgement(told)[3]


def test_voters_are_an_observer_too(tmp_path: Path) -> None:
    """What both monitors call up, and no voter was answered in, is a difference with each of them."""
    seconds = [{"s": second, "outcomes": {"none": 2}} for second in range(20, 32)]
    marks = [{"kind": "overlay", "name": "botnet", "from_us": 20 * S, "to_us": 32 * S}]
    told = compared(tmp_path, seconds=seconds, marks=marks)
    assert len(told["differences"]) == 2
    assert all("voters saw" in sentence for sentence in told["differences"])


@pytest.mark.parametrize(
    ("name", "from_s", "agree"),
    [("botnet", 20, True), ("burst", 20, True), ("guessing", 20, False), ("botnet", 60, False)],
)
def test_where_all_are_asked_to_come_again_somebody_else_may_get_in(
    tmp_path: Path, name: str, from_s: int, agree: bool
) -> None:
    """So it is under a flood and in a burst; where nothing presses, all voters refused is an outage."""
    seconds = [{"s": second, "outcomes": {"503": 2}} for second in range(20, 32)]
    kind = "window" if name == "burst" else "overlay"
    marks = [{"kind": kind, "name": name, "from_us": from_s * S, "to_us": (from_s + 12) * S}]
    assert compared(tmp_path, seconds=seconds, marks=marks)["agree"] is agree


@pytest.mark.parametrize(("slow", "agree"), [(2, True), (1, False)])
def test_who_waits_longer_than_a_monitor_does_not_contradict_it(
    tmp_path: Path, slow: int, agree: bool
) -> None:
    """Voters wait ten seconds, a monitor three: of ten answers two took four, and it had none in time."""
    service = {str(bucket(20.0)): 10 - slow, str(bucket(4_000.0)): slow}
    line = {"outcomes": {"accepted": 10}, "service": service}
    seconds = [{"s": second} | line for second in range(20, 32)]
    marks = [{"kind": "overlay", "name": "botnet", "from_us": 15 * S, "to_us": 35 * S}]
    told = compared(tmp_path, outside=down((20, 32)), inside=down((20, 32)), seconds=seconds, marks=marks)
    assert told["agree"] is agree


def test_a_narrow_line_is_no_outage_of_the_deployment(tmp_path: Path) -> None:
    """Voters who do not get through a capped line contradict no monitor, for as long as it is capped."""
    seconds = [{"s": second, "outcomes": {"none": 2}} for second in range(20, 60)]
    cap = {"kind": "overlay", "name": "cap", "from_us": 20 * S, "to_us": 60 * S}
    assert compared(tmp_path, seconds=seconds, marks=[cap])["agree"]
    told = compared(tmp_path, seconds=seconds, marks=[cap | {"to_us": 40 * S}])
    assert len(told["differences"]) == 2
    told = compared(tmp_path, outside=down((20, 60)), marks=[cap])
    assert len(told["differences"]) == 1  # monitors do not come by the line


def test_an_outage_needs_a_cause(tmp_path: Path) -> None:
    """All saw it, and the run did nothing: the service failed by itself."""
    told = compared(tmp_path, inside=down((40, 45)), outside=down((41, 45)))
    assert told["differences"] == [
        "The outage from 40.0 s to 45.0 s, seen by inside and outside, began with nothing that the run did."
    ]


@pytest.mark.parametrize("name", ["guessing", "reissue", "replay", "fault"])
def test_what_stops_no_votes_is_no_cause(tmp_path: Path, name: str) -> None:
    """Something was always on in a siege; only what may stop votes explains that they stopped."""
    marks = [{"kind": "overlay", "name": name, "from_us": 0, "to_us": 100 * S}]
    told = compared(tmp_path, inside=down((40, 45)), outside=down((41, 45)), marks=marks)
    assert [each["cause"] for each in told["outages"]] == [None]
    assert "began with nothing that the run did" in told["differences"][0]


def test_an_outage_must_end_with_what_caused_it(tmp_path: Path) -> None:
    """A service that never comes back after a fault is out by itself, half a minute later."""
    seconds = [{"s": second, "outcomes": {"none": 2}} for second in range(10, 100)]
    stops = {"told": {"expects_down": True}}
    fault = {"kind": "fault", "name": "kill", "from_us": 9 * S, "to_us": 12 * S} | stops
    told = compared(tmp_path, inside=down((10, 100)), outside=down((10, 100)), seconds=seconds, marks=[fault])
    assert told["differences"] == [
        "The outage from 10.0 s to 100.0 s was for 58.0 s not what kill and its recovery explain."
    ]
    assert told["unplanned_s"] == 58.0
    seconds = seconds[:30]
    told = compared(tmp_path, inside=down((10, 40)), outside=down((10, 40)), seconds=seconds, marks=[fault])
    assert told["agree"], told["differences"]
    assert told["unplanned_s"] == 0.0
    told = compared(
        tmp_path,
        inside=down((10, 40)),
        outside=down((10, 40)),
        seconds=seconds,
        marks=[fault | {"told": {"expects_down": False}}],
    )
    assert told["agree"], told["differences"]
    assert told["unplanned_s"] == 30.0  # explained, and yet it was not to stop votes


def test_an_outage_under_a_flood_is_counted(tmp_path: Path) -> None:
    """It explains that votes were not taken; it does not make it right."""
    flood = {"kind": "overlay", "name": "botnet", "from_us": 5 * S, "to_us": 80 * S}
    seconds = [{"s": second, "outcomes": {"none": 2}} for second in range(10, 50)]
    told = compared(tmp_path, inside=down((10, 50)), outside=down((10, 50)), seconds=seconds, marks=[flood])
    assert told["agree"], told["differences"]
    assert told["unplanned_s"] == 40.0


def test_a_fault_that_must_stop_votes_must_be_seen(tmp_path: Path) -> None:
    """A record that shows nothing where votes were stopped is none; a short stop may fall between probes."""
    fault = {"kind": "fault", "name": "stop all", "told": {"expects_down": True}}
    told = compared(tmp_path, marks=[fault | {"from_us": 10 * S, "to_us": 40 * S}])
    assert told["differences"] == ["Nobody saw that stop all stopped votes from 10.0 s to 40.0 s."]
    assert compared(tmp_path, marks=[fault | {"from_us": 10 * S, "to_us": 12 * S}])["agree"]


def test_a_monitor_must_look(tmp_path: Path) -> None:
    """Silence is not agreement, for a monitor; voters may come when they like."""
    told = compared(tmp_path, outside=[Interval(0, 50 * S, UP)])
    assert told["differences"] == ["The monitor outside looked at only 50% of the time."]
    assert told["looked"] == {"inside": 1.0, "outside": 0.5, "voters": 0.0}
    assert told["available"]["voters"] is None
    assert compared(tmp_path, outside=[Interval(0, 87 * S, UP)])["agree"]
    assert not compared(tmp_path, outside=[Interval(0, 85 * S, UP)])["agree"]


def test_nothing_is_compared_with_nothing() -> None:
    """Without observers or marks there is nothing to say."""
    assert differences([], [], [], from_us=0) == []
    assert agreement.judgement({})[2:] == ("not recorded", False)


class Answering:
    """A stage whose `ballot availability` says this; it remembers what it was asked."""

    def __init__(self, *answers: object) -> None:
        self._answers = [json.dumps(answer) for answer in answers]
        self.asked: list[tuple[str, ...]] = []

    def run(self, *arguments: str) -> str:
        """The next answer."""
        self.asked.append(arguments)
        return self._answers.pop(0)


NEVER = {"voters": 1, "by_hour": [{"hour": "2025-06-15T15:00:00Z", "why": "ready", "voters": 1}]}
TRIED = {"outcomes": [{"hour": None, "attempts": 2}, {"hour": "x", "attempts": 2}], "never_succeeded": NEVER}


def test_a_record_is_written_while_the_deployment_runs(tmp_path: Path) -> None:
    """What the deployment says of that time and of its attempts, beside what was seen from outside."""
    (tmp_path / watch.LOOKS_FILE).write_text(
        "".join(
            json.dumps({"started_us": s * S, "ended_us": s * S, "state": "up", "reason": ""}) + "\n"
            for s in range(101)
        )
    )
    stage = Answering({"intervals": [each.as_json() for each in down()]}, {"attempts": TRIED})
    told = agreement.record(tmp_path, stage, "b", from_us=RUN[0], to_us=RUN[1])  # type: ignore[arg-type]
    assert told["agree"], told["differences"]
    assert told["attempts"] == {"outcomes": [{"hour": None, "attempts": 2}], "never_succeeded": NEVER}
    assert json.loads((tmp_path / agreement.FILE).read_text()) == told
    assert [words[:3] for words in stage.asked] == [
        ("availability", "b", "--from"),
        ("availability", "b", "--attempts"),
    ]
    assert CliRunner().invoke(agreement.main, [str(tmp_path)]).exit_code == 0
    assert json.loads((tmp_path / agreement.FILE).read_text()) == told


@pytest.mark.parametrize("answer", [[], {}, {"intervals": [{"from_us": 1}]}, {"intervals": 3}])
def test_a_record_that_cannot_be_read_is_said(tmp_path: Path, answer: object) -> None:
    """One sentence; and nothing is written that looks like a record."""
    with pytest.raises(StageFault, match="cannot be read"):
        agreement.record(tmp_path, Answering(answer), "b", from_us=0, to_us=1)  # type: ignore[arg-type]
    assert not (tmp_path / agreement.FILE).exists()


def test_attempts_that_cannot_be_read_keep_no_record_back(tmp_path: Path) -> None:
    """The record of availability is there all the same; the margin is asked for once there is a result."""
    (tmp_path / "result.json").write_text("{}")
    stage = Answering({"intervals": []}, {"attempts": 1})
    with pytest.raises(StageFault, match="cannot be read"):
        agreement.record(tmp_path, stage, "b", from_us=0, to_us=S)  # type: ignore[arg-type]
    assert "attempts" not in json.loads((tmp_path / agreement.FILE).read_text())
    assert "--result" in stage.asked[1]


def test_a_run_is_judged_again_from_its_files(tmp_path: Path) -> None:
    """The same verdict as before; another one once a mark explains the outage; torn lines do not matter."""
    told = compared(tmp_path, inside=down((40, 45)), outside=down((41, 45)))
    (tmp_path / agreement.FILE).write_text(json.dumps(told))
    (tmp_path / "seconds.jsonl").write_text('{"s": 1, "outc\n[]\n')
    ran = CliRunner().invoke(agreement.main, [str(tmp_path)])
    assert (ran.exit_code, json.loads((tmp_path / agreement.FILE).read_text())) == (1, told)
    overlays = tmp_path / "overlays"
    overlays.mkdir()
    marks = [{"kind": "fault", "name": "kill", "from_us": 38 * S, "to_us": None}]
    (overlays / "fault.jsonl").write_text(json.dumps({"s": 38, "marks": marks}) + "\n")
    assert CliRunner().invoke(agreement.main, [str(tmp_path)]).exit_code == 0
    assert json.loads((tmp_path / agreement.FILE).read_text())["outages"][0]["cause"] == "kill"


def test_a_run_without_a_record_is_said_to_have_none(tmp_path: Path) -> None:
    """One sentence, no traceback."""
    ran = CliRunner().invoke(agreement.main, [str(tmp_path)])
    assert ran.exit_code == 1
    assert "has no availability record that can be read" in ran.output


def test_moments_are_told_to_the_microsecond() -> None:
    """As commands read times."""
    assert agreement.rfc3339(1_750_000_000_123_456) == "2025-06-15T15:06:40.123456Z"
