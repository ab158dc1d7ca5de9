"""The parent of the edge processes: binds once, keeps them, adds up their numbers.

On SIGHUP it replaces them one after the other, so that new code or new settings of the machine are taken up
while votes flow. In a terminal the signal means that the terminal is gone, and ends us as it always does.
"""

import asyncio
import os
import shutil
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from intake.child import Child, Making, replace_all
from intake.page_store import Chosen, PageStore, named_in
from intake.server import BACKLOG
from runtime import logs, metrics
from runtime.clock import Clock
from runtime.lifecycle import Stop

log = logs.get("parent")

METRICS_PREFIX: Final = "intake-metrics-"
PAGE_FILE: Final = "page"
"""Beside the children's numbers; in it the name of the page's version that they serve."""

TAKE_S: Final = 60.0


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port` (0: any), or one plain sentence why not."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise click.ClickException(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    listening.setblocking(False)  # noqa: FBT003  # the standard library's own signature
    return listening


def ballot_command() -> str:
    """The installed `ballot`, as we were called if that was it."""
    called = Path(sys.argv[0])
    return str(called if called.name == "ballot" else Path(sysconfig.get_path("scripts")) / "ballot")


def metrics_directory(run: Path) -> Path:
    """A new directory for the children's numbers; those of parents that are gone are removed."""
    for left in run.glob(f"{METRICS_PREFIX}*"):
        pid = left.name.removeprefix(METRICS_PREFIX)
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
    directory = run / f"{METRICS_PREFIX}{os.getpid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    return directory


async def keep(
    listening: socket.socket,
    *,
    scheme: str,
    processes: int,
    metrics_port: int,
    run: Path,
    page: Path,
    clock: Clock,
    stop: Stop,
    stop_s: float,
) -> int:
    """Keep `processes` children and the metrics port until asked to stop, and `stop_s` longer at most.

    The children serve the page that was taken into `page` last, all the same one. The exit code is always 0.
    """
    directory = metrics_directory(run)
    chosen = Chosen(PageStore(page, in_use=partial(_pages_in_use, run)), directory / PAGE_FILE)
    chosen.take()
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    numbers = metrics.serve(metrics_port, registry=registry)
    command = (sys.executable, ballot_command(), "intake")
    making = Making(
        command=(
            *command,
            *("--processes", str(processes)),
            *("--page-named-in", str(directory / PAGE_FILE)),
            "--inherit-socket",
        ),
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(directory),
            "BALLOT_PARENT_PID": str(os.getpid()),
        },
        listening=listening,
        metrics_directory=directory,
        clock=clock,
        stop_s=stop_s,
        page=lambda: chosen.name,
    )
    children = [Child(making) for _ in range(processes)]
    try:
        host, port, *_ = listening.getsockname()
        click.echo(f"intake on {scheme}://{host}:{port}, metrics on port {numbers.port}")
        with _hang_up(partial(_renew, chosen, page, run, children, stop)):
            await asyncio.gather(chosen.keep_looking(stop), *(child.keep(stop) for child in children))
    finally:
        numbers.close()
        shutil.rmtree(directory, ignore_errors=True)
    return 0


async def _renew(chosen: Chosen, page: Path, run: Path, children: Sequence[Child], stop: Stop) -> None:
    """Take the page as it is built now, then put new processes in the places of all.

    By a process of its own: our code may be older than what is installed now, and its templates.
    """
    taking = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "intake.take_page", str(page), *_pages_in_use(run)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(taking.communicate(), TAKE_S)
    except TimeoutError:
        taking.kill()
        said = b"taking it takes too long"
    chosen.note(said.decode(errors="replace").strip() or f"taking it ended with code {taking.returncode}")
    await replace_all(children, stop)


def _pages_in_use(run: Path) -> frozenset[str]:
    """What the parents that share this home have told their processes to serve."""
    return frozenset(
        filter(None, (named_in(file) for file in run.glob(f"{METRICS_PREFIX}*/{PAGE_FILE}"))),
    )


@contextmanager
def _hang_up(act: Callable[[], Coroutine[None, None, None]]) -> Iterator[None]:
    """Run `act` on SIGHUP while the block runs; a second signal meanwhile changes nothing."""
    if sys.stdin is not None and sys.stdin.isatty():
        yield
        return
    loop = asyncio.get_running_loop()
    acting: asyncio.Task[None] | None = None

    def asked() -> None:
        nonlocal acting
        if acting is None or acting.done():
            acting = loop.create_task(act())

    loop.add_signal_handler(signal.SIGHUP, asked)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        if acting is not None:
            acting.cancel()
