"""The served description of the API is true: every answer a voter can get here is exactly as it says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import aiohttp
import jsonschema_rs
import orjson
import pytest

from ballot import handoff
from ballot.complaint import request_body
from ballot.limits import REQUEST_BYTES_MAX, SEALED_BYTES_MAX
from ballot.rejection import Rejection
from ballot.suite import SUITE
from intake.edge import OPENAPI
from intake.replies import STATUS
from intake.route import route
from tests.integration.complaint_rig import PATH as COMPLAINTS
from tests.integration.complaint_rig import sealed
from tests.integration.intake_rig import Booth, EdgeProcess, edge, now_us, served_booth, sha256, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Stack

DOCUMENT = "/api/v1/openapi.json"
HASHES = "/assets/hashes.json"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[EdgeProcess]:
    """One edge process that slows down after two refusals."""
    with edge(
        stack.env,
        settings={
            "BALLOT_FAILURES_PER_MINUTE": "2",
            "BALLOT_COMPLAINTS_PER_MINUTE": "1",
            "BALLOT_BODY_SECONDS": "0.3",
        },
    ) as running:
        yield running


@pytest.fixture
async def web(edges: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the edge."""
    async with aiohttp.ClientSession(edges.url) as session:
        yield session


@pytest.fixture
async def poll(stack: Stack, ballot_id: str, web: aiohttp.ClientSession) -> AsyncIterator[Booth]:
    """An open ballot that the edge serves."""
    async with served_booth(stack.servers, ballot_id, web) as found:
        yield found


