"""The voter's pages as a real edge serves them: headers, languages, forms and errors."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from ballot import document
from ballot.encoding import b64decode
from runtime import built_page
from runtime.home import Home
from runtime.servers import servers
from tests.browser.chromium import build_page
from tests.certificates import issue
from tests.integration.intake_rig import (
    EdgeProcess,
    booth,
    edge,
    now_us,
    pinned_desk_key,
    served_booth,
    sha256,
    until,
)
from tests.integration.intake_scratch import becomes, scratch_queue
from tests.made_page import make

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Stack
    from tests.integration.intake_rig import Booth

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ballot", "runtime", "intake", "ops")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
EVERY_PAGE = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process, and the page built before it."""
    build_page()
    with edge(stack.env) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge that decodes nothing by itself."""
    async with aiohttp.ClientSession(
        edges.url, auto_decompress=False, headers={"Accept-Encoding": "identity"}
    ) as session:
        yield session


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""
    async with served_booth(stack.servers, ballot_id, web) as found:
        yield found


def island(html: bytes) -> Any:
    """Return what a page tells its script."""
    match = re.search(rb'<script type="application/json" id="island">([^<]*)</script>', html)
    assert match is not None
    return json.loads(match[1])


async def test_every_page_and_every_error_says_the_same_of_itself(
    web: aiohttp.ClientSession, poll: Booth
) -> None:
    """The policy, no cache, no referrer, no cookie, no line that tells of TLS; and JSON stays JSON."""
    about = f"/b/{poll.id}"
    asked = [
        *(("GET", path, 200) for path in ("/", "/complaint", about, f"{about}/about", f"{about}/check")),
        *(("GET", path, 404) for path in ("/b/none", "/b/none/about", "/b/", "/nothing", "/favicon.ico")),
        ("GET", "/assets/vote-000000000000.js", 404),
        ("GET", "/assets/%2e%2e/manifest.json", 404),
        *((method, about, 405) for method in ("POST", "PUT", "DELETE", "OPTIONS")),
        ("POST", "/assets/hashes.json", 405),
    ]
    for method, path, status in asked:
        async with web.request(method, path) as response:
            body = await response.read()
            assert response.status == status, path
            assert {name: response.headers.get(name) for name in EVERY_PAGE} == EVERY_PAGE, path
            assert response.headers["Permissions-Policy"].startswith("accelerometer=(), ")
            assert "geolocation=()" in response.headers["Permissions-Policy"]
            assert "Set-Cookie" not in response.headers
            assert "Strict-Transport-Security" not in response.headers
            assert body.startswith(b"<!doctype html>")
            assert (status == 405) == ("Allow" in response.headers)
    for path in ("/api", "/api/nothing", "/livez/", "/readyz/x"):
        async with web.get(path) as response:
            assert (response.status, response.content_type) == (404, "application/json")
            assert (await response.json())["error"] == "not_found"


async def test_the_vote_page_s_island_is_the_signed_document(web: aiohttp.ClientSession, poll: Booth) -> None:
    """What the page gets is exactly what the desk signed, with the keys that verify it."""
    async with web.get(f"/b/{poll.id}") as response:
        found = island(await response.read())
    async with web.get("/api/v1/keys") as response:
        keys = {key["use"]: key["public_key"] for key in (await response.json())["keys"]}

    desk = b64decode(found["desk_key"])
    verified = document.verify(b64decode(found["document"]), b64decode(found["document_signature"]), desk)
    assert verified.canonical == poll.document.canonical
    assert desk == pinned_desk_key(poll.home).public
    assert found["receipts_key"] == keys["receipts"]
    assert found["window"]["state"] == "open"
    await poll.call("ballot_set_closes", now_us() + 50_000)

    async def closed() -> bool:
        async with web.get(f"/b/{poll.id}?lang=cy") as shown:
            return bool(island(await shown.read())["window"]["state"] == "closed")

    await until(closed)


async def test_the_language(web: aiohttp.ClientSession, poll: Booth) -> None:
    """The link's, else the browser's, else English; an error in both where nobody knows."""
    path = f"/b/{poll.id}/about"
    for query, header, language in (
        ("", "", "en"),
        ("", "cy-GB, en;q=0.5", "cy"),
        ("?lang=en", "cy", "en"),
        ("?lang=cy", "en", "cy"),
        ("?lang=%63y&x=1", "en", "cy"),
        ("?lang=xx&lang=cy", "", "en"),
        ("?language=cy", "", "en"),
    ):
        async with web.get(f"{path}{query}", headers={"Accept-Language": header}) as response:
            assert response.headers["Content-Language"] == language, query
            assert f'<html lang="{language}">' in await response.text()
    for header, languages in (("", "en, cy"), ("cy", "cy"), ("en", "en")):
        async with web.get("/nothing", headers={"Accept-Language": header}) as response:
            assert response.headers["Content-Language"] == languages
            assert ('<section lang="cy">' in await response.text()) == ("," in languages)


async def test_pages_compressed_and_plain_are_the_same(web: aiohttp.ClientSession, poll: Booth) -> None:
    """And HEAD has the same head, without a body."""
    for path in ("/", f"/b/{poll.id}", f"/b/{poll.id}/about?lang=cy", "/nothing"):
        async with web.get(path) as plain, web.get(path, headers={"Accept-Encoding": "gzip"}) as packed:
            assert "Content-Encoding" not in plain.headers
            assert packed.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await packed.read()) == await plain.read()
            async with web.head(path) as head:
                assert (head.status, await head.read()) == (plain.status, b"")
                same = {name: value for name, value in plain.headers.items() if name != "Date"}
                assert {name: value for name, value in head.headers.items() if name != "Date"} == same


async def test_files_are_what_was_built(web: aiohttp.ClientSession, poll: Booth) -> None:
    """Each with the digest that its page demands, for ever; the list of digests is the manifest."""
    async with web.get("/assets/hashes.json") as response:
        manifest = await response.read()
        assert response.content_type == "application/json"
    digits = hashlib.sha256(manifest).hexdigest()[:16]
    files = json.loads(manifest)["files"]
    for name, kind in (
        ("vote.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ):
        path = f"/assets/{files[name]['path']}"
        async with web.get(path) as response:
            body = await response.read()
            assert sha256(body).hex() == files[name]["sha256"]
            assert response.headers["Content-Type"] == kind
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Set-Cookie" not in response.headers
        async with web.get(path, headers={"Accept-Encoding": "gzip, br;q=0"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(await response.read()) == body
        async with web.get(path, headers={"Accept-Encoding": "gzip, deflate, br"}) as response:
            assert response.headers["Content-Encoding"] == "br"
            assert response.headers["Vary"] == "Accept-Encoding"
            length = response.headers["Content-Length"]
        async with web.head(path, headers={"Accept-Encoding": "br"}) as response:
            assert (response.headers["Content-Length"], await response.read()) == (length, b"")
    async with web.get(f"/b/{poll.id}") as response:
        html = await response.text()
    assert " ".join(digits[at : at + 4] for at in range(0, 16, 4)) in html
    assert f'src="/assets/{files["vote.js"]["path"]}"' in html
    assert f'href="/assets/{files["style.css"]["path"]}"' in html


@pytest.mark.parametrize(
    "target",
    [
        b"/assets/../livez",
        b"/assets/..%2f..%2fetc/passwd",
        b"/assets//etc/passwd",
        b"/assets/vote.js%00",
        b"/b/../livez",
        b"//nothing.example/b/x",
        b"http://nothing.example/nothing",
        b"/b/%3Cscript%3E",
        b"*",
    ],
)
def test_odd_addresses_are_nothing(edges: EdgeProcess, target: bytes) -> None:
    """No path leaves the list of files, and no address is ever repeated in an error."""
    host, port = edges.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 "))
    assert b"nothing.example" not in answer
    assert b"root:" not in answer
    assert b"<script>" not in answer


async def test_the_page_while_the_queue_is_away(tmp_path: Path, ballot_id: str) -> None:
    """A ballot that the edge knows is shown, its state unknown; another is a 503 that is a page."""
    build_page()
    with (
        scratch_queue(tmp_path) as queue,
        servers(Home.from_environment(queue.env), queue.env) as found,
        edge(queue.env) as running,
    ):
        async with aiohttp.ClientSession(running.url) as web, booth(found, ballot_id) as poll:
            await poll.arm()
            await poll.publish()
            await becomes(web, "ready")
            async with web.get(f"/b/{poll.id}") as response:
                before = island(await response.read())
            queue.send(signal.SIGKILL)

            async def unknown() -> Any:
                async with web.get(f"/b/{poll.id}") as response:
                    assert response.status == 200
                    now = island(await response.read())
                    return now if now["window"]["state"] == "unknown" else None

            after = await until(unknown)
            assert after["window"] == before["window"] | {"state": "unknown"}
            async with web.get(f"/b/{poll.id}/about") as response:
                assert response.status == 200
            async with web.get("/b/no-such-ballot") as response:
                assert (response.status, response.content_type) == (503, "text/html")
                assert 1 <= int(response.headers["Retry-After"]) <= 5
                assert response.headers["Content-Security-Policy"] == POLICY
            async with web.get("/") as response:
                assert response.status == 200


async def test_a_tampered_file_ends_the_page_and_no_vote(
    stack: Stack, ballot_id: str, tmp_path: Path
) -> None:
    """The page is a 503 with the contact, the log says why, and votes are taken as ever."""
    build_page()
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
        )
    (script,) = (tmp_path / "intake" / "page" / "built").glob("vote-*.js")
    script.write_bytes(script.read_bytes() + b"\n")

    with edge(stack.env | {"PYTHONPATH": str(tmp_path)}) as running:
        async with (
            aiohttp.ClientSession(running.url) as web,
            served_booth(stack.servers, ballot_id, web) as poll,
        ):
            (voter,) = await poll.issue()
            for path in (f"/b/{poll.id}", f"/b/{poll.id}/about", "/complaint"):
                async with web.get(path) as response:
                    html = await response.text()
                    assert (response.status, response.content_type) == (503, "text/html")
                    assert response.headers["Content-Security-Policy"] == POLICY
                    assert ("help@scrutineer.example" in html) == (poll.id in path)
            async with web.get(f"/assets/{script.name}") as response:
                assert response.status == 404 or sha256(await response.read()).hex()[:12] in script.name
            vote = voter.vote(poll.document).to_json()
            headers = {"Content-Type": "application/json"}
            async with web.post(poll.path("votes"), data=vote, headers=headers) as response:
                assert response.status == 201
    said = (stack.home.logs / "intake.log").read_text()
    assert f'"reason":"{script.name} is not the file that was built"' in said


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, str]:
    """An installation of our own, whose page the test may build anew; the environment that uses it."""
    build_page()
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
        )
    return {"PYTHONPATH": str(tmp_path)}


async def shown(url: str) -> tuple[str, int]:
    """Load the first page and its style sheet, each from whichever process answers."""
    async with aiohttp.ClientSession(url, headers={"Connection": "close"}) as web:
        async with web.get("/") as response:
            html = await response.text()
        style = re.search(r"/assets/style-[0-9a-f]{12}\.css", html)
        assert style is not None
        async with web.get(style[0]) as response:
            return style[0], response.status


async def test_a_build_under_running_edges(stack: Stack, tmp_path: Path, tree: dict[str, str]) -> None:
    """A process that is started again serves what the others serve; a hang-up takes the new page, no 404."""
    built = tmp_path / "intake" / "page" / "built"
    with edge(stack.env | tree, processes=2) as running:
        before = {await shown(running.url) for _ in range(10)}
        assert {status for _, status in before} == {200}
        shutil.rmtree(built)
        make(built)
        first, *others = running.children()
        os.kill(first, signal.SIGKILL)

        async def started_again() -> bool:
            children = running.children()
            return first not in children and len(children) == 2

        await until(started_again)
        again = {await shown(running.url) for _ in range(60)}
        assert again == before
        said: set[tuple[str, int]] = set()
        running.process.send_signal(signal.SIGHUP)

        async def replaced() -> bool:
            said.add(await shown(running.url))
            return not {*others, first} & set(running.children()) and len(running.children()) == 2

        await until(replaced)
        after = {await shown(running.url) for _ in range(20)}
        assert {status for _, status in said | after} == {200}
        assert len(after) == 1
        assert after != before
        async with aiohttp.ClientSession(running.url) as web, web.get(next(iter(before))[0]) as response:
            assert response.status == 200
    lines = [json.loads(line) for line in (stack.home.logs / "intake.log").read_text().splitlines()]
    pages = {line["page"] for line in lines if line["action"] == "listening"}
    assert built_page.read(built).version in pages


@pytest.mark.long
async def test_a_page_that_is_built_after_the_start(
    stack: Stack, tmp_path: Path, tree: dict[str, str]
) -> None:
    """It is served without a restart, by the same processes."""
    page = tmp_path / "intake" / "page"
    (page / "built").rename(page / "not-yet")
    with edge(stack.env | tree, processes=2) as running:
        async with aiohttp.ClientSession(running.url, headers={"Connection": "close"}) as web:
            async with web.get("/") as response:
                assert response.status == 503
            children = running.children()
            (page / "not-yet").rename(page / "built")

            async def served() -> bool:
                async with web.get("/") as response:
                    return response.status == 200

            await until(served)
            assert running.children() == children


async def test_over_tls_pages_say_so(stack: Stack, tmp_path: Path) -> None:
    """Browsers come back by TLS for two years; every kind of answer says it."""
    build_page()
    issued = issue(tmp_path)
    with edge(stack.env, settings=issued.settings) as running:
        connector = aiohttp.TCPConnector(ssl=False)
        async with aiohttp.ClientSession(running.url, connector=connector) as web:
            for path in ("/", "/nothing", "/assets/hashes.json", "/api/v1/keys", "/api/nothing"):
                async with web.get(path) as response:
                    assert response.headers.getall("Strict-Transport-Security") == ["max-age=63072000"]


async def test_the_description_that_was_served_is_in_the_log(
    stack: Stack, edges: EdgeProcess, web: aiohttp.ClientSession, poll: Booth
) -> None:
    """Once a ballot and process, with the page's version and the digests of what is served."""
    served = {}
    for language in ("en", "cy"):
        async with web.get(f"/b/{poll.id}/about?lang={language}") as response:
            served[f"sha256_{language}"] = sha256(await response.read()).hex()
    lines = [json.loads(line) for line in (stack.home.logs / "intake.log").read_text().splitlines()]
    children = edges.children()
    noted = [line for line in lines if line["action"] == "description in force" and line["pid"] in children]

    async with web.get("/assets/hashes.json") as response:
        digits = hashlib.sha256(await response.read()).hexdigest()[:16]

    assert noted
    assert len({line["ballot"] for line in noted}) == len(noted)
    assert {line["page"] for line in noted} == {" ".join(digits[at : at + 4] for at in range(0, 16, 4))}
    (ours,) = (line for line in noted if line["ballot"] == poll.id)
    assert {name: ours[name] for name in served} == served
