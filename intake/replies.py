"""The only place that turns a Rejection or a decision into an HTTP status and body."""

import random
from typing import Final

import orjson

from ballot.encoding import format_time
from ballot.rejection import Rejected, Rejection
from intake.answer import Answer

STATUS: Final = {
    Rejection.METHOD_NOT_ALLOWED: 405,
    Rejection.UNSUPPORTED_TYPE: 415,
    Rejection.TOO_LARGE: 413,
    Rejection.MALFORMED: 400,
    Rejection.NOT_FOUND: 404,
    Rejection.NOT_OPEN: 409,
    Rejection.NOT_ACCEPTED: 403,
    Rejection.SLOW_DOWN: 429,
    Rejection.NOT_CONFIRMED: 503,
}
"""Every rejection that a request can meet; those of the workers and the tally are never an HTTP answer."""

RETRY_AFTER_S: Final = (1, 5)
"""Spread, so that those turned away together do not come back together."""

NOT_FOUND_MESSAGE: Final = "There is no such ballot or page here."


class TryAgain(Rejected):
    """Turned away for what the next try may well not meet, although its kind of rejection usually stays."""


def refusal(rejected: Rejected, **more: object) -> Answer:
    """The one form of every error; `more` are further members, such as the window of a closed ballot."""
    rejection = rejected.rejection
    retry = rejection.transient or isinstance(rejected, TryAgain)
    body = {
        "error": rejection.value,
        "message": rejected.detail,
        "retry": retry,
        **more,
    }
    response = json_response(body, status=STATUS[rejection])
    if retry:
        # Not a secret: it only has to differ from one refused device to the next.
        response.headers["Retry-After"] = str(random.randint(*RETRY_AFTER_S))  # noqa: S311  # see above
    return response


def json_response(value: object, *, status: int = 200) -> Answer:
    """`value` as JSON."""
    return Answer(orjson.dumps(value), status=status)


def not_found() -> Rejected:
    """No such page, ballot or reference, or a ballot that was never armed."""
    return Rejected(Rejection.NOT_FOUND, NOT_FOUND_MESSAGE)


def not_accepted(contact: str) -> Rejected:
    """One answer for unknown, used, revoked and foreign credentials: it tells nobody which it was."""
    return Rejected(
        Rejection.NOT_ACCEPTED,
        "This code was not accepted for this ballot. If you voted and saw no reference, your vote may have "
        f"been received: contact {contact}.",
    )


def slow_down() -> Rejected:
    """Only ever in place of `not_accepted`."""
    return Rejected(
        Rejection.SLOW_DOWN, "Too many codes from here were not accepted. Wait a little, then try again."
    )


def not_confirmed() -> Rejected:
    """We do not know, or did not ask: the same request again is safe and finds out."""
    return Rejected(
        Rejection.NOT_CONFIRMED, "We could not confirm your vote. Try again; it cannot count twice."
    )


def too_many_complaints() -> Rejected:
    """So many came from one address that the next must wait."""
    return Rejected(
        Rejection.SLOW_DOWN, "Too many complaints came from here. Wait a minute, then send yours again."
    )


def not_recorded() -> Rejected:
    """As `not_confirmed`, for a complaint: the same one again has the same number, and is kept once."""
    return Rejected(
        Rejection.NOT_CONFIRMED,
        "Your complaint could not be recorded. Send it again in a moment; it is kept only once.",
    )


def failed(resource: str) -> Rejected:
    """What could not be answered; a vote or a complaint may have been received all the same."""
    if resource == "votes":
        return not_confirmed()
    return not_recorded() if resource == "complaints" else unreachable()


def late() -> Rejected:
    """The body did not come in time. Devices on slow lines may try again, unlike those that send nonsense."""
    return TryAgain(Rejection.MALFORMED, "The request did not arrive in time; try again.")


def unreachable() -> Rejected:
    """The same for requests that are no vote."""
    return Rejected(Rejection.NOT_CONFIRMED, "We cannot answer this just now. Try again in a moment.")


def not_open(*, opens_us: int, closes_us: int, state: str) -> Answer:
    """The ballot is not open, with the times that say since when or until when."""
    sentence = "This ballot is closed." if state == "closed" else "This ballot is not open yet."
    times = {"opens": format_time(opens_us), "closes": format_time(closes_us)}
    return refusal(Rejected(Rejection.NOT_OPEN, sentence), **times, state=state)
