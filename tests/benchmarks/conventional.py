"""The conventional design at its best: aiohttp, uvloop, a warm asyncpg pool, one prepared statement a vote.

The statement marks the code as used and inserts the vote, in one step and one transaction, and PostgreSQL
answers after its fsync (`synchronous_commit on`). No encryption for the queue, no receipt, no attempt log.
`python -m tests.benchmarks.conventional CONNECTIONS` prints its port and answers until killed.
"""

import asyncio
import hashlib
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson
import uvloop
from aiohttp import web

from ballot.encoding import b64decode
from runtime import postgres
from runtime.addresses import OWNER
from runtime.home import Home
from runtime.servers import servers
from tests.benchmarks.bare import BACKLOG

if TYPE_CHECKING:
    from runtime.servers import Servers

TABLES = """
CREATE SCHEMA IF NOT EXISTS conventional;
CREATE TABLE IF NOT EXISTS conventional.codes (
    ballot text NOT NULL, digest bytea NOT NULL, used_at timestamptz, PRIMARY KEY (ballot, digest)
) WITH (fillfactor = 70);
CREATE TABLE IF NOT EXISTS conventional.votes (
    reference text PRIMARY KEY, ballot text NOT NULL, nonce bytea NOT NULL, sealed bytea NOT NULL,
    signature bytea NOT NULL, ip text NOT NULL, received_at timestamptz NOT NULL DEFAULT now()
);
"""
CAST = """
WITH used AS (
    UPDATE conventional.codes SET used_at = now() WHERE ballot = $1 AND digest = $2 AND used_at IS NULL
    RETURNING ballot
)
INSERT INTO conventional.votes (reference, ballot, nonce, sealed, signature, ip)
SELECT $3, ballot, $4, $5, $6, $7 FROM used RETURNING reference
"""
CLUSTER: Final = "userdb"
"""Its own cluster: ours stores in the other, which gives way to whoever answers voters."""

POOL = web.AppKey("pool", asyncpg.Pool)
FILLER = "x" * 330


async def load_codes(found: "Servers", ballot: str, files: list[Path]) -> None:
    """Make the tables and issue the codes of every vote in `files`."""
    connection = await postgres.connect(found, CLUSTER, OWNER)
    try:
        await connection.execute(TABLES)
        rows = [(ballot, _digest(body)) for file in files for body in file.read_bytes().splitlines()]
        await connection.copy_records_to_table(
            "codes", schema_name="conventional", records=rows, columns=["ballot", "digest"]
        )
        await connection.execute("VACUUM ANALYZE conventional.codes")
    finally:
        await connection.close()


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(b64decode(orjson.loads(body)["credential"])).digest()


async def answer(request: web.Request) -> web.Response:
    """Parse, mark and insert, answer with as many bytes as ours."""
    vote = orjson.loads(await request.read())
    reference = secrets.token_hex(9)
    stored = await request.app[POOL].fetchval(
        CAST,
        request.match_info["ballot"],
        hashlib.sha256(b64decode(vote["credential"])).digest(),
        reference,
        b64decode(vote["nonce"]),
        b64decode(vote["sealed"]),
        b64decode(vote["signature"]),
        request.remote or "",
    )
    status = 403 if stored is None else 201
    body = orjson.dumps({"reference": reference, "filler": FILLER})
    return web.Response(body=body, status=status, content_type="application/json")


async def _nothing_to_reset(_connection: Any) -> None:
    """Save the round trip in which a pool cleans a connection: our statement leaves nothing behind."""


async def _prepare(connection: Any) -> None:
    """Prepare ahead: the connection keeps the statement and finds it by its text."""
    await connection.execute("SET synchronous_commit = on")
    await connection.fetchval(CAST, "", b"", "", b"", b"", b"", "")


async def serve(found: "Servers", connections: int) -> None:
    """Print the port, then answer until killed."""
    user, password = found.credentials(CLUSTER, OWNER)
    address = found.userdb
    async with asyncpg.create_pool(
        host=address.host,
        port=address.port,
        database=address.database,
        user=user,
        password=password.reveal(),
        ssl=address.sslmode,
        min_size=connections,
        max_size=connections,
        max_queries=10**9,
        init=_prepare,
        reset=_nothing_to_reset,
    ) as pool:
        app = web.Application()
        app[POOL] = pool
        app.router.add_post("/api/v1/ballots/{ballot}/votes", answer)
        listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=BACKLOG).start()
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with servers(Home.from_environment(), os.environ) as running:
        uvloop.run(serve(running, int(sys.argv[1])))
