"""A line that can be made narrow: what voters send crosses the loopback device of a namespace of our own.

`python -m loadtests.overlays.narrow FD kernel` runs in that namespace (`unshare --net`), `… relay` where
there can be none. Pairs of connected sockets arrive through the Unix socket FD, one towards a voter and one
towards the edge; the voter's bytes go through the device, whose token bucket (tc tbf) narrows it, the
answers do not: a provider that capped what came in is what is played. In `relay` a bucket of our own holds
the bytes back instead.

On stdin a rate in bits a second, or 0 for as wide as can be; on stdout a line of JSON a second.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from loadtests.overlays.work import handles_raised

CHUNK: Final = 16_384
CONNECTIONS_MAX: Final = 4_000
HANDLES_A_PAIR: Final = 5
BUFFER_BYTES: Final = 65_536
MTU: Final = 1_500
BURST_BYTES: Final = 16_384
QUEUE_MS: Final = 400
WIDE_BITS: Final = 1e9
COMMAND_SECONDS_MAX: Final = 10.0
DEVICE: Final = "lo"
PAIR: Final = 2


class Device:
    """The namespace's loopback: connections across it, and how wide it is."""

    def __init__(self) -> None:
        if not in_a_namespace_of_its_own():
            raise OSError("this is not a network namespace of its own, and no other line is ever narrowed")
        for words in (("mtu", str(MTU)), ("up",)):
            command("ip", "link", "set", DEVICE, *words)
        self.set(WIDE_BITS)  # who cannot narrow it says so at once
        self.set(0.0)
        self._inner = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_MAX)
        self._inner.setblocking(False)  # noqa: FBT003  # it takes no name
        self._expected: dict[tuple[str, int], asyncio.Future[socket.socket]] = {}

    @staticmethod
    def set(bits_a_second: float) -> None:
        """Let so much through from here on; 0 is all of it."""
        if bits_a_second <= 0:
            command("tc", "qdisc", "del", "dev", DEVICE, "root")
            return
        rate = ("rate", f"{round(bits_a_second)}bit", "burst", str(BURST_BYTES), "latency", f"{QUEUE_MS}ms")
        command("tc", "qdisc", "replace", "dev", DEVICE, "root", "tbf", *rate)

    async def accept(self) -> None:
        """Bring the ends of connections together, as long as it runs."""
        loop = asyncio.get_running_loop()
        while True:
            far, address = await loop.sock_accept(self._inner)
            waiting = self._expected.pop(address, None)
            if waiting is None or waiting.done():
                far.close()
            else:
                waiting.set_result(far)

    async def across(self) -> tuple[socket.socket, socket.socket]:
        """A connection over the device: both its ends."""
        loop = asyncio.get_running_loop()
        near = socket.socket()
        near.setblocking(False)  # noqa: FBT003  # it takes no name
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        near.bind(("127.0.0.1", 0))
        address = near.getsockname()
        waiting: asyncio.Future[socket.socket] = loop.create_future()
        self._expected[address] = waiting
        try:
            await loop.sock_connect(near, self._inner.getsockname())
            return near, await waiting
        except BaseException:
            self._expected.pop(address, None)
            near.close()
            raise


class Bucket:
    """A token bucket in user space, for where the kernel's cannot be had."""

    def __init__(self) -> None:
        self._bits_a_second = 0.0
        self._free_s = 0.0

    def set(self, bits_a_second: float) -> None:
        """Let so much through from here on; 0 is all of it."""
        self._bits_a_second = bits_a_second

    async def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        rate = self._bits_a_second / 8
        if rate <= 0:
            return
        now = time.monotonic()
        self._free_s = max(self._free_s, now - BURST_BYTES / rate) + size / rate
        await asyncio.sleep(max(0.0, self._free_s - now))


