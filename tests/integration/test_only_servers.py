"""`ballot servers`: a home's own servers alone, kept running, until told to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from click.testing import CliRunner

from loadtests.faults import hands, servers
from loadtests.staging.stage import wait_until
from ops.only_servers import only_servers
from runtime.home import Home
from runtime.records import Records
from tests.conftest import ballot_command, environment_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STOP_S = 30


@contextmanager
def running(home: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, int]]]:
    """`ballot servers` in `home`, and the ports it names by the time it says `ready`."""
    command = [ballot_command(), "servers"]
    with subprocess.Popen(
        command, env=environment_for(home), stdout=subprocess.PIPE, text=True, process_group=0
    ) as process:
        assert process.stdout is not None
        try:
            told = "".join(iter(process.stdout.readline, "ready\n"))
            yield process, {name: int(port) for name, port in re.findall(r"(?m)^(\w+) +\S+:(\d+)$", told)}
        finally:
            process.terminate()
            process.wait(STOP_S)


def test_the_servers_run_alone_and_are_kept_running(tmp_path: Path) -> None:
    """They answer where it says; one that is killed is there again; asked to stop, it leaves nothing."""
    home = tmp_path / "home"
    with running(home) as (process, ports):
        assert ports.keys() == {"valkey", "voterdb", "userdb"}
        assert servers.valkey_answers(ports["valkey"])
        assert all(servers.postgres_answers(ports[name]) for name in ("voterdb", "userdb"))

        (queue,) = hands.below(process.pid, "valkey-server")
        os.kill(queue, signal.SIGKILL)
        wait_until(
            lambda: hands.below(process.pid, "valkey-server") not in ([], [queue]),
            seconds=STOP_S,
            what="another queue",
        )
        process.terminate()
        assert process.wait(STOP_S) == 0
    assert Records(Home(home).run).processes() == {}
    assert not any(map(servers.listens, ports.values()))


def test_servers_of_somebody_else_are_not_run(tmp_path: Path) -> None:
    """Where servers are configured there are none to run, and that is one sentence."""
    env = {"BALLOT_HOME": str(tmp_path), "BALLOT_VALKEY_URL": "valkey://127.0.0.1:6379"}
    result = CliRunner(env=env).invoke(only_servers)
    assert result.exit_code == 1
    assert "run by somebody else" in result.output
