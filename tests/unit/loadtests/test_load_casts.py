"""How long voters waited, from the moment their vote was first due, whichever attempt brought the receipt."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from loadtests.crowds import casts
from loadtests.crowds.buckets import quantile
from loadtests.crowds.ledger import ANSWER, Ledger
from loadtests.crowds.timetable import ROW, Kind
from loadtests.voting.voter import Answer

START_S = 1_000.25


def test_a_wait_begins_when_the_vote_was_first_due() -> None:
    """No answer for 10 s, a receipt at the second try within 5 ms: that voter waited 19 s, not 5 ms."""
    rows = np.zeros(2, ROW)
    rows["at_s"], rows["kind"], rows["of"] = [1.0, 2.0], Kind.CAST, [0, 1]
    answers = np.zeros(3, ANSWER)
    answers["row"], answers["attempt"], answers["status"] = [0, 1, 0], [1, 1, 2], [0, 503, 201]
    answers["planned_s"] = answers["sent_s"] = [1.0, 2.0, 20.0]
    answers["done_s"] = [11.0, 4.0, 20.005]

    told = casts.waits(casts.of_part(rows, answers, np.array([True, False])), START_S)

    assert told.keys() == {1001, 1002}
    histogram, never = told[1001]
    assert never == 0
    assert quantile(histogram, 1.0) == pytest.approx(19_005, rel=0.05)
    assert told[1002] == ({}, 1)
    assert quantile(told[1002][0], 0.5, never=1) == math.inf


def test_the_generators_lateness_and_the_services_are_two(tmp_path: Path) -> None:
    """What waited because every device did is no lateness of the generator, in the second's line either."""
    ledger = Ledger(tmp_path, 0, start_s=START_S)
    for row, (late_s, waited) in enumerate([(0.004, False), (6.0, True)]):
        ledger.note(row, Kind.CAST, 1, 1.0, 1.0 + late_s, 8.0, Answer(409), waited=waited)
    ledger.close()

    (line,) = (json.loads(line) for line in (tmp_path / "seconds-0.jsonl").read_text().splitlines())
    assert (line["late_ms_max"], line["waited_ms_max"]) == (4.0, 6_000.0)


@pytest.mark.parametrize(("status", "kept"), [(201, 1), (409, 0), (503, 1), (0, 1)])
def test_votes_of_the_last_second_are_judged_but_those_too_late(status: int, kept: int) -> None:
    """The rush to the close is the worst: only who was told at once that it had closed is left out."""
    rows = np.zeros(1, ROW)
    rows["at_s"], rows["kind"] = 59.9, Kind.LAST
    answers = np.zeros(2 if status in {0, 503} else 1, ANSWER)
    answers["attempt"], answers["status"] = [1, 2][: len(answers)], [status, 409][: len(answers)]
    answers["done_s"] = 60.1

    votes = casts.of_part(rows, answers, np.array([status == 201]))

    assert len(votes) == kept
    assert votes["held"].tolist() == [status == 201] * kept
