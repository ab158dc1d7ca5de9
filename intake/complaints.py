"""Taking a complaint: from anybody, with a code or without, whatever the state of ballots and databases.

What is written is sealed to the desk before it comes here. Nothing of a request is logged, and the address
that it came from is counted for a minute and kept nowhere.
"""

from pathlib import Path
from typing import Any, Final

from ballot import complaint
from ballot.encoding import Malformed, strict_json
from ballot.limits import OBJECT_BYTES_MAX
from ballot.suite import SignatureInvalid
from intake import metrics, replies
from intake.address import client_address
from intake.answer import Answer
from intake.complaint_link import ComplaintLink, NotRecorded
from intake.failures import Failures
from intake.request import Request
from intake.settings import Settings
from intake.small_file import SmallFile
from runtime import logs

log = logs.get("complaints")

FILE: Final = "complaints.json"
"""Beside the desk's public key."""


class Complaints:
    """POST complaints, and the key that they are sealed to.

    `budget` counts complaints by address as the votes' counts refusals. The key's file may come after us.
    """

    def __init__(self, link: ComplaintLink, *, budget: Failures, settings: Settings, key_file: Path) -> None:
        self._link = link
        self._budget = budget
        self._settings = settings
        self._key_file = SmallFile(key_file)
        self._checked: tuple[bytes, bytes] | None = None
        self._entry: dict[str, Any] | None = None

    async def take(self, request: Request) -> Answer:
        """201 with the complaint's number once it is durable, or a refusal.

        (1) its shape; (2) how many came from there; (3) the queue. The number follows from the sealed bytes,
        so that a retry, at any edge, gets the same one, and the desk has the complaint once.
        """
        lodged = complaint.parse_request(request.body)  # (1)
        if self._budget.exceeded(self._address(request)):  # (2)
            raise replies.too_many_complaints()
        try:
            await self._link.record(lodged)  # (3)
        except NotRecorded:
            raise replies.not_recorded() from None
        metrics.COMPLAINTS.count("recorded")
        return replies.json_response({"number": lodged.number}, status=201)

    def key(self, desk: bytes | None) -> dict[str, Any] | None:
        """The published complaints key, if the pinned `desk` key vouches for it; else nothing."""
        try:
            data = self._key_file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.alarm("complaints key unreadable", file=FILE, error=type(error).__name__)
            return None
        if desk is None:
            return None
        if self._checked != (desk, data):
            self._checked, self._entry = (desk, data), self._verified(data, desk)
        return self._entry

    def _verified(self, data: bytes, desk: bytes) -> dict[str, Any] | None:
        try:
            entry = strict_json(data, bytes_max=OBJECT_BYTES_MAX)
            complaint.verify_key(entry, desk)
        except (Malformed, SignatureInvalid) as error:
            log.alarm("complaints key refused", file=FILE, error=type(error).__name__)
            return None
        return entry

    def _address(self, request: Request) -> str:
        hops = self._settings.proxy_hops
        forwarded_for = request.headers.getall("X-Forwarded-For", ()) if hops else ()
        return client_address(request.remote, forwarded_for, proxy_hops=hops)

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()
