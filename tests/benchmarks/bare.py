"""The baseline: a bare aiohttp handler that parses the same body, answers as many bytes, and no more."""

import asyncio
import socket
import sys

import orjson
import uvloop
from aiohttp import web

BACKLOG = 4_096
"""As ours: with fewer than there are voters, some are dropped when they connect and come a second later."""

ANSWER = orjson.dumps({"reference": "0" * 19, "filler": "x" * 330})


async def answer(request: web.Request) -> web.Response:
    """Parse and answer."""
    orjson.loads(await request.read())
    return web.Response(body=ANSWER, status=201, content_type="application/json")


async def serve() -> None:
    """Print the port, then answer until killed."""
    app = web.Application()
    app.router.add_post("/api/v1/ballots/{ballot}/votes", answer)
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening, backlog=BACKLOG).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve())
