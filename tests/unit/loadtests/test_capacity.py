"""The capacity model: its constants are what was measured, it never needs less for more, and says why."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from ballot import limits
from loadtests.capacity import measured, model, saying
from loadtests.capacity.command import capacity, demanded
from loadtests.capacity.measured import PARTS, Costs, NoReport
from loadtests.capacity.model import Demand, Machine
from scrutineer.roll_file import MEMBERS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
RATES = (0.1, 1.0, 10.0, 59.0, 264.0, 2_000.0, 20_000.0, 45_000.0)


def report(path: Path, *, votes: int = 6_000, seconds: int = 600, cpu_us: float = 900.0) -> Path:
    """A run's report in which every part took `cpu_us` a vote on top of being there."""
    costs = Costs()
    rows = [
        {
            "name": part,
            "cpu_s": costs.parts[part].idle_cores * seconds + votes * cpu_us / 1e6,
            "rss_bytes_most": 1,
        }
        for part in PARTS
    ]
    told = {
        "run": {"scenario": "made", "variant": "up"},
        "axis": {"step_s": 2, "steps": seconds // 2},
        "measures": {"accepted": votes},
        "processes": rows,
    }
    path.write_text(json.dumps(told))
    return path


def demand(rate: float) -> Demand:
    """A ballot of a hundred thousand votes for each vote in its worst second."""
    votes = round(rate * 1e5)
    return Demand(votes, votes, rate, rate * 60, rate * 3_600, "made up")


def test_every_constant_says_where_it_was_measured() -> None:
    """And those of the benchmarks stand there as they are used here: new figures are not overlooked."""
    assert measured.unexplained() == set()
    results = (ROOT / "tests" / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    parts = Costs().parts
    of = {part: f"{parts[part].vote_us:.0f}" for part in PARTS}
    assert f"edge {of['edge']} ((a): {Costs().request_us:.0f}), queue {of['queue']}" in results
    assert f"worker {of['worker']}, its PostgreSQL {of['voterdb']}" in results
    assert f"raw `fdatasync`/s: {Costs().disk_syncs:,.0f}" in results
    assert f"({Costs().worker_votes:,.0f} against" in results
    for costs, batch, per_second in ((Costs(), 1, "2,038"), (Costs(), 64, "571")):
        found = 1e6 / (costs.call_us + batch * costs.call_vote_us)
        assert f"{found:,.0f}" == per_second
        assert per_second in results
    for name in ("check_s", "backup_s", "drill_s", "recover_s"):
        assert f"{getattr(Costs(), name)} s" in results, name


def test_more_votes_never_need_less() -> None:
    """Cores, syncs, bytes and machines, from a vote in ten seconds to forty-five thousand a second."""
    costs, machine = Costs(), Machine()
    needs: list[Callable[[float], float]] = [
        *(lambda rate, part=part: model.least(costs, part, rate) for part in PARTS),
        *(lambda rate, part=part: model.expected(costs, part, rate) for part in PARTS),
        lambda rate: model.queue_memory(costs, demand(rate)),
        lambda rate: model.layout(costs, demand(rate), machine).primaries,
        lambda rate: model.layout(costs, demand(rate), machine).edge_processes,
        lambda rate: model.votes_a_call(costs, rate),
    ]
    for need in needs:
        found = [need(rate) for rate in RATES]
        assert found == sorted(found)
    assert all(model.calls(costs, rate) <= rate for rate in RATES)


def test_a_place_is_full_where_it_says() -> None:
    """Below that rate it is not, above it is; what fills up first is named first."""
    costs, machine = Costs(), Machine()
    for place in model.places(costs, machine):
        at = model.full_at(place)
        assert place.used(at * 0.99) < 1 < place.used(at * 1.01)
    told = saying.as_json(costs, demand(264.0), machine)
    rates = [row["full_at"] for row in told["fills_up"]]
    assert rates == sorted(rates)
    assert told["fills_up"][0]["what"] == "all cores of the machine"


def test_what_is_laid_out_is_at_most_half_busy() -> None:
    """Each process, primary and disk, for a ballot of a hundred million; one machine does not do."""
    costs, machine = Costs(), Machine(cores=32, memory_bytes=128 * 2**30)
    wanted = demanded(100_000_000, None, curve="million-and-a-third:c", peak_second=None)
    laid = model.layout(costs, wanted, machine)
    assert not laid.one_machine
    assert laid.enough
    assert model.least(costs, "edge", wanted.second) / laid.edge_processes <= model.FULL
    assert model.least(costs, "queue", wanted.second / laid.primaries) <= model.FULL
    assert model.workers_busy(costs, wanted.second) / laid.workers <= model.FULL
    assert model.queue_memory(costs, wanted) / laid.primaries <= machine.memory_bytes / 2
    assert model.layout(costs, demand(264.0), Machine()).one_machine


def test_the_examples_in_the_document_are_what_the_command_prints() -> None:
    """`ops/capacity.md` shows the model as it is, and not as it was."""
    text = (ROOT / "ops" / "capacity.md").read_text(encoding="utf-8")
    examples = re.findall(
        r"^    ballot capacity (--electorate [^\n]*)\n\n```\n(.*?)\n```$", text, re.MULTILINE | re.DOTALL
    )
    assert len(examples) == 2
    for arguments, printed in examples:
        assert CliRunner().invoke(capacity, arguments.split()).output.strip() == printed


def test_bounds_of_the_product_are_known() -> None:
    """A ballot of a hundred million is told that no roll takes so many; shards end somewhere, too."""
    assert (model.ROLL_MAX, model.SHARDS_MAX) == (MEMBERS_MAX, limits.SHARDS_MAX)
    shown = CliRunner().invoke(
        capacity, ["--electorate", "100000000", "--cores", "32", "--memory-gib", "128"]
    )
    assert "A roll takes 5,000,000 people at most today" in shown.output
    little = CliRunner().invoke(capacity, ["--electorate", "900000000", "--memory-gib", "0.5"])
    assert "Not even 32 primaries" in little.output


def test_the_curve_is_the_scenarios(tmp_path: Path) -> None:
    """The electorate of the scenario itself has its peaks; another one's are in proportion."""
    same = demanded(1_300_000, None, curve="million-and-a-third:c", peak_second=None)
    assert same.votes == 858_000
    assert same.second == pytest.approx(264, rel=0.02)
    assert same.minute == pytest.approx(10_972, rel=0.02)
    double = demanded(1_300_000, 2 * 66, curve="million-and-a-third:c", peak_second=None)
    assert double.second == pytest.approx(2 * same.second)
    assert demanded(100, 50, curve="branch-41", peak_second=1_000.0).minute == 50


@pytest.mark.parametrize(("votes", "cpu_us"), [(6_000, 900.0), (1_200_000, 300.0)], ids=["sparse", "dense"])
def test_a_run_teaches_what_its_parts_cost(tmp_path: Path, votes: int, cpu_us: float) -> None:
    """The model that has learned from a run says of that run what was measured, part by part."""
    path = report(tmp_path / "report.json", votes=votes, cpu_us=cpu_us)
    run = measured.read(path)
    costs = measured.learned(Costs(), run, batches=model.calls(Costs(), run.rate))
    for row in saying.beside(costs, run, edges=2):
        assert row["model_cpu_s"] == pytest.approx(row["measured_cpu_s"], rel=0.02), row
    done = CliRunner().invoke(capacity, ["--measured", str(path), "--beside", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert {row["part"] for row in json.loads(done.output)} == set(PARTS)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"axis": 1}', "[" * 100_000, json.dumps({"axis": None})], ids=range(6)
)
def test_a_file_that_is_no_report_is_one_sentence(tmp_path: Path, text: str) -> None:
    """Whatever is in it; and so is a run of too few votes."""
    path = tmp_path / "report.json"
    path.write_text(text)
    with pytest.raises(NoReport, match=r"^report\.json is no report of a load run"):
        measured.read(path)
    with pytest.raises(NoReport, match="fewer than 500"):
        measured.read(report(path, votes=499))


def test_the_command_tells_a_person_and_a_program_the_same() -> None:
    """Text with what to add first and why; JSON with every constant; mistakes are one sentence."""

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(capacity, arguments)

    shown = run("--electorate", "290000", "--curve", "teachers-11am:sms", "--turnout", "66")
    assert shown.exit_code == 0, shown.output
    assert "191,400 do" in shown.output
    assert "One machine of 2 cores is enough" in shown.output
    assert shown.output.count("then add") == len(model.places(Costs(), Machine()))
    told = json.loads(run("--electorate", "290000", "--peak-second", "40", "--json").output)
    assert told["demand"]["second"] == 40
    assert told["constants"].keys() == measured.WHERE.keys()
    assert "Say how many may vote" in run().output
    assert run("--electorate", "5", "--curve", "nobody").output.count("\n") == 1
    assert run("--electorate", "5", "--curve", "branch-41", "--peak-second", "3").exit_code == 2
