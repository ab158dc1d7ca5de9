"""The open loop in Locust itself: alone, shared out among workers, by its page, and broken off."""

import json
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.crowds.crowd import LOCUSTFILE
from loadtests.crowds.opencrowd import OpenBooking, OpenCrowd, prepare
from loadtests.crowds.openloop import generator_file
from loadtests.staging.stage import free_ports, wait_until
from loadtests.voting.voter import Answer
from tests.certificates import issue
from tests.unit.loadtests.open_ground import Ground, ground
from tests.unit.loadtests.served_http import over_http

BEGUN_S = 60.0


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """Thirty voters over two seconds, everybody with some habit, sealed ahead."""
    return ground(tmp_path, monkeypatch)


@pytest.fixture
def booking(played: Ground) -> Iterator[OpenBooking]:
    """The same, with the ballot served over HTTP; nothing closes."""
    with over_http(played.served) as url:
        yield replace(played.booking, url=url, close_run_s=None)


def ended_well(played: Ground, told: dict[str, Any]) -> None:
    """Every voter has a receipt, everybody else their refusal; the machine may have been slow."""
    voters = played.plan.voters
    assert told["unexpected"] == []
    assert told["voted"] == told["voters"] == len(voters)
    assert told["sent"] == told["planned"] >= len(voters)
    assert told["counts"].get("used code, refused", 0) == sum(
        voter.afterwards.value == "other choice" for voter in voters
    )
    assert told["void"] == bool(told["void_reasons"])
    assert all(0 < share <= 2 for share in told["generator_cpu"])
    assert len((played.booking.out / "receipts.jsonl").read_text().splitlines()) == len(voters)


def test_every_vote_goes_out_at_its_moment(played: Ground, booking: OpenBooking) -> None:
    """One generator; what its seconds say adds up to what was sent."""
    prepare(booking)
    with OpenCrowd(booking) as crowd:
        told = crowd.finish()

    ended_well(played, told)
    lines = [json.loads(line) for line in (booking.out / "seconds.jsonl").read_text().splitlines()]
    assert sum(line["sent"] for line in lines) == sum(line["planned"] for line in lines) == told["sent"]
    assert crowd.start_us / 1e6 - 1 < lines[0]["s"] <= time.time()


@pytest.mark.long
def test_workers_share_the_arrivals(played: Ground, booking: OpenBooking) -> None:
    """Two generators under Locust's own master, each with a part of everything, and one result."""
    booking = replace(booking, generators=2)
    prepare(booking)
    with OpenCrowd(booking) as crowd:
        told = crowd.finish()

    ended_well(played, told)
    parts = [json.loads(generator_file(booking.out, number).read_text()) for number in range(2)]
    assert [part["finished"] for part in parts] == [True, True]
    assert min(part["sent"] for part in parts) >= told["sent"] // 4
    assert len(told["generator_cpu_us"]) == 2


@pytest.mark.long
@pytest.mark.parametrize("vouched", [True, False], ids=["vouched for", "unknown"])
def test_over_https(played: Ground, tmp_path: Path, *, vouched: bool) -> None:
    """Connections are kept as well, and a server that nobody vouches for gets no vote."""
    issued = issue(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(issued.certificate, issued.key)
    with over_http(played.served, tls=tls) as url:
        booking = replace(played.booking, url=url, close_run_s=None, ca=issued.authority)
        prepare(booking)
        booking = booking if vouched else replace(booking, ca=None, retries_max=0)
        asked = len(played.served.bodies)
        with OpenCrowd(booking) as crowd:
            told = crowd.finish()

    if vouched:
        ended_well(played, told)
        assert json.loads(generator_file(booking.out, 0).read_text())["connections"] < told["sent"] / 2
    else:
        assert len(played.served.bodies) == asked
        assert told["gave_up"] == len(played.plan.voters)


@pytest.mark.long
def test_the_same_run_in_locusts_page(played: Ground, booking: OpenBooking) -> None:
    """The page shows the casts, and stays when the last voter has gone."""
    booking = replace(booking, web_port=free_ports(1))
    prepare(booking)
    with OpenCrowd(booking) as crowd:
        told = crowd.finish()
        with urllib.request.urlopen(
            f"http://127.0.0.1:{booking.web_port}/stats/requests", timeout=30
        ) as page:
            shown = json.loads(page.read())
        assert crowd.running

    ended_well(played, told)
    casts = {entry["name"]: entry["num_requests"] for entry in shown["stats"]}
    assert casts["cast"] == len(played.plan.voters)
    assert casts["Aggregated"] == told["sent"]


@pytest.mark.long
def test_locust_alone_as_its_users_start_it(played: Ground, booking: OpenBooking) -> None:
    """Sealed, sent by `locust` in two processes, verified at the end; the verdict is the exit code."""
    files, electorate = played.booking, played.booking.electorates[0]
    out = files.out / "alone"
    command = [*(sys.executable, "-m"), "loadtests.sealing", "branch-41", "--url", booking.url]
    files_told = ("--codes", files.electorates[0].codes, "--desk-key", files.desk_key, "--out", out)
    refused = subprocess.run(
        [*command, *files_told], capture_output=True, text=True, check=False, timeout=120
    )
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1

    locust = (sys.executable, "-m", "locust", "-f", LOCUSTFILE, "--headless", "--only-summary")
    options = ("--host", booking.url, "--ahead", files.ahead, "--out", out, "--users", "20", "-r", "20")
    prepare(replace(booking, generators=2))
    done = subprocess.run(
        [*locust, *options, "--processes", "2"], capture_output=True, text=True, check=False, timeout=240
    )
    assert (out / "summary.json").exists(), done.stderr
    told = json.loads((out / "summary.json").read_text())

    assert f"{len(electorate.plan.voters)} of" in done.stderr
    assert told["voted"] == len(electorate.plan.voters)
    assert told["unexpected"] == []
    assert (done.returncode == 0) is not told["void"]


@pytest.mark.long
def test_what_was_not_confirmed_goes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a refusal the identical request goes again, as late as people are, until it has its receipt."""
    played = ground(tmp_path, monkeypatch, habits=0.0)
    with over_http(played.served) as url:
        booking = replace(played.booking, url=url, close_run_s=None)
        prepare(booking)
        played.served.bad_answers = [Answer(503, b'{"error": "not_confirmed", "retry": true}')] * 3
        with OpenCrowd(booking) as crowd:
            told = crowd.finish()

    ended_well(played, told)
    assert told["counts"]["answered 503"] == told["counts"]["sent again"] == 3
    assert len((booking.out / "unsettled.jsonl").read_text().splitlines()) == 3


@pytest.mark.long
def test_a_run_that_is_broken_off_says_so(played: Ground, booking: OpenBooking) -> None:
    """What was sent until then is kept, and the run is void."""
    prepare(booking)
    with OpenCrowd(booking) as crowd:
        wait_until(lambda: crowd.receipts() > 0, seconds=BEGUN_S, what="the first receipt")
        crowd.stop()
        told = crowd.finish()

    assert told["void"]
    assert told["unsent"] > 0
    assert 0 < told["voted"] <= told["voters"]
