"""Which addresses exist, by exact spelling."""

import pytest

from ballot.rejection import Rejected, Rejection
from intake.admission import check_method
from intake.route import NOWHERE, Route, for_people, route


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/livez", Route("livez")),
        ("/readyz", Route("readyz")),
        ("/api/v1/keys", Route("keys")),
        ("/api/v1/ballots/a-1", Route("ballot", "a-1")),
        ("/api/v1/ballots/a-1/document", Route("document", "a-1")),
        ("/api/v1/ballots/a-1/access", Route("access", "a-1")),
        ("/api/v1/ballots/a-1/votes", Route("votes", "a-1")),
        ("/api/v1/ballots/a-1/receipts/0123-4567", Route("receipt", "a-1", "0123-4567")),
        ("/", Route("home page")),
        ("/b/a-1", Route("vote page", "a-1")),
        ("/b/a-1/about", Route("about page", "a-1")),
        ("/b/a-1/check", Route("check page", "a-1")),
        ("/b/a-1/complaint", Route("complaint page", "a-1")),
        ("/complaint", Route("complaint page")),
        ("/assets/hashes.json", Route("hashes")),
        ("/assets/vote-0123456789ab.js", Route("asset", file="vote-0123456789ab.js")),
    ],
)
def test_addresses_that_exist(path: str, expected: Route) -> None:
    """Each resource is found with its ballot and reference."""
    assert route(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/livez/",
        "/b",
        "/b/",
        "/b/A",
        "/b/a/About",
        "/b/a/about/",
        "/b/" + "a" * 41,
        "/complaint/",
        "/assets/",
        "/assets/vote.js",
        "/assets/manifest.json",
        "/assets/../assets/vote-0123456789ab.js",
        "/assets/vote-0123456789ab.js.gz",
        "/assets/vote-0123456789ab.js\n",
        "/assets/vote-0123456789AB.js",
        "/api/v1/ballots",
        "/api/v1/ballots/",
        "/api/v1/ballots/A",
        "/api/v1/ballots/" + "a" * 41,
        "/api/v1/ballots/a/votes/",
        "/api/v1/ballots/a/receipts/",
        "/api/v1/ballots/a\n",
        "/api/v1/ballots/{a:00}",
        "/metrics",
    ],
)
def test_addresses_that_do_not_exist(path: str) -> None:
    """Anything else is not found."""
    with pytest.raises(Rejected) as caught:
        route(path)
    assert caught.value.rejection is Rejection.NOT_FOUND


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/nope", True),
        ("/b/A", True),
        ("", True),
        ("*", True),
        ("/metrics", True),
        ("/apiary", True),
        ("/api", False),
        ("/api/nope", False),
        ("/api/\n", False),
        ("/livez/", False),
        ("/readyz/x", False),
    ],
)
def test_who_reads_an_error(path: str, *, shown: bool) -> None:
    """A person wherever there is nothing for programs."""
    assert for_people(NOWHERE, path) is shown


def test_errors_of_pages_are_pages() -> None:
    """And those of the API are JSON, whatever their address looks like."""
    assert for_people(Route("vote page", "a"), "/api/x")
    assert for_people(Route("asset", file="vote-0123456789ab.js"), "")
    assert not for_people(Route("votes", "a"), "/b/a")
    assert not for_people(Route("readyz"), "/")


def test_methods_follow_the_resource() -> None:
    """Votes are posted, everything else is read."""
    check_method(Route("votes", "a"), "POST")
    check_method(Route("ballot", "a"), "HEAD")
    with pytest.raises(Rejected) as caught:
        check_method(Route("votes", "a"), "GET")
    assert caught.value.rejection is Rejection.METHOD_NOT_ALLOWED
