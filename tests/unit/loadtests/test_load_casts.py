"""How long voters waited, from the moment their vote was first due, whichever attempt brought the receipt."""

import math

import numpy as np
import pytest

from loadtests.crowds import casts
from loadtests.crowds.buckets import quantile
from loadtests.crowds.ledger import ANSWER
from loadtests.crowds.timetable import ROW, Kind

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