class Description:
    """The served document, and which of its answers were seen."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.seen: set[tuple[str, str, str]] = set()

    def resolved(self, value: dict[str, Any]) -> dict[str, Any]:
        """Follow a reference."""
        if "$ref" not in value:
            return value
        found: Any = self.document
        for name in value["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return dict(found)

    def path_of(self, path: str) -> str:
        """Return the template that a path is an instance of."""
        for template in self.document["paths"]:
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
                return str(template)
        raise AssertionError(f"{path} is not described")

    def answers(self, method: str, path: str) -> dict[str, Any]:
        """Return the described answers of one operation."""
        found: dict[str, Any] = self.document["paths"][self.path_of(path)][method.lower()]["responses"]
        return found

    def check(self, method: str, path: str, response: aiohttp.ClientResponse, body: bytes) -> None:
        """The status is described, and headers and body are as its description says."""
        answers = self.answers(method, path)
        assert str(response.status) in answers, (method, path, response.status)
        answer = self.resolved(answers[str(response.status)])
        for name, header in answer["headers"].items():
            found = self.resolved(header)
            if found.get("required") or name in response.headers:
                value: Any = response.headers[name]
                if found["schema"].get("type") == "integer":
                    value = int(value)
                self.valid(found["schema"], value)
        content = answer["content"][response.content_type]
        self.valid(content["schema"], parsed(response.content_type, body))
        self.seen.add((method, self.path_of(path), str(response.status)))

    def valid(self, schema: dict[str, Any], value: Any) -> None:
        """Raise unless `value` is as the schema says."""
        whole = {"$ref": "#/schema", "schema": schema, "components": self.document["components"]}
        jsonschema_rs.validator_for(whole).validate(value)


def parsed(kind: str, body: bytes) -> Any:
    """Return a body as its type says it is."""
    return orjson.loads(body) if kind == "application/json" else body.decode()


@pytest.fixture
async def description(web: aiohttp.ClientSession) -> Description:
    """The description as served."""
    async with web.get(DOCUMENT) as response:
        assert response.status == 200
        return Description(await response.json())


async def call(
    web: aiohttp.ClientSession,
    description: Description,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] = JSON,
) -> dict[str, Any]:
    """Send a request and hold its answer against the description."""
    async with web.request(
        method, path, data=body, headers=headers if body is not None else None
    ) as response:
        data = await response.read()
        description.check(method, response.url.path, response, data)
        found: dict[str, Any] = parsed(response.content_type, data)
        return found


async def call_pages(web: aiohttp.ClientSession, description: Description, known: str) -> None:
    """Ask for every page and file there is, and for some that there are not."""
    for path in ("", "/about", "/check", "/complaint"):
        for ballot in (known, "no-such-ballot"):
            await call(web, description, "GET", f"/b/{ballot}{path}?lang=cy")
    files = (await call(web, description, "GET", HASHES))["files"]
    names = [*(file["path"] for file in files.values()), "vote-000000000000.js"]
    for path in ("/", "/complaint", *(f"/assets/{name}" for name in names)):
        await call(web, description, "GET", path)


async def test_every_answer_is_as_described(
    web: aiohttp.ClientSession, poll: Booth, description: Description
) -> None:
    """All described answers but those of a queue that is away are brought about, and each is exactly so."""
    voter, other = await poll.issue(2)
    vote, late = voter.vote(poll.document).to_json(), other.vote(poll.document).to_json()
    description.valid({"$ref": "#/components/schemas/Vote"}, orjson.loads(vote))
    stranger = poll.draw(b"x" * 16)
    question = orjson.dumps({"credential_sha256": sha256(stranger.key.public).hex()})
    good = orjson.dumps({"credential_sha256": sha256(voter.key.public).hex()})
    votes, access, about = poll.path("votes"), poll.path("access"), f"/api/v1/ballots/{poll.id}"

    for path in ("/livez", "/readyz", "/api/v1/keys", DOCUMENT, about, f"{about}/document"):
        await call(web, description, "GET", path)
    await call(web, description, "POST", access, good)
    receipt = await call(web, description, "POST", votes, vote)
    again = await call(web, description, "POST", votes, vote)
    assert receipt["reference"] == again["reference"]
    for state in (None, "s", "h"):
        if state is not None:
            await poll.desk.hset(handoff.references_key(poll.id, 0), receipt["reference"], state)
        await call(web, description, "GET", poll.path(f"receipts/{receipt['reference']}"))
    await call(web, description, "GET", poll.path("receipts/0000-0000-0000-0000"))
    await call_pages(web, description, poll.id)
    for path in (votes, access):
        await call(web, description, "POST", path, b"{}")
        await call(web, description, "POST", path, b"x" * (REQUEST_BYTES_MAX + 1))
        await call(web, description, "POST", path, b"{}", {"Content-Type": "text/plain"})
        await call(
            web, description, "POST", path.replace(poll.id, "no-such-ballot"), vote if path is votes else good
        )
    for path in ("", "/document", "/receipts/0000-0000-0000-0000"):
        await call(web, description, "GET", f"/api/v1/ballots/no-such-ballot{path}")
    for _ in range(2):
        await call(web, description, "POST", votes, stranger.vote(poll.document).to_json())
        await call(web, description, "POST", access, question)
    async with aiohttp.ClientSession(
        web._base_url, connector=aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
    ) as far:
        await call(far, description, "POST", access, question)
    complaint = request_body(sealed(poll.home, "No link came.", ballot=poll.id))
    for body in (complaint, complaint, b"{}", b"x" * (REQUEST_BYTES_MAX + 1)):
        await call(web, description, "POST", COMPLAINTS, body)
    await call(web, description, "POST", COMPLAINTS, b"{}", {"Content-Type": "text/plain"})
    await poll.call("ballot_set_closes", now_us() + 50_000)

    async def closed() -> bool:
        return bool((await call(web, description, "GET", about))["state"] == "closed")

    await until(closed)
    await call(web, description, "POST", votes, late)
    await call(web, description, "POST", access, good)

    described = {
        (method.upper(), path, status)
        for path, item in description.document["paths"].items()
        for method in ("get", "post")
        if method in item
        for status in item[method]["responses"]
    }
    away = {each for each in described if each[2] == "503"}
    unreadable = {each for each in described if each[0] == "GET" and each[2] == "400"}
    unbuilt = {("GET", HASHES, "404")}
    assert described - away - unreadable - unbuilt == description.seen - away - unreadable


async def test_what_every_address_answers_alike(
    web: aiohttp.ClientSession, poll: Booth, description: Description
) -> None:
    """HEAD is GET without the body; another method is 405 and says which are there."""
    allowed = description.document["components"]["responses"]
    for template, item in description.document["paths"].items():
        path = template.replace("{ballot}", poll.id).replace("{reference}", "0000-0000-0000-0000")
        path = path.replace("{file}", "vote-000000000000.js")
        async with web.request("PUT", path) as response:
            body, kind = await response.read(), response.content_type
            assert response.status == 405
            named = "MethodNotAllowed" if kind == "application/json" else "PageMethodNotAllowed"
            assert named.startswith("Page") == (not path.startswith(("/api/", "/livez", "/readyz")))
            description.valid(allowed[named]["content"][kind]["schema"], parsed(kind, body))
            given = response.headers["Allow"]
            assert given == ("POST" if "post" in item else "GET, HEAD")
        if "get" in item:
            async with web.head(path) as response:
                assert (await response.read(), response.status in {200, 404}) == (b"", True)
    async with web.get("/api/no/such/address") as response:
        description.valid({"$ref": "#/components/schemas/NotFound"}, await response.json())


def test_the_description_and_the_code_know_the_same() -> None:
    """Every address, error and limit that the code has is described, with the same numbers."""
    document = orjson.loads(OPENAPI)
    schemas = document["components"]["schemas"]
    for template in document["paths"]:
        path = template.replace("{ballot}", "a").replace("{reference}", "b")
        assert route(path.replace("{file}", "vote-000000000000.js")).name
    errors = {
        schema["properties"]["error"]["const"]: schema["properties"]["retry"].get("const")
        for schema in schemas.values()
        if "error" in schema.get("properties", {})
    }
    assert {Rejection(name) for name in errors} == STATUS.keys()
    for name, retry in errors.items():
        assert retry is (
            Rejection(name).transient or None if name == "malformed" else Rejection(name).transient
        )
    assert schemas["Suite"]["const"] == SUITE
    assert schemas["Vote"]["properties"]["sealed"]["maxLength"] == -(-SEALED_BYTES_MAX * 4 // 3)
    assert f"{REQUEST_BYTES_MAX:,} bytes" in document["info"]["description"]
