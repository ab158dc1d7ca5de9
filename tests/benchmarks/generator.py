"""The load: sends ready-made requests over kept connections, each as soon as the one before it is answered.

`python -m tests.benchmarks.generator PORT PATH FILE CONNECTIONS` posts each line of FILE once.
"""

import asyncio
import re
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import cast

import orjson
import uvloop

from tests.benchmarks.machine import busy

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


class Load:
    """What is still to send, and what came back."""

    def __init__(self, requests: list[bytes]) -> None:
        self.waiting = deque(requests)
        self.expected = len(requests)
        self.statuses: Counter[int] = Counter()
        self.latencies: list[float] = []
        self.done = asyncio.Event()

    def answered(self, status: int, latency_s: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        self.latencies.append(latency_s)
        if len(self.latencies) == self.expected:
            self.done.set()


class Connection(asyncio.Protocol):
    """One voter after the other over one connection."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.received = b""
        self.sent_s = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self.next()

    def next(self) -> None:
        """Send the next request, if there is one."""
        assert self.transport is not None
        if self.load.waiting:
            self.sent_s = time.perf_counter()
            self.transport.write(self.load.waiting.popleft())
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take in an answer, whole or in parts."""
        self.received += data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = LENGTH.search(head)
        assert length is not None, head
        if len(body) >= int(length[1]):
            self.received = b""
            self.load.answered(int(head[9:12]), time.perf_counter() - self.sent_s)
            self.next()


async def run(port: int, path: str, bodies: list[bytes], connections: int) -> dict[str, object]:
    """Send everything; votes a second, statuses, latencies and how busy we ourselves were."""
    head = f"POST {path} HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\nContent-Length: "
    load = Load([head.encode() + b"%d\r\n\r\n%s" % (len(body), body) for body in bodies])
    loop = asyncio.get_running_loop()
    started_s, cpu_s, busy_before = time.perf_counter(), time.process_time(), busy()
    for _ in range(connections):
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", port)
    async with asyncio.timeout(60):
        await load.done.wait()
    seconds = time.perf_counter() - started_s
    busy_ticks, ticks = (after - before for after, before in zip(busy(), busy_before, strict=True))
    latencies = sorted(load.latencies)
    return {
        "per_second": len(latencies) / seconds,
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "p50_ms": 1_000 * latencies[len(latencies) // 2],
        "p99_ms": 1_000 * latencies[len(latencies) * 99 // 100],
        "generator_busy": (time.process_time() - cpu_s) / seconds,
        "cores_busy": busy_ticks / max(ticks, 1),
    }


if __name__ == "__main__":
    answers = uvloop.run(
        run(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]).read_bytes().splitlines(), int(sys.argv[4]))
    )
    sys.stdout.buffer.write(orjson.dumps(answers) + b"\n")
