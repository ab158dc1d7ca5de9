"""When a drill is a success: only if all that it is about was looked at, and nothing of it would be lost."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ops.backup import drill as drills
from ops.backup import drill_loss, drill_report
from ops.backup.drill import Asked, Drill, drill
from ops.backup.drill_loss import Held, Holding
from ops.backup.restore_database import Wanted
from ops.backup.restore_home import now_us
from runtime.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELD = Held({"b": Holding(3, 3, 1, settled=3)}, {"people": 5, "complaints": 2})
HOUR_US = 3_600_000_000


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drill:
    """A drill of an embedded home, that has restored nothing."""
    monkeypatch.setenv("BALLOT_BACKUP", str(tmp_path))
    asked = Asked(Wanted(None), signatures=False, receipts=None, attempts=None, lost_max=None)
    made = Drill(Home(tmp_path / "home"), Home(tmp_path / "scratch"), {}, asked, 0)
    made.home.make()
    made.scratch.make()
    return made


def test_what_userdb_would_lose_fails_a_drill(trial: Drill) -> None:
    """As votes do: each kind by itself, whatever the other has more of."""
    assert drill_report.compared(trial, HELD, HELD) == []
    less = Held(HELD.ballots, {"people": 9, "complaints": 1})
    (fault,) = drill_report.compared(trial, HELD, less)
    assert fault.startswith("userdb: 1 complaints would be lost")
    emptied = drill_report.compared(trial, HELD, Held({}, {}))
    assert [each.partition(" ")[0] for each in emptied] == ["The", "userdb:", "userdb:"]


def test_copies_of_the_queue_that_are_not_made_fail_a_drill(trial: Drill) -> None:
    """None at all, or none for hours; of an earlier moment, or of another's backups, nothing is expected."""
    now = 100 * HOUR_US
    assert drill_report.queue_faults(trial, now, own=True) == ["There are no copies of the queue."]
    assert drill_report.queue_faults(trial, now, own=False) == []
    trial.queue_us = now - 2 * HOUR_US
    (late,) = drill_report.queue_faults(trial, now, own=True)
    assert late.startswith("The newest copy of the queue is of ")
    trial.queue_us = now - HOUR_US // 2
    assert drill_report.queue_faults(trial, now, own=True) == []


@pytest.mark.parametrize(
    ("options", "faults", "code"),
    [
        ([], 1, 1),
        (["--lost-max", "0"], 1, 1),
        (["--no-living"], 0, 0),
        (["--no-living", "--lost-max", "0"], 0, 2),
    ],
)
def test_living_servers_that_do_not_answer_fail_a_drill(
    trial: Drill,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    faults: int,
    code: int,
) -> None:
    """Nothing was compared: that is a success only for whoever says that there are none."""

    @contextmanager
    def scratch(*_: object, **__: object) -> Iterator[Home]:
        yield trial.scratch

    def run(made: Drill) -> Held:
        made.queue_us = now_us()
        return HELD

    monkeypatch.setenv("BALLOT_HOME", str(trial.home.path))
    monkeypatch.setattr(drill_loss, "of_the_living", lambda *_: None)
    monkeypatch.setattr(drills, "_sources", lambda *_, **__: {})
    monkeypatch.setattr(drills, "read_private", lambda _: None)
    monkeypatch.setattr(drills, "scratch_home", scratch)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    monkeypatch.setattr(Drill, "run", run)
    key = tmp_path / "key"
    key.touch()
    done = CliRunner().invoke(drill, ["--key", str(key), "--json", *options])
    assert done.exit_code == code, done.output
    if code < 2:
        assert len(json.loads(done.stdout)["faults"]) == faults
        (kept,) = trial.home.recovery.glob("*-drill.json")
        assert len(json.loads(kept.read_text())["faults"]) == faults


def test_receipts_and_attempts_that_prove_nothing_fail_a_drill(
    trial: Drill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files without a line, and lines of ballots that were not restored."""
    checked: list[Any] = []
    monkeypatch.setattr(Drill, "_check", lambda _, ballot, options: checked.append((ballot, options)))
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.write_text("\n")
    other.write_text('{"ballot":"x"}\n')
    trial.asked = Asked(Wanted(None), signatures=False, receipts=empty, attempts=other, lost_max=None)
    trial._check_all(["b"])
    assert checked == [("b", [])]
    assert trial.faults == [
        "Receipts were given, and there are none in empty.",
        "Attempts of the ballot x were given, and it was not restored.",
    ]
