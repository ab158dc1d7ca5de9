"""Every refusal has one form, one status, and says whether to try again."""

import orjson
import pytest

from ballot.rejection import Rejected, Rejection
from intake import replies

LATER = {"unreadable", "bad_signature", "not_in_register", "conflict", "does_not_open", "malformed_answers"}


def test_every_rejection_is_a_status_or_decided_later() -> None:
    """A new rejection must be given its status, or be listed here as one the edge never gives."""
    assert {each.value for each in Rejection} - {each.value for each in replies.STATUS} == LATER


@pytest.mark.parametrize("rejection", replies.STATUS, ids=lambda each: each.value)
def test_a_refusal_has_the_one_form(rejection: Rejection) -> None:
    """Name, sentence and whether to retry; only what may be retried says when."""
    response = replies.refusal(Rejected(rejection, "A sentence."))

    body = orjson.loads(response.body)
    assert body == {"error": rejection.value, "message": "A sentence.", "retry": rejection.transient}
    assert response.status == replies.STATUS[rejection]
    assert ("Retry-After" in response.headers) == rejection.transient


def test_late_is_malformed_but_may_be_tried_again() -> None:
    """A slow line is no nonsense: the status is that of a bad request, the advice is to try again."""
    response = replies.refusal(replies.late())

    body = orjson.loads(response.body)
    assert (response.status, body["error"], body["retry"]) == (400, "malformed", True)
    assert "Retry-After" in response.headers


def test_retries_are_spread() -> None:
    """Those turned away together are told different times."""
    refused = [replies.refusal(replies.not_confirmed()) for _ in range(200)]

    assert {response.headers["Retry-After"] for response in refused} == {"1", "2", "3", "4", "5"}


def test_not_open_says_when() -> None:
    """A voter who is early or late is told the times."""
    early = replies.not_open(opens_us=0, closes_us=3_600_000_000, state="scheduled")
    late = replies.not_open(opens_us=0, closes_us=3_600_000_000, state="closed")

    assert orjson.loads(early.body)["opens"] == "1970-01-01T00:00:00Z"
    assert orjson.loads(late.body)["closes"] == "1970-01-01T01:00:00Z"
    assert (orjson.loads(early.body)["state"], orjson.loads(late.body)["state"]) == ("scheduled", "closed")
    assert orjson.loads(early.body)["message"] != orjson.loads(late.body)["message"]
