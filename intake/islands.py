"""What a page tells its script: the signed ballot and the keys, never anything about a voter."""

from typing import Any, Final, NamedTuple

from ballot.encoding import b64encode, format_time
from ballot.rejection import Rejected, Rejection
from intake.ballots import Ballots, Published
from intake.complaints import Complaints
from intake.preferences import Language
from runtime.clock import Clock

STALE_S: Final = 5.0
"""A window that was read so long ago still tells the times, and no longer whether the ballot is open."""


class Times(NamedTuple):
    """When a ballot opens and closes, and whether it is open, as its page says it."""

    opens: str
    closes: str
    state: str


class Islands:
    """Makes them."""

    def __init__(
        self, ballots: Ballots, complaints: Complaints, *, receipts_public: bytes, clock: Clock
    ) -> None:
        self._ballots = ballots
        self._complaints = complaints
        self._receipts_public = receipts_public
        self._clock = clock

    def facts(self, name: str, published: Published | None, times: Times | None) -> tuple[object, ...]:
        """Everything that the page called `name` says and that may change: the same facts, the same page.

        Comparing them is cheap: what does not change is the same object each time.
        """
        if name == "complaint page":
            desk = self._ballots.desk_key() if published is None else published.desk_key
            return published, desk, self._complaints.key(desk)
        return published, times

    def island(
        self, name: str, language: Language, facts: tuple[Any, ...], *, page_version: str
    ) -> dict[str, Any] | None:
        """That of the page called `name`, from its `facts`; None for pages without one."""
        published: Published | None = facts[0]
        ballot = None if published is None else published.id
        if name == "check page":
            return {"ballot": ballot, "lang": language}
        if name == "complaint page":
            _, desk, entry = facts
            shown = None if entry is None else {each: entry[each] for each in ("public_key", "signature")}
            return {
                "ballot": ballot,
                "lang": language,
                "desk_key": None if desk is None else b64encode(desk),
                "complaints_key": shown,
            }
        if name != "vote page" or published is None:
            return None
        times: Times | None = facts[1]
        return {
            "ballot": published.id,
            "lang": language,
            "document": b64encode(published.document.canonical),
            "document_signature": b64encode(published.signature),
            "desk_key": b64encode(published.desk_key),
            "receipts_key": b64encode(self._receipts_public),
            "window": None if times is None else times._asdict(),
            "page_version": page_version,
        }

    async def window(self, published: Published) -> Times:
        """Times and state as last read; without the queue the state is `unknown`, the times perhaps old."""
        definition, state = published.document.definition, "unknown"
        opens_us, closes_us = definition.opens_us, definition.closes_us
        try:
            window = await self._ballots.window(published)
        except Rejected as rejected:
            if rejected.rejection is not Rejection.NOT_CONFIRMED:
                raise
        else:
            opens_us, closes_us = window.opens_us, window.closes_us
            now_s = self._clock.monotonic()
            if now_s - window.read_s < STALE_S:
                state = window.state_at(now_s)
        return Times(format_time(opens_us), format_time(closes_us), state)
