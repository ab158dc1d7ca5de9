"""The provider caps what comes in at a tenth of what was agreed, as in Ontario in 2018, for a while.

The voters go to `Running.url` from the beginning of the run: there we accept them, connect to the edge from
the same address, and hand both connections to a process in a network namespace of its own, which narrows
the line.
"""

import asyncio
import json
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from loadtests.overlays.busiest import WINDOW_S, Busiest
from loadtests.overlays.narrow import BURST_BYTES, CONNECTIONS_MAX
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import CONNECT_SECONDS_MAX, Target
from loadtests.overlays.work import Impossible, Work, now_us, python_module

WHAT = "inbound bandwidth cut to a tenth (tc tbf in a network namespace of the run's own)"
KNOBS: Final = frozenset({"how", "line_bits", "share"})
LINE_BITS, SHARE = 2e6, 0.1
"""The line agreed has eight times the room that the casts in the last minute of `royal-mail-noon` need."""
READY_SECONDS_MAX = 20.0
END_SECONDS_MAX = 5.0
LINE_CHARS_MAX = 4_096
TOLERANCE = 1.1
BINDS_MIN = 0.8
"""Of what the cap lets through so much must have come in: a line that is wider than what comes holds nobody
back, and is not to excuse anybody."""

CPU_SHARE_MAX = 0.9
NARROWED = "narrowed"
WAYS: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (("unshare", "--net"), "kernel"),
    (("unshare", "--map-root-user", "--net"), "kernel"),
    ((), "relay"),
)
"""In order: as root, as anybody who may make a namespace, and without one."""


class NarrowLine:
    """The process in the namespace, and the way by which connections get there."""

    def __init__(self) -> None:
        self.how = ""
        self.why_not: list[str] = []
        self.carried: dict[str, int] = {}
        self.busiest = Busiest()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: socket.socket | None = None
        self._set = asyncio.Event()

    async def start(self, ways: Sequence[tuple[tuple[str, ...], str]]) -> None:
        """Start it in the first of the ways that works here."""
        for prefix, how in ways:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            words = [*prefix, *python_module("loadtests.overlays.narrow"), str(theirs.fileno()), how]
            try:
                process = await asyncio.create_subprocess_exec(
                    *words,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                )
            except OSError as error:
                self.why_not.append(f"{prefix[0] if prefix else how}: {error}")
                continue
            finally:
                theirs.close()
            self._process, self._channel, self.how = process, ours, how
            first = await self._line()
            if "ready" in first:
                return
            self.why_not.append(str(first.get("cannot") or await self._said()))
            await self.end()
        raise Impossible(f"No line can be narrowed here: {'; '.join(self.why_not)}")

    async def _said(self) -> str:
        process = self._process
        if process is None or process.stderr is None:
            return "it did not start"
        said = (await process.stderr.read(LINE_CHARS_MAX)).decode("utf-8", "replace").strip()
        return said.splitlines()[-1] if said else "it said nothing"

    async def _line(self) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            return {}
        with suppress(TimeoutError, ValueError):
            async with asyncio.timeout(READY_SECONDS_MAX):
                told: dict[str, Any] = json.loads(await process.stdout.readline() or b"{}")
                return told
        return {}

    async def listen(self) -> None:
        """Take in what it says has been carried, until it ends."""
        while told := await self._line():
            if "bits_a_second" in told:
                told.pop("bits_a_second")
                self.carried = told
                self._set.set()
            self.carried = told
            if "cpu_ms" in told:
                self.busiest.note(time.monotonic(), told["cpu_ms"] / 1000)

    async def narrow_to(self, bits_a_second: float) -> dict[str, int]:
        """Let so much through from here on; what had been carried until then."""
        process = self._process
        if process is None or process.stdin is None:
            raise Impossible("The narrow line is gone.")
        self._set.clear()
        process.stdin.write(f"{bits_a_second}\n".encode())
        await process.stdin.drain()
        async with asyncio.timeout(READY_SECONDS_MAX):
            await self._set.wait()
        return dict(self.carried)

    def hand_over(self, voter: socket.socket, edge: socket.socket) -> None:
        """Give it one voter's connection and the one to the edge that belongs to it."""
        if self._channel is None:
            return
        socket.send_fds(self._channel, [b"+"], [voter.fileno(), edge.fileno()])

    async def end(self) -> None:
        """End it."""
        if self._channel is not None:
            self._channel.close()
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), END_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            await process.wait()


