"""The served OpenAPI document against the edge that serves it: schemathesis in all its phases."""

from __future__ import annotations

import http.client
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import schemathesis
from schemathesis import engine
from schemathesis.engine import events

from tests.fuzz.ground import MARKER

if TYPE_CHECKING:
    from tests.fuzz.ground import Ground

DOCUMENT = "/api/v1/openapi.json"


@dataclass(slots=True)
class Documented:
    """What schemathesis sent and what it found wrong."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def served(ground: Ground) -> dict[str, Any]:
    """Return the document as the edge serves it."""
    connection = http.client.HTTPConnection(ground.host, ground.port, timeout=10)
    try:
        connection.request("GET", DOCUMENT)
        response = connection.getresponse()
        assert response.status == http.HTTPStatus.OK
        document: dict[str, Any] = orjson.loads(response.read())
    finally:
        connection.close()
    return document


def check(ground: Ground, found: Documented, *, examples: int, seconds: int, seeded: int) -> None:
    """Let schemathesis send good and bad requests to every operation, and collect what it objects to."""
    config = schemathesis.Config.from_dict(
        {
            "base-url": f"http://{ground.host}:{ground.port}",
            "seed": seeded,
            "max-time": seconds,
            "continue-on-failure": True,
            "request-timeout": 10.0,
            "generation": {"mode": "all", "max-examples": examples, "no-shrink": True},
            "phases": {"stateful": {"enabled": False}},
            "parameters": {"ballot": ground.ballot},
            "headers": {"X-Fuzz": MARKER, "Connection": "close"},
            "cache": {"enabled": False},
            # A random vote of the documented form is refused because nobody was issued its credential.
            "checks": {
                "positive_data_acceptance": {"expected-statuses": [200, 201, 400, 403, 404, 409, 429]}
            },
        }
    )
    document = served(ground)
    # Drawing thousands of symbols for each request would take most of the time; raw fuzzing does that.
    document["components"]["schemas"]["Vote"]["properties"]["sealed"] = {"enum": [ground.spare["sealed"]]}
    schema = schemathesis.openapi.from_dict(document, config=config)
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, found)
        elif isinstance(event, events.FatalError):
            found.failures.append(f"schemathesis itself: {event.exception!r}")
        elif isinstance(event, events.NonFatalError):
            found.failures.append(f"{event.label}: {event.value!r}")


def _note(event: events.ScenarioFinished, found: Documented) -> None:
    for interaction in event.recorder.interactions.values():
        response = interaction.response
        if response is not None:
            found.requests += 1
            found.statuses[response.status_code] += 1
            found.slowest_s = max(found.slowest_s, response.elapsed)
    for checks in event.recorder.checks.values():
        for checked in checks:
            wrong = checked.failure_info
            if wrong is not None:
                found.failures.append(f"{event.label}: {checked.name}: {wrong.failure}\n{wrong.code_sample}")
