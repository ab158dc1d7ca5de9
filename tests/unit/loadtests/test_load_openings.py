"""Ballots that open at once: who waits there sees each open; late, early and unwatched ones are told."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from loadtests.judging.judged_openings import judged
from loadtests.judging.verdict import Weight
from loadtests.outside.openings import FILE, Openings
from loadtests.overlays.wire import Target
from loadtests.report.reading import RunDirectory
from loadtests.staging.kept import US, now_us
from loadtests.voting.voter import Answer
from tests.unit.loadtests.overlaid import ServedPages, served

OPENS_US = 1_700_000_000 * US


class Opens(ServedPages):
    """A ballot that is not open before `opens_us`."""

    opens_us = 0

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """What the API would answer."""
        return Answer(409, b"{}") if now_us() < self.opens_us else super().send(method, path, body)


def test_who_waits_sees_it_open(tmp_path: Path) -> None:
    """Asked before and not open, then open soon after the moment."""
    ballot = Opens()
    with served(ballot, tmp_path) as place:
        codes = tmp_path / "codes.csv"
        codes.write_text(
            f"member_id,channel,destination,code,link\nM1,letter,,{ballot.code().text()},\n", encoding="utf-8"
        )
        name = ballot.document.definition.id
        ballot.opens_us = now_us() + US // 2
        Openings(Target.of(place.context()), [(name, codes)], ballot.opens_us, tmp_path, seed=1).watch()
    (row,) = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert row["ballot"] == name
    assert row["not_open"] > 0
    assert 0 <= row["open_us"] - ballot.opens_us < 30 * US


def test_whoever_watches_is_a_process_and_no_thread(tmp_path: Path) -> None:
    """Sealing forks meanwhile, and keeps this interpreter busy: neither is to meet the watching."""
    codes = tmp_path / "codes.csv"
    ballot = Opens()
    with served(ballot, tmp_path) as place:
        codes.write_text(
            f"member_id,channel,destination,code,link\nM1,letter,,{ballot.code().text()},\n", encoding="utf-8"
        )
        name = ballot.document.definition.id
        watching = Openings(Target.of(place.context()), [(name, codes)], now_us(), tmp_path, seed=1).begin()
        others = [each for each in threading.enumerate() if each.name == "openings"]
        watching.join(60)
    (row,) = json.loads((tmp_path / FILE).read_text(encoding="utf-8"))
    assert (watching.exitcode, watching.daemon) == (0, True)
    assert watching.pid != os.getpid()
    assert not others
    assert row["open_us"] is not None


def opened(ballot: str, after_s: float | None, *, not_open: int = 8) -> dict[str, Any]:
    """A row of opening.json."""
    open_us = None if after_s is None else OPENS_US + round(after_s * US)
    return {"ballot": ballot, "opens_us": OPENS_US, "open_us": open_us, "not_open": not_open}


@pytest.mark.parametrize(
    ("second", "weight"),
    [
        (opened("b-2", 0.2), None),
        (opened("b-2", 1.4), Weight.FAILS_ON_TIME),
        (opened("b-2", None), Weight.FAILS_ON_TIME),
        (opened("b-2", -0.1), Weight.FAILS),
        (opened("b-2", 0.2, not_open=0), Weight.VOIDS),
        (None, Weight.FAILS),
    ],
    ids=["well", "late", "never", "early", "nobody there", "not watched"],
)
def test_each_ballot_opens_in_its_second(
    tmp_path: Path, second: dict[str, Any] | None, weight: Weight | None
) -> None:
    """One that does not is seen, whatever the other does."""
    rows = [opened("b-1", 0.1), *([second] if second else [])]
    (tmp_path / "run.json").write_text('{"ballots": 2}', encoding="utf-8")
    (tmp_path / "opening.json").write_text(json.dumps(rows), encoding="utf-8")
    assert [each.weight for each in judged(RunDirectory(tmp_path)) if not each.ok] == (
        [weight] if weight else []
    )