class Door:
    """Where the voters come in."""

    def __init__(self, target: Target, line: NarrowLine) -> None:
        self._target = target
        self._line = line
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
        self._listening.setblocking(False)  # noqa: FBT003  # it takes no name
        self._connecting: set[asyncio.Task[None]] = set()
        self.refused = 0
        self.port = int(self._listening.getsockname()[1])

    async def accept(self) -> None:
        """Let everybody in, as long as it runs."""
        loop = asyncio.get_running_loop()
        while True:
            voter, address = await loop.sock_accept(self._listening)
            if len(self._connecting) >= CONNECTIONS_MAX:
                voter.close()
                self.refused += 1
                continue
            task = asyncio.ensure_future(self._through(voter, str(address[0])))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _through(self, voter: socket.socket, source: str) -> None:
        """Connect to the edge as if the voter did: from the same address."""
        loop = asyncio.get_running_loop()
        with voter, socket.socket() as edge, suppress(OSError, TimeoutError):
            voter.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            edge.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            edge.setblocking(False)  # noqa: FBT003  # it takes no name
            edge.bind((source, 0))
            connecting = loop.sock_connect(edge, (self._target.host, self._target.port))
            await asyncio.wait_for(connecting, CONNECT_SECONDS_MAX)
            self._line.hand_over(voter, edge)

    def close(self) -> None:
        """Let nobody else in."""
        self._listening.close()


async def run(work: Work) -> dict[str, Any]:
    """Carry the voters from now on; narrow the line for the time that was asked for."""
    line = NarrowLine()
    only = work.context.knobs.get("how")
    await line.start([way for way in WAYS if only in {None, way[1]}])
    listening = asyncio.ensure_future(line.listen())
    door = Door(Target.of(work.context), line)
    accepting = asyncio.ensure_future(door.accept())
    scheme = work.context.url.partition("://")[0]
    work.ready(url=f"{scheme}://127.0.0.1:{door.port}", how=line.how)
    bits = work.knob("line_bits", LINE_BITS) * work.knob("share", SHARE)
    own = Busiest()
    telling = asyncio.ensure_future(_tell(work, line, own))
    told: dict[str, Any] = {"how": line.how, "why_not": line.why_not, "bits_a_second": bits}
    try:
        work.from_us = now_us()
        await work.rest(work.context.from_s)
        if not work.over.is_set():
            told |= await _narrowed(work, line, bits)
        await work.over.wait()
    finally:
        for task in (accepting, telling):
            task.cancel()
        door.close()
        await line.end()
        await asyncio.wait([listening], timeout=END_SECONDS_MAX)
    turned_away = door.refused + line.carried.get("refused", 0)
    return told | {
        "carried": line.carried,
        "turned_away": turned_away,
        "cpu_share": round(max(own.share(), line.busiest.share()), 3),
    }


async def _narrowed(work: Work, line: NarrowLine, bits: float) -> dict[str, Any]:
    """The cap itself, and what came in while it lasted."""
    before, from_us = await line.narrow_to(bits), now_us()
    work.did[NARROWED] += 1
    await work.rest(work.context.seconds)
    after, to_us = await line.narrow_to(0.0), now_us()
    return {
        "from_us": from_us,
        "to_us": to_us,
        "capped_from_us": from_us,
        "capped_to_us": to_us,
        "capped_bytes_in": after["bytes_in"] - before["bytes_in"],
        "connections_while_capped": after["connections"] - before["connections"],
    }


async def _tell(work: Work, line: NarrowLine, own: Busiest) -> None:
    """Put what is carried into the lines, and see how busy this process is with it."""
    before: dict[str, int] = {}
    while True:
        await asyncio.sleep(0.5)
        own.note(time.monotonic(), time.process_time())
        now = dict(line.carried)
        for what, count in now.items():
            if what == "cpu_ms":
                continue
            work.did[what] += count - before.get(what, 0)
        before = now


def judge(told: Told) -> list[Judgement]:
    """While it was capped the line carried as much as it could, and no more than the cap."""
    if "capped_bytes_in" not in told:
        return [Judgement(WHAT, "was done", "the run ended before", ok=False, void=True)]
    seconds = (told["capped_to_us"] - told["capped_from_us"]) / 1e6
    lets_through = told["bits_a_second"] / 8 * seconds
    most, least = lets_through * TOLERANCE + BURST_BYTES, lets_through * BINDS_MIN
    found, turned_away, share = (
        int(told["capped_bytes_in"]),
        int(told["turned_away"]),
        float(told["cpu_share"]),
    )
    return [
        Judgement(
            f"bytes that came in while capped for {seconds:,.0f} s ({told['how']})",
            f"at most {most:,.0f}",
            f"{found:,}",
            ok=found <= most,
        ),
        Judgement(
            f"bytes that the cap was in the way of: {BINDS_MIN:.0%} of what it lets through came in",
            f"at least {least:,.0f}",
            f"{found:,}",
            ok=found >= least > 0,
            void=not found >= least > 0,
        ),
        Judgement(
            "connections that the lab's own relay turned away",
            "0",
            f"{turned_away:,}",
            ok=not turned_away,
            void=bool(turned_away),
        ),
        Judgement(
            "the lab's own relay was not the bottleneck",
            f"less than {CPU_SHARE_MAX:g} of a core in any {WINDOW_S:g} s",
            f"{share:.2f} of a core",
            ok=share < CPU_SHARE_MAX,
            void=share >= CPU_SHARE_MAX,
        ),
    ]
