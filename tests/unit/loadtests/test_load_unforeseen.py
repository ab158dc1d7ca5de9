"""Whatever goes wrong in a run, there is a verdict, what was kept stays, and the traceback can be read."""

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.conduct.beside import Beside
from loadtests.conduct.conductor import Conductor
from loadtests.judging import judged_votes
from loadtests.judging.judge import judge
from loadtests.lifetime.aftermath import Aftermath
from loadtests.staging.kept import BUGS, Kept
from loadtests.staging.stage import StageFault
from tests.unit.loadtests.test_load_verdict import good, write


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BrokenProcessPool("a sealer was killed"), "BrokenProcessPool('a sealer was killed')"),
        (TypeError("no number"), "TypeError('no number')"),
        (IndexError(3), "IndexError(3)"),
        (AssertionError(), "AssertionError()"),
        (StageFault("`ballot up` failed."), "`ballot up` failed."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_nobody_thought_would_fail(error: Exception, said: str, tmp_path: Path) -> None:
    """It is a sentence among the others, and the steps after it are done."""

    def fails() -> None:
        raise error

    after = Aftermath([], Kept(tmp_path))
    assert after.attempt(fails) is None
    assert after.attempt(lambda: 7) == 7
    assert after.wrong == [said]
    bugs = tmp_path / BUGS
    assert ("Traceback" in bugs.read_text() if bugs.exists() else "") == (
        not isinstance(error, StageFault) or ""
    )


def test_a_receipt_without_a_time_is_none_in_time(tmp_path: Path) -> None:
    """It is named, and everything else is judged."""
    files = good()
    files["receipts.jsonl"].append({"ballot": "tube", "reference": "AAAA", "accepted_at": "soon"})
    verdict = judge(write(files, tmp_path))
    wrong = [each for each in verdict.judgements if not each.ok]
    assert [(each.what, each.references) for each in wrong] == [(judged_votes.WINDOW, ("AAAA",))]


def test_what_cannot_be_judged_fails(tmp_path: Path) -> None:
    """A file of another form than agreed is no reason to have no verdict, and none to pass."""
    files = good()
    files["samples.jsonl"][3]["queue_oldest_s"] = "long"
    verdict = judge(write(files, tmp_path))
    assert verdict.word == "fail"
    assert [each.what for each in verdict.judgements if not each.ok] == [
        "all of the run's times can be judged"
    ]
    assert "Traceback" in (tmp_path / BUGS).read_text()


def running(folder: Path, name: str, told: dict[str, Any]) -> Any:
    """An overlay that ended so."""
    path = folder / f"{name}.jsonl"
    path.write_text("", encoding="utf-8")
    return SimpleNamespace(path=path, stop=lambda: told)


def test_an_overlay_that_tells_nonsense_costs_the_others_nothing(tmp_path: Path) -> None:
    """It is judged not to hold, and what the others told is kept."""
    kept = Kept(tmp_path / "run")
    kept.overlays.mkdir()
    beside = Beside([], kept)
    capped = {"capped_bytes_in": 5}  # and nothing else
    beside._running["cap"] = running(kept.overlays, "cap", capped)
    beside._running["botnet"] = running(kept.overlays, "botnet", {"impossible": "no addresses"})
    beside.finish()
    files = good()
    files["run.json"]["overlays"] = ["cap", "botnet"]
    told = judge(write(files, kept.folder)).judgements
    assert [each.what for each in told if not each.ok and "cap" in each.what] == [
        "cap: what it told can be judged"
    ]
    assert any(each.what.startswith("botnet: ") for each in told)
    assert "capped_to_us" in (kept.folder / BUGS).read_text()


def test_what_voters_kept_is_kept_whatever_becomes_of_the_rest(tmp_path: Path) -> None:
    """Receipts prove votes: they are copied though nobody can stop or judge what went on beside."""
    voters, kept = tmp_path / "voters", Kept(tmp_path / "run")
    voters.mkdir()
    (voters / "receipts.jsonl").write_text("{}\n")

    def fails(*_: object) -> None:
        raise KeyError("told")

    conductor = object.__new__(Conductor)
    conductor.voters, conductor.kept = voters, kept
    conductor.beside = SimpleNamespace(finish=fails, append_files=fails)  # type: ignore[assignment]
    with pytest.raises(KeyError):
        conductor._keep()
    assert (kept.folder / "receipts.jsonl").read_text() == "{}\n"