class Narrow:
    """All pairs that are carried, over the device if there is one."""

    def __init__(self, device: Device | None) -> None:
        self._device = device
        self._bucket = Bucket()
        self._tasks: set[asyncio.Task[None]] = set()
        self._most = min(CONNECTIONS_MAX, handles_raised() // HANDLES_A_PAIR)
        self.bytes_in = self.bytes_out = self.connections = self.refused = 0

    def set(self, bits_a_second: float) -> None:
        """Let so much through from here on; 0 is all of it."""
        (self._device or self._bucket).set(bits_a_second)

    def carry(self, voter: socket.socket, edge: socket.socket) -> None:
        """Begin to carry one pair; one too many is closed."""
        if len(self._tasks) >= self._most:
            self.refused += 1
            voter.close()
            edge.close()
            return
        self.connections += 1
        task = asyncio.ensure_future(self._pair(voter, edge))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pair(self, voter: socket.socket, edge: socket.socket) -> None:
        """Both ways, until both are done or one breaks."""
        ends = [voter, edge]
        try:
            if self._device is not None:
                ends += await self._device.across()
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._out(edge, voter))
                if self._device is None:
                    ways.create_task(self._in(voter, edge))
                else:
                    ways.create_task(self._pass(voter, ends[2]))
                    ways.create_task(self._in(ends[3], edge))
        except* OSError:
            pass  # either side may go whenever it likes
        finally:
            for end in ends:
                end.close()

    async def _pass(self, source: socket.socket, target: socket.socket) -> None:
        """What the voter sends, onto the device."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(target, data)
        hang_up(target)

    async def _in(self, source: socket.socket, target: socket.socket) -> None:
        """What has crossed, to the edge."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, CHUNK):
            await self._bucket.take(len(data))
            self.bytes_in += len(data)
            await loop.sock_sendall(target, data)
        hang_up(target)

    async def _out(self, edge: socket.socket, voter: socket.socket) -> None:
        """What the edge says, back as it is."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(edge, CHUNK):
            self.bytes_out += len(data)
            await loop.sock_sendall(voter, data)
        hang_up(voter)

    def told(self) -> dict[str, int]:
        """What was carried so far."""
        return {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "connections": self.connections,
            "refused": self.refused,
            "cpu_ms": round(time.process_time() * 1000),
        }


def hang_up(target: socket.socket) -> None:
    """Nothing more comes this way."""
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def in_a_namespace_of_its_own() -> bool:
    """Whether our network is another one than that of the process which started us."""
    try:
        ours, theirs = (Path(f"/proc/{pid}/ns/net").readlink() for pid in ("self", os.getppid()))
    except OSError:
        return False
    return ours != theirs


def command(*words: str) -> None:
    """Run a command that changes this namespace; OSError with its own words when it does not."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=COMMAND_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{words[0]} took too long") from error
    if done.returncode != 0:
        raise OSError(f"`{' '.join(words)}`: {done.stderr.strip() or done.returncode}")


async def main(channel: socket.socket, *, kernel: bool) -> None:
    """Carry whatever arrives through `channel` until stdin ends."""
    loop = asyncio.get_running_loop()
    try:
        device = Device() if kernel else None
    except OSError as error:
        say({"cannot": str(error)})
        return
    narrow, over = Narrow(device), asyncio.Event()

    def told() -> None:
        words = os.read(sys.stdin.fileno(), CHUNK)
        if not words:
            loop.remove_reader(sys.stdin.fileno())
            over.set()
            return
        narrow.set(float(words.split()[-1]))
        say({"bits_a_second": float(words.split()[-1]), **narrow.told()})

    loop.add_reader(channel, receive, loop, channel, narrow)
    loop.add_reader(sys.stdin.fileno(), told)
    accepting = None if device is None else asyncio.ensure_future(device.accept())
    say({"ready": kernel})
    while not over.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 1.0)
        say(narrow.told())
    if accepting is not None:
        accepting.cancel()


def receive(loop: asyncio.AbstractEventLoop, channel: socket.socket, narrow: Narrow) -> None:
    """Take the next pair that was handed over."""
    try:
        _, handles, _, _ = socket.recv_fds(channel, 1, PAIR)
    except OSError:
        return
    if len(handles) == PAIR:
        pair = [socket.socket(fileno=handle) for handle in handles]
        for end in pair:
            end.setblocking(False)  # noqa: FBT003  # it takes no name
        narrow.carry(*pair)
    elif not handles:
        loop.remove_reader(channel)


def say(told: Mapping[str, object]) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), kernel=sys.argv[2] == "kernel"))
