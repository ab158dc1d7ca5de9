"""Every reason for turning something away, in order of precedence, each with its one wire name."""

import enum


class Rejection(enum.Enum):
    """A reason; earlier members win when several apply. Values are wire names and never change."""

    # At the edge, before any state is read.
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_TYPE = "unsupported_type"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    # By the gate: no such ballot, the window, then the credential.
    NOT_FOUND = "not_found"
    NOT_OPEN = "not_open"
    NOT_ACCEPTED = "not_accepted"
    SLOW_DOWN = "slow_down"
    """Of votes only ever in place of NOT_ACCEPTED; of complaints after many from one address."""
    NOT_CONFIRMED = "not_confirmed"
    # By a worker: the entry goes to quarantine with this reason.
    UNREADABLE = "unreadable"
    BAD_SIGNATURE = "bad_signature"
    NOT_IN_REGISTER = "not_in_register"
    CONFLICT = "conflict"
    # By the tally: the vote is set aside with this reason.
    DOES_NOT_OPEN = "does_not_open"
    MALFORMED_ANSWERS = "malformed_answers"
    # Last item: add new members in their group, and to the replies and runbooks that list them all.

    @property
    def transient(self) -> bool:
        """Whether sending the identical request again later can produce another outcome."""
        return self in {Rejection.SLOW_DOWN, Rejection.NOT_CONFIRMED}


class Rejected(Exception):  # noqa: N818  # reads as the event it is: "raise Rejected(…)"
    """Turned away: `rejection` for programs, `detail` one plain sentence that is safe to show to anybody."""

    def __init__(self, rejection: Rejection, detail: str) -> None:
        super().__init__(rejection, detail)
        self.rejection = rejection
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.rejection.value}: {self.detail}"
