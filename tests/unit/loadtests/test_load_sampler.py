"""The sampler reads what metrics ports say and what processes use, and invents nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from loadtests.conduct import exposition, kin
from loadtests.conduct.exposition import Reading
from loadtests.conduct.kin import Kin
from loadtests.conduct.sampler import Sampler, flattened
from loadtests.staging.stage import free_ports, wait_until

EDGES = """# HELP ballot_intake_votes_total Answers
# TYPE ballot_intake_votes_total counter
ballot_intake_votes_total{outcome="accepted"} 120.0
ballot_intake_votes_total{outcome="not_accepted"} 3.0
ballot_intake_votes_total{outcome="too_large"} 0.0
ballot_intake_inflight 2.0
"""
WORKERS = """ballot_queue_depth{shard="0"} 4.0
ballot_queue_depth{shard="1"} 3.0
ballot_queue_oldest_seconds 0.25
ballot_stored_votes_total 113.0
ballot_quarantined_total{reason="unreadable"} 1.0
ballot_quarantined_total{reason="conflict"} 0.0
ballot_store_lag_seconds_bucket{le="0.1"} 100.0
ballot_store_lag_seconds_bucket{le="1.0"} 112.0
ballot_store_lag_seconds_bucket{le="+Inf"} 113.0
"""
MONITOR = "ballot_probe_up NaN\n"


def test_the_numbers_of_one_instant() -> None:
    """Shards are added up, outcomes kept by name, and an unknown probe is null, not up."""
    ports = {"edges": EDGES, "workers": WORKERS, "monitor": MONITOR}
    told = flattened({name: exposition.read(text) for name, text in ports.items()})
    assert (told["queue_depth"], told["queue_oldest_s"]) == (7, 0.25)
    assert (told["accepted"], told["stored"], told["quarantined"]) == (120, 113, 1)
    assert told["outcomes"] == {"accepted": 120, "not_accepted": 3}
    assert told["probe_up"] is None


def test_what_nobody_says_is_null() -> None:
    """A port that does not answer gives no zeros that could be taken for a good state."""
    told = flattened(dict.fromkeys(("edges", "workers", "monitor"), Reading()))
    assert {told[name] for name in ("queue_depth", "queue_oldest_s", "accepted", "stored")} == {None}


@pytest.mark.parametrize(
    ("before", "share", "expected"),
    [
        ({}, 0.5, 0.1),
        ({}, 0.95, 0.91),
        ({0.1: 50.0, 1.0: 50.0, float("inf"): 50.0}, 0.5, 0.55),
        ({0.1: 50.0, 1.0: 100.0, float("inf"): 100.0}, 1.0, None),
        ({0.1: 90.0, 1.0: 90.0, float("inf"): 90.0}, 0.5, 0.1),
    ],
    ids=["all of it", "second bucket", "only what is new", "nothing new", "counted anew"],
)
def test_a_quantile_of_what_came_between(
    before: dict[float, float], share: float, expected: float | None
) -> None:
    """Only what came between two readings counts; after a restart everything is new."""
    after = {0.1: 50.0, 1.0: 100.0, float("inf"): 100.0}
    assert exposition.quantile(before, after, share) == (
        None if expected is None else pytest.approx(expected)
    )


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/x/.venv/bin/python /x/.venv/bin/ballot intake --port 8080", "edge"),
        ("/x/bin/python -m ballot worker --metrics-port 9101", "worker"),
        ("/x/valkey-server 127.0.0.1:21001", "queue"),
        ("/x/bin/postgres -D /tmp/run/home/data/voterdb", "voterdb"),
        ("/x/bin/postgres -D /tmp/run/home/data/userdb", "userdb"),
        ("/x/bin/python -m locust -f /x/loadtests/locustfile.py --headless", "generator"),
        ("/x/bin/python -m loadtests.outside.watch {} 3", "outside monitor"),
        ("/x/bin/python -m loadtests.overlays botnet", "overlays"),
        ("/x/bin/python /x/bin/ballot tally tube", "desk"),
        ("sleep 5", None),
    ],
)
def test_a_command_line_tells_the_part(command: str, name: str | None) -> None:
    """The parts of a deployment are known by their command lines."""
    assert kin.part(command) == name


def test_what_a_dead_process_used_stays_counted() -> None:
    """CPU seconds of a part never fall, also when its processes end."""
    relatives = Kin(os.getpid())
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        relatives.look()
        before = _ours(relatives)
        child.communicate(b"\n")
    after = _ours(relatives)
    assert after["cpu_s"] >= before["cpu_s"] >= 0.2
    assert after["rss_bytes"] < before["rss_bytes"]


def _ours(relatives: Kin) -> dict[str, Any]:
    """What this process and its nameless children use; the session's servers may run below it too."""
    return next(row for row in relatives.use() if row["name"] == "conductor")


@pytest.fixture
def served() -> Iterator[int]:
    """The first of three ports; only edges and workers answer."""
    first = free_ports(3)
    servers = [_server(first, EDGES), _server(first + 1, WORKERS)]
    yield first
    for server in servers:
        server.shutdown()
        server.server_close()


def _server(port: int, text: str) -> ThreadingHTTPServer:
    class Told(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Told)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_a_line_is_kept_each_second(served: int, tmp_path: Path) -> None:
    """Whole lines of JSON with the queue and our own process; one of the ports is silent."""
    out = tmp_path / "samples.jsonl"
    with Sampler(served, out):
        wait_until(
            lambda: out.exists() and out.read_bytes().count(b"\n") >= 2, seconds=30, what="two samples"
        )
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["queue_depth"] for line in lines} == {7}
    assert {line["probe_up"] for line in lines} == {None}
    assert lines[0]["store_lag_p99_s"] is not None
    assert lines[1]["store_lag_p99_s"] is None
    assert "conductor" in {process["name"] for process in lines[1]["processes"]}
    assert lines[1]["at_us"] > lines[0]["at_us"]
