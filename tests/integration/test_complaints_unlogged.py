"""Of a complaint the edge logs nothing, whatever becomes of it: no address, number, text or digest."""

from __future__ import annotations

import hashlib
import signal
from typing import TYPE_CHECKING

from ballot import complaint
from tests.acceptance.traces import Search
from tests.integration.complaint_rig import JSON, PATH, caller, lodge, sealed
from tests.integration.intake_rig import edge, until
from tests.integration.intake_scratch import scratch_queue

if TYPE_CHECKING:
    from pathlib import Path

    from ballot.complaint import Lodged

ADDRESS = "127.10.20.30"
PER_MINUTE = 6


def traces(lodged: Lodged) -> dict[str, bytes]:
    """What would tell of it in a log; of the digest the eight digits that a log shows of any bytes."""
    body = complaint.request_body(lodged)
    found = {
        "its number": lodged.number.encode(),
        "its bytes": lodged.sealed[:64],
        "its end": lodged.sealed[-64:],
    }
    for what, data in (("sealed", lodged.sealed), ("body", body)):
        digest = hashlib.sha256(data)
        found[f"digest of {what}"] = digest.digest()
        found[f"digits of {what}"] = digest.hexdigest()[:8].encode()
    return found


async def test_nothing_of_a_complaint_is_logged(tmp_path: Path) -> None:
    """Recorded, malformed, not recorded, too many: the logs have lines about the queue, and none of it."""
    with scratch_queue(tmp_path) as scratch:
        scratch.home.secret("complaints")
        every = [sealed(scratch.home, f"number {each}") for each in range(PER_MINUTE + 2)]
        settings = {"BALLOT_CONFIRM_SECONDS": "0.5", "BALLOT_COMPLAINTS_PER_MINUTE": str(PER_MINUTE)}
        statuses = set()
        with edge(scratch.env, settings=settings) as running:
            async with caller(running.url, ADDRESS) as web:
                statuses.add((await lodge(web, every[0]))[0])
                cut = complaint.request_body(every[1])[:-9]
                async with web.post(PATH, data=cut, headers=JSON) as response:
                    statuses.add(response.status)
                scratch.send(signal.SIGSTOP)
                statuses.add((await lodge(web, every[2]))[0])
                scratch.send(signal.SIGCONT)

                async def too_many() -> bool:
                    statuses.add((await lodge(web, every[3]))[0])
                    return 429 in statuses

                await until(too_many)
        assert statuses == {201, 400, 429, 503}
        logged = b"".join(path.read_bytes() for path in scratch.home.logs.iterdir())
    assert b"complaints are not recorded" in logged
    search = Search(
        {"the address": ADDRESS.encode()}
        | {
            f"{what} of {index}": data
            for index, each in enumerate(every)
            for what, data in traces(each).items()
        }
    )
    assert search.in_bytes(logged) == set()
