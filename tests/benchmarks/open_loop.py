"""An open-loop load: each request is sent when its time comes, however slow the answers to others are.

`python -m tests.benchmarks.open_loop PORT PATH FILE RATE ONE_AT_A_TIME` posts each line of FILE once, RATE a
second. Latency counts from when a request was due, so that a stall is felt by all who came meanwhile.
"""

import asyncio
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import cast

import orjson
import uvloop

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
LAST = re.compile(rb"connection: close", re.IGNORECASE)
ANSWER_S = 30.0


class Connection(asyncio.Protocol):
    """One kept connection with at most one request under way."""

    def __init__(self) -> None:
        self.received = b""
        self.answer: asyncio.Future[int] | None = None
        self.last = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a lost answer has no status
        """What was under way is lost."""
        self.last = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(0)

    async def send(self, request: bytes) -> int:
        """Send a request; the answer's status, 0 when none came."""
        assert self.transport is not None
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answer

    def data_received(self, data: bytes) -> None:
        """Take in an answer, whole or in parts."""
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if separator and length is not None and len(body) >= int(length[1]):
            self.received = b""
            self.last = LAST.search(head) is not None
            if self.answer is not None and not self.answer.done():
                self.answer.set_result(int(head[9:12]))


class Load:
    """The connections that are free, and what came back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: list[Connection] = []
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []

    async def cast(self, request: bytes, due_s: float) -> None:
        """Send one request over a free connection, a new one if there is none."""
        while self.free and self.free[-1].last:
            self.free.pop()
        if self.free:
            connection = self.free.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, "127.0.0.1", self.port)
        async with asyncio.timeout(ANSWER_S):
            self.statuses[await connection.send(request)] += 1
        self.latencies.append(time.perf_counter() - due_s)
        if not connection.last:
            self.free.append(connection)


async def run(
    port: int, path: str, bodies: list[bytes], rate: float, *, one_at_a_time: bool
) -> dict[str, object]:
    """Send everything; statuses and latencies."""
    head = f"POST {path} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [head.encode() + b"%d\r\n\r\n%s" % (len(body), body) for body in bodies]
    load = Load(port)
    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as casting:
        for number, request in enumerate(requests):
            due_s = began_s + number / rate
            await asyncio.sleep(max(due_s - time.perf_counter(), 0))
            if one_at_a_time:
                await load.cast(request, time.perf_counter())
            else:
                casting.create_task(load.cast(request, due_s))
    latencies = sorted(load.latencies)
    return {
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "per_second": len(latencies) / (time.perf_counter() - began_s),
        "p50_ms": 1_000 * latencies[len(latencies) // 2],
        "p99_ms": 1_000 * latencies[len(latencies) * 99 // 100],
        "max_ms": 1_000 * latencies[-1],
    }


if __name__ == "__main__":
    lines = Path(sys.argv[3]).read_bytes().splitlines()
    answers = uvloop.run(
        run(int(sys.argv[1]), sys.argv[2], lines, float(sys.argv[4]), one_at_a_time=sys.argv[5] == "1")
    )
    sys.stdout.buffer.write(orjson.dumps(answers) + b"\n")
