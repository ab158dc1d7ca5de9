"""Real servers for every test that asks: one embedded set a session, in a directory of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from ballot import handoff
from runtime import valkey
from runtime.home import URL_VARIABLES, Home
from runtime.servers import Servers, servers

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND_WAIT_S = 240

# What a test leaves open is warned of whenever the collector comes by, and a warning is an error. pytest
# puts it into words, for which it parses: in the middle of another parse Python 3.11 ends that one with
# "recursion depth mismatch", and a test that did nothing wrong fails.
sys.unraisablehook = lambda _: None

# A shell that starts the tests in the background makes them ignore Ctrl-C, and whatever they start inherits
# that; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True, slots=True)
class Stack:
    """The session's servers, and the environment in which a subprocess finds the same ones."""

    home: Home
    servers: Servers
    env: dict[str, str]


class RunBallot(Protocol):
    """Runs the installed `ballot` command on the session's servers."""

    def __call__(
        self,
        *args: str | Path,
        input: str | bytes | None = None,  # noqa: A002  # as subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Return what it wrote, as text; with `check` a non-zero exit fails the test and shows it."""


def environment_for(home: Path) -> dict[str, str]:
    """Return this process's environment with `home` as BALLOT_HOME and no server configured."""
    env = {name: value for name, value in os.environ.items() if name not in URL_VARIABLES}
    env["BALLOT_HOME"] = str(home)
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    return env


def ballot_command() -> str:
    """Return the path of the installed `ballot` command of this environment."""
    return str(Path(sys.executable).parent / "ballot")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Embedded Valkey and PostgreSQL, started once a session."""
    env = environment_for(tmp_path_factory.mktemp("stack") / "home")
    home = Home.from_environment(env)
    with servers(home, env) as found:
        yield Stack(home, found, env)
        # Votes of nobody on a register, left published, blow the fuse of whichever worker comes next.
        drain = [ballot_command(), "worker", "--until-drained"]
        drained = subprocess.run(drain, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert drained.returncode == 0, f"a test has left what stops a worker:\n{drained.stderr}"


async def unpublish(found: Servers, ballot: str) -> list[str]:
    """Take the ballots whose ids begin so from what workers look at; those there were."""
    client = valkey.connect(found, "admin")
    try:
        names = [os.fsdecode(name) for name in await client.hkeys(handoff.PUBLISHED_KEY)]
        names = [name for name in names if name.startswith(ballot)]  # some make a second one by a suffix
        if names:
            await client.hdel(handoff.PUBLISHED_KEY, *names)
        return names
    finally:
        await client.aclose()


@pytest.fixture
def ballot_id(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return an id that no other test uses; afterwards no worker looks at what the test left in the queue."""
    ballot = f"t-{secrets.token_hex(6)}"
    yield ballot
    if "stack" in request.fixturenames:
        stack: Stack = request.getfixturevalue("stack")
        asyncio.run(unpublish(stack.servers, ballot))


@pytest.fixture
def run_ballot(stack: Stack) -> RunBallot:
    """Run the real `ballot` command against the session's servers."""

    def run(
        *args: str | Path,
        input: str | bytes | None = None,  # noqa: A002  # as subprocess.run
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        given = input.decode() if isinstance(input, bytes) else input
        done = subprocess.run(
            [ballot_command(), *(str(arg) for arg in args)],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=stack.env,
            check=False,
            timeout=COMMAND_WAIT_S,
        )
        if check and done.returncode != 0:
            pytest.fail(f"ballot {' '.join(map(str, args))} ended with {done.returncode}:\n{done.stderr}")
        return done

    return run
