"""`ballot monitor` runs the real checker: a ballot tampered with shows on the metrics port, by book."""

import asyncio
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.up import choose_addresses
from runtime.home import Home
from runtime.servers import servers
from tests.conftest import Stack, ballot_command, environment_for
from tests.integration.check_ballot import SmallBallot, build, run

SHOWN_S = 60.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallBallot]:
    """The only published ballot of a home of its own, because the gauges are sums over all of them."""
    directory = tmp_path_factory.mktemp("books")
    env = environment_for(directory / "home")
    home = Home.from_environment(env)
    with servers(home, env) as found:
        yield build(Stack(home, found, env), directory)


@contextmanager
def monitor(stack: Stack) -> Iterator[Callable[[], dict[str, float]]]:
    """A running monitor that checks every second; gives what its metrics port shows of the books."""
    port = choose_addresses("127.0.0.1", 0, 0).metrics_port
    process = subprocess.Popen(
        [ballot_command(), "monitor", "--url", "http://127.0.0.1:1", "--metrics-port", str(port)],
        env=stack.env | {"BALLOT_CHECK_SECONDS": "1"},
        stderr=subprocess.DEVNULL,
    )

    def books() -> dict[str, float]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return {}
        return {
            ".".join([sample.name.removeprefix("ballot_books_"), *sample.labels.values()]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("ballot_books_")
        }

    try:
        yield books
    finally:
        process.terminate()
        assert process.wait(30) == 0


async def until(books: Callable[[], dict[str, float]], **expected: float) -> dict[str, float]:
    """Poll until the metrics show this; returns all of them."""
    deadline = time.monotonic() + SHOWN_S
    while True:
        shown = await asyncio.to_thread(books)
        if expected.items() <= {name.replace(".", "_"): value for name, value in shown.items()}.items():
            return shown
        assert time.monotonic() < deadline, shown
        await asyncio.sleep(0.1)


async def test_tampering_shows_until_it_is_undone(alone: SmallBallot) -> None:
    """A mark taken from the gate is a difference, a stored vote deleted a finding; undone, both are 0."""
    first = "FROM ballot.votes WHERE ballot = $1 AND reference = $2"
    named = (alone.id, alone.receipts[0].reference)
    with monitor(alone.stack) as books:
        before = await until(books, difference_electronic=0, findings=0)
        async with alone.restored(), alone.owner() as owner, alone.queue() as queue:
            await queue.hdel(alone.keys[2], await owner.fetchval(f"SELECT uin {first}", *named))
            unmarked = await until(books, difference_electronic=1)
        after = await until(books, difference_electronic=0, findings=0)
        async with alone.restored(), alone.owner() as owner:
            await owner.execute(f"DELETE {first}", *named)
            await until(books, findings=3)  # the vote, its IP record, and the turnout that counted it

    assert before["check_failures_total"] == 0
    assert unmarked["findings"] >= 1
    assert before["checked_seconds"] < after["checked_seconds"]
    lines = [json.loads(line) for line in (alone.stack.home.logs / "monitor.log").read_text().splitlines()]
    alarm = next(line for line in lines if line["action"] == "books out")
    assert (alarm["level"], alarm["ballot"], alarm["differences"]) == ("alarm", alone.id, {"electronic": 1})


def test_the_published_ballots_are_listed(alone: SmallBallot) -> None:
    """`--list` names each, a line or a JSON object for a program; it goes with nothing that would check."""
    text = run(alone.stack, "check", "--list").stdout
    found = json.loads(run(alone.stack, "check", "--list", "--json").stdout)
    both = run(alone.stack, "check", alone.id, "--list", check=False)
    neither = run(alone.stack, "check", check=False)

    assert (text, found) == (f"{alone.id}\n", {"ballots": [alone.id]})
    assert both.returncode != 0
    assert "--list checks nothing" in both.stderr
    assert neither.returncode != 0
    assert "name a ballot" in neither.stderr


def test_a_wrong_period_is_refused(alone: SmallBallot) -> None:
    """One plain sentence, before anything is started."""
    done = subprocess.run(
        [ballot_command(), "monitor", "--metrics-port", "0"],
        env=alone.stack.env | {"BALLOT_CHECK_SECONDS": "often"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 1
    assert "BALLOT_CHECK_SECONDS is 'often'" in done.stderr
    assert "Traceback" not in done.stderr
