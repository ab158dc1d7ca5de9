"""A served ballot behind real HTTP, for overlays: as the API answers, or broken in one way."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ballot.encoding import b64encode
from loadtests.overlays.terms import Context
from loadtests.published import scenario
from loadtests.voting.voter import Answer
from tests.unit.loadtests.served import ServedBallot, told

REFERENCE = re.compile(r"/receipts/(.+)$")


class ServedPages(ServedBallot):
    """As `ServedBallot`, with a landing page and what a reference tells; `forgets`: no code is used up."""

    def __init__(self, *, forgets: bool = False) -> None:
        super().__init__(scenario.load("branch-41").definition)
        self.forgets = forgets
        self._lock = threading.Lock()

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """What the API would answer, one request at a time."""
        with self._lock:
            if asked := REFERENCE.search(path):
                known = {receipt.reference for _, receipt in self.voted.values()}
                return told(200, {"state": "stored"}) if asked[1] in known else told(404, {})
            if path.startswith("/b/"):
                return Answer(200, b"<!doctype html><title>A ballot</title>")
            if self.forgets:
                if path.endswith("/access"):
                    return told(200, {"state": "ready"})
                self.voted.clear()
            return super().send(method, path, body)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the ballot is served, and how an overlay is told of it."""

    ballot: ServedPages
    url: str
    folder: Path

    def context(self, **more: Any) -> Context:
        """A context for a second of work."""
        fields: dict[str, Any] = {"seconds": 1.0, "seed": 1, "out": self.folder / "overlays"}
        name = self.ballot.document.definition.id
        return Context(url=self.url, ballot=name, stage_folder=self.folder, **(fields | more))

    def codes(self, count: int) -> dict[str, str]:
        """So many codes that are good here, by member id."""
        return {f"M{number}": self.ballot.code().text() for number in range(count)}


@contextmanager
def served(ballot: ServedPages, folder: Path) -> Iterator[Place]:
    """Serve `ballot` on a free port while the block runs, its desk's key where a stage has it."""
    public = folder / "home" / "public"
    public.mkdir(parents=True)
    key = {"use": "desk", "public_key": b64encode(ballot.desk.public)}
    (public / "desk.json").write_text(json.dumps(key), encoding="utf-8")

    class Handler(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name that the library asks for
            """Answer."""
            self._answer(None)

        def do_POST(self) -> None:  # the same
            """Read the body and answer."""
            self._answer(self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, body: bytes | None) -> None:
            answer = ballot.send(self.command, self.path, body)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    class Server(ThreadingHTTPServer):
        """One thread a connection; nobody waits for those that stay open."""

        request_queue_size = 256
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: Any) -> None:
            """Whoever broke off knows it."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Place(ballot, f"http://127.0.0.1:{server.server_address[1]}", folder)
        finally:
            server.shutdown()
            thread.join()
