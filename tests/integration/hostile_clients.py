"""Clients that mean harm, in a process of their own: `python -m tests.integration.hostile_clients KIND …`.

Each kind goes on until its standard input is closed, then tells in one line of JSON what it did and what it
was answered. It never stops by itself, and never uses more than loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import resource
import ssl
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import uvloop

from ballot.encoding import b64encode
from ballot.suite import SEAL_OVERHEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
STEP_S: Final = 0.2
OPENING: Final = 64
"""Connections that are opened at once."""

READY: Final = "ready\n"
DESCRIPTORS: Final = 20_000
STOP_S: Final = 20.0


class Clients:
    """One kind's connections to one edge."""

    def __init__(self, host: str, port: int, *, path: str, count: int) -> None:
        self.address = (host, port)
        self.path = path
        self.count = count
        self.did: Counter[str] = Counter()
        self._gate = asyncio.Semaphore(OPENING)

    async def connect(self, *, source: str | None = None) -> Streams | None:
        """A connection, or nothing when the edge takes none just now."""
        async with self._gate:
            try:
                local = (source, 0) if source else None
                streams = await asyncio.open_connection(*self.address, local_addr=local)
            except OSError as error:
                self.did[f"not connected: {type(error).__name__}"] += 1
                await asyncio.sleep(STEP_S)
                return None
        self.did["connected"] += 1
        return streams

    async def again(self, one: Callable[[int], Awaitable[None]]) -> None:
        """Let `count` clients do `one` thing again and again."""

        async def forever(number: int) -> None:
            for turn in itertools.count():
                try:
                    await one(number + turn * self.count)
                except (OSError, EOFError, asyncio.IncompleteReadError):
                    self.did["closed"] += 1
                await asyncio.sleep(0)

        await asyncio.gather(*(forever(number) for number in range(self.count)))

    async def status(self, reader: asyncio.StreamReader) -> str:
        """The status of the next answer, read to its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length"))
        await reader.readexactly(length)
        status = head.split()[1].decode()
        self.did[status] += 1
        return status

    async def read(self, path: str) -> bytes:
        """The body of the answer to one GET."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: vote\r\nConnection: close\r\n\r\n".encode())
        _, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        return body

    def head(self, length: int) -> bytes:
        """The head of a vote with a body of `length` bytes."""
        line = f"POST {self.path}/votes HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n"
        return line.encode() + b"Content-Length: %d\r\n\r\n" % length

    def guess(self, number: int) -> bytes:
        """A whole request about a credential that nobody was issued."""
        body = b'{"credential_sha256":"%064x"}' % (number + 1)
        line = f"POST {self.path}/access HTTP/1.1\r\nHost: vote\r\nContent-Type: application/json\r\n"
        return line.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body

    # The kinds.

    async def idle(self) -> None:
        """Ask once, then hold the connection and say nothing."""

        async def one(_number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            writer.write(b"GET /livez HTTP/1.1\r\nHost: vote\r\n\r\n")
            await self.status(reader)
            self.did["idle"] += 1
            await reader.read()
            writer.close()

        await self.again(one)

    async def slow_heads(self) -> None:
        """A byte of a head now and then, never the end of it."""
        await self.again(lambda _: self._drip(b"GET /livez HTTP/1.1\r\n" + b"X-Slow: y\r\n" * 1_000))

    async def slow_bodies(self) -> None:
        """A whole head, then a byte of the body now and then."""
        await self.again(lambda _: self._drip(b"{" * 2_000, self.head(2_000)))

    async def _drip(self, data: bytes, first: bytes = b"") -> None:
        streams = await self.connect()
        if streams is None:
            return
        reader, writer = streams
        writer.write(first)
        answered = asyncio.ensure_future(reader.read())
        for byte in data:
            writer.write(bytes((byte,)))
            done, _ = await asyncio.wait({answered}, timeout=STEP_S)
            if done:
                break
        writer.close()
        self.did["given up on"] += 1

    async def oversized(self) -> None:
        """Heads and bodies beyond every bound, by turns."""

        async def one(number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            kinds = (
                b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
                b"GET /livez HTTP/1.1\r\n" + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
                b"GET /livez HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
                self.head(10_000_000) + b"a" * 200_000,
            )
            writer.write(kinds[number % len(kinds)])
            await self.status(reader)
            writer.close()

        await self.again(one)

    async def pipelining(self) -> None:
        """Hundreds of requests in one go, the answers read late."""

        async def one(_number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            for _ in range(5):
                writer.write(b"GET /livez HTTP/1.1\r\nHost: vote\r\n\r\n" * 200)
                await asyncio.sleep(STEP_S)
                for _ in range(200):
                    await self.status(reader)
            writer.close()

        await self.again(one)

    async def half_closed(self) -> None:
        """Half a request or a whole one, then half of the connection closed and the rest held."""

        async def one(number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            whole = self.guess(number)
            writer.write(whole if number % 2 else whole[: len(whole) // 2])
            writer.write_eof()
            await self.status(reader)
            await reader.read()
            writer.close()

        await self.again(one)

    async def guesses(self) -> None:
        """Wrong codes from one address, as fast as they are answered."""

        async def one(number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            for turn in range(100):
                writer.write(self.guess(number * 100 + turn))
                await self.status(reader)
            writer.close()

        await self.again(one)

    async def junk_votes(self) -> None:
        """Votes in good form under credentials that nobody was issued, as fast as they are answered."""
        document = json.loads(await self.read(f"{self.path}/document"))
        sealed = b64encode(bytes(SEAL_OVERHEAD_BYTES + document["padded_size"]))

        async def one(_number: int) -> None:
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            for _ in range(100):
                credential, nonce, signature = (b64encode(os.urandom(size)) for size in (32, 16, 64))
                vote = {"credential": credential, "suite": document["suite"], "nonce": nonce}
                body = json.dumps(
                    {**vote, "sealed": sealed, "signature": signature}, separators=(",", ":")
                ).encode()
                writer.write(self.head(len(body)) + body)
                await self.status(reader)
            writer.close()

        await self.again(one)

    async def spread_guesses(self) -> None:
        """Wrong codes, each from another of ten thousand addresses."""

        async def one(number: int) -> None:
            place = number % 10_000
            streams = await self.connect(source=f"127.9.{place // 250}.{place % 250 + 1}")
            if streams is None:
                return
            reader, writer = streams
            writer.write(self.guess(number))
            await self.status(reader)
            writer.close()

        await self.again(one)

    async def handshakes(self) -> None:
        """TLS handshakes that are begun and never finished, and whole ones for nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE

        async def one(number: int) -> None:
            if number % 4 == 0:
                _, writer = await asyncio.open_connection(*self.address, ssl=context)
                self.did["handshakes"] += 1
                writer.close()
                return
            streams = await self.connect()
            if streams is None:
                return
            reader, writer = streams
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            with suppress(ssl.SSLWantReadError):
                context.wrap_bio(incoming, outgoing).do_handshake()
            writer.write(outgoing.read())
            await reader.read(1)
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(), 2.0)
            writer.close()

        await self.again(one)


KINDS: Final = (
    "idle",
    "slow_heads",
    "slow_bodies",
    "oversized",
    "pipelining",
    "half_closed",
    "guesses",
    "junk_votes",
    "spread_guesses",
    "handshakes",
)


async def _main(kind: str, clients: Clients) -> None:
    working = asyncio.create_task(getattr(clients, kind)())
    sys.stdout.write(READY)
    sys.stdout.flush()
    closed = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait({working, closed}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    working.cancel()
    sys.stdout.write(json.dumps(dict(clients.did)) + "\n")
    sys.stdout.flush()
    os._exit(0)  # thousands of connections need no kind farewell


def main() -> None:
    """Be hostile until standard input is closed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, DESCRIPTORS), hard))

    async def run() -> None:
        await _main(
            arguments.kind,
            Clients(arguments.host, arguments.port, path=arguments.path, count=arguments.count),
        )

    uvloop.run(run())


@asynccontextmanager
async def hostile(
    kind: str, address: tuple[str, int], path: str, *, count: int
) -> AsyncIterator[Counter[str]]:
    """Let `count` clients of a kind loose while the block runs; what they did is there afterwards."""
    did: Counter[str] = Counter()
    module = "tests.integration.hostile_clients"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, kind, *map(str, address), path, str(count)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        async with asyncio.timeout(STOP_S):
            assert await process.stdout.readline() == READY.encode()
        yield did
        process.stdin.close()
        async with asyncio.timeout(STOP_S):
            did.update(json.loads(await process.stdout.readline()))
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    main()
