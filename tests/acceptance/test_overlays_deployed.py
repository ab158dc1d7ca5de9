"""All overlays at once against a real deployment: none achieves anything, and their own votes all count."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import pytest

from loadtests.conduct.tls_edge import TlsEdge
from loadtests.overlays.catalogue import OVERLAYS, Context
from loadtests.published import scenario
from loadtests.published.plan import ROLL_COLUMNS
from loadtests.staging.stage import Stage
from loadtests.voting.desk import dispatched_codes

BALLOT = "besieged"
SECONDS = 20.0
CODES = 24
EDGES = ("--processes", "2")
KNOBS: dict[str, dict[str, Any]] = {
    "cap": {"line_bits": 2e6},
    "handshakes": {"rate": 100, "slow_bodies": 20},
    "reloaders": {"people": 60},
    "reissue": {"desk_seconds": 1},
    "botnet": {"burst_rate": 100},
}


def opened(stage: Stage) -> list[tuple[str, str]]:
    """A ballot on the stage, set up by the commands a scrutineer types; its codes by member id."""
    files = stage.files
    paper = scenario.renamed(scenario.load("branch-41"), BALLOT)
    (files / "definition.toml").write_text(paper.definition_open_at(time.time_ns() // 1000), encoding="utf-8")
    with (files / "roll.csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(ROLL_COLUMNS)
        writer.writerows(
            (f"S{n:04d}", f"Spare {n}", f"s{n}@members.example", "", "") for n in range(4 * CODES)
        )
    stage.run("create", files / "definition.toml")
    stage.run("keys", "create", BALLOT, "--threshold", "2", "--shares", "3", "--out", files / "shares")
    stage.run("roll", "import", BALLOT, files / "roll.csv")
    stage.run("codes", "issue", BALLOT, "--out", files / "codes.csv")
    stage.run("open", BALLOT)
    return list(dispatched_codes(files / "codes.csv").items())


def counted(stage: Stage, receipts: Path) -> dict[str, dict[str, int]]:
    """Close, tally, and check with these receipts; the votes by question and option."""
    result = stage.files / "result.json"
    first, second, _ = sorted((stage.files / "shares").glob("share-*.txt"))
    stage.run("close", BALLOT)
    stage.run("tally", BALLOT, "--share", first, "--share", second, "--out", result)
    checked = stage.run("check", BALLOT, "--receipts", receipts, "--signatures", "--result", result)
    assert "differences: 0" in checked
    questions = json.loads(result.read_text(encoding="utf-8"))["questions"]
    return {question["id"]: question["counts"] for question in questions}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_siege_achieves_nothing(tmp_path: Path) -> None:
    """Cap, botnet, handshakes, reloaders, guessing, reissue, replay and faults, side by side."""
    with Stage() as stage:
        stage.up(extra=EDGES)
        codes = iter(opened(stage))
        with TlsEdge(stage) as edge:
            running, url = {}, stage.url
            for name, overlay in OVERLAYS.items():  # the cap is the first: all others go through it
                context = Context(
                    url=url,
                    ballot=BALLOT,
                    stage_folder=stage.folder,
                    out=tmp_path,
                    seed=3,
                    seconds=SECONDS,
                    tls_url=edge.url,
                    ca=edge.ca if edge.url else None,
                    up_pid=stage.up_pid,
                    spare_codes=dict(next(codes) for _ in range(CODES))
                    if "spare_codes" in overlay.needs
                    else {},
                    knobs=KNOBS.get(name, {}),
                )
                running[name] = overlay.start(context)
                url = running[name].url or url
            time.sleep(SECONDS)  # they are bounded themselves; stopping the last ones early is not wanted
            told = {name: running[name].stop() for name in reversed(running)}
        judged = {name: OVERLAYS[name].judge(told[name]) for name in OVERLAYS}
        wrong = [
            judgement
            for name in OVERLAYS
            for judgement in judged[name]
            if not (judgement.ok or judgement.void)
        ]
        receipts = tmp_path / "receipts.jsonl"
        receipts.write_bytes(
            b"".join(path.read_bytes() for path in sorted(tmp_path.glob("*.receipts.jsonl")))
        )
        result = counted(stage, receipts)
    assert not wrong
    assert not [
        judgement for name in judged if name != "handshakes" for judgement in judged[name] if judgement.void
    ]
    votes = {
        option: sum(told[name]["counted"]["strike"].get(option, 0) for name in ("guessing", "replay"))
        for option in ("yes", "no")
    }
    assert result["strike"] == votes
    assert sum(votes.values()) == CODES + 1
