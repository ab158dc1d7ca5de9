"""The judge of the page's words on the vote sees each way in which they could be wrong."""

from unittest.mock import Mock

import pytest

from tests.browser.notes import Note, Notes, one_body
from tests.browser.wire import Exchange, Wire

ANSWER = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"


def vote(at: float, *, body: bytes = b"sealed", answered: float | None = None) -> Exchange:
    """A try to send a vote at that time."""
    request = b"POST /api/v1/ballots/b/votes HTTP/1.1\r\nContent-Length: 6\r\n\r\n" + body
    return Exchange(0, request, at, arrived=True, answer=ANSWER if answered else b"", answered_at=answered)


def judged(said: list[tuple[str, float]], votes: list[Exchange]) -> None:
    """Judge what was said at which time."""
    notes = Notes(Mock(), [Note(state, at) for state, at in said])
    wire = Wire(0, exchanges=votes)
    try:
        notes.never_wrong(wire)
    finally:
        wire._loop.close()


def test_a_vote_that_was_sent_twice() -> None:
    """Not sent, then sending before it leaves, then received after the receipt: nothing to object to."""
    judged([("not-sent", 0.0), ("sending", 9.9), ("received", 20.1)], [vote(10.0), vote(15.0, answered=20.0)])


@pytest.mark.parametrize(
    "said",
    [
        [("not-sent", 0.0), ("sending", 9.9), ("not-sent", 12.0), ("received", 20.1)],
        [("not-sent", 0.0), ("sending", 11.0), ("received", 20.1)],
        [("not-sent", 0.0), ("sending", 9.9), ("received", 16.0)],
        [("not-sent", 0.0), ("received", 20.1)],
        [("not-sent", 0.0), ("sending", 9.9)],
        [("sending", 9.9), ("received", 20.1)],
    ],
)
def test_a_wrong_word(said: list[tuple[str, float]]) -> None:
    """'Not sent' or silence when it has left, 'received' before the receipt, and a step left out."""
    with pytest.raises(AssertionError):
        judged(said, [vote(10.0), vote(15.0, answered=20.0)])


def test_what_never_came() -> None:
    """'Received' without a vote or without a receipt."""
    said = [("not-sent", 0.0), ("sending", 9.9), ("received", 20.1)]
    for votes in ([], [vote(10.0)]):
        with pytest.raises(AssertionError):
            judged(said, votes)


def test_a_vote_that_changed() -> None:
    """Two bodies are two votes."""
    assert one_body([vote(1.0), vote(2.0)]) == b"sealed"
    with pytest.raises(AssertionError):
        one_body([vote(1.0), vote(2.0, body=b"other!")])
