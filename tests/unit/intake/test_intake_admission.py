"""Which addresses exist, by exact spelling."""

import pytest

from ballot.rejection import Rejected, Rejection
from intake.admission import check_method
from intake.route import Route, route


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
    ],
)
def test_addresses_that_exist(path: str, expected: Route) -> None:
    """Each resource is found with its ballot and reference."""
    assert route(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/livez/",
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


def test_methods_follow_the_resource() -> None:
    """Votes are posted, everything else is read."""
    check_method(Route("votes", "a"), "POST")
    check_method(Route("ballot", "a"), "HEAD")
    with pytest.raises(Rejected) as caught:
        check_method(Route("votes", "a"), "GET")
    assert caught.value.rejection is Rejection.METHOD_NOT_ALLOWED
