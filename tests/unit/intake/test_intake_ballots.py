"""The state shown between two reads of the gate follows the gate's clock; no key, no word on any ballot."""

import json
from pathlib import Path
from typing import Any

import pytest

from ballot.encoding import b64encode
from ballot.rejection import Rejected, Rejection
from intake.ballots import Ballots
from intake.reads import Reads
from intake.windows import Window
from tests.manual_clock import ManualClock

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("latched", "seconds_later", "shown"),
    [
        ("scheduled", 0, "scheduled"),
        ("scheduled", 4.9, "scheduled"),
        ("scheduled", 5.0, "open"),
        ("scheduled", 10.0, "closed"),
        ("open", 0, "open"),
        ("open", 9.9, "open"),
        ("open", 10.0, "closed"),
        ("closed", 0, "closed"),
    ],
)
def test_the_state_follows_the_times(latched: str, seconds_later: float, shown: str) -> None:
    """Opens at five seconds, closes at ten; what the gate has latched stays."""
    window = Window(opens_us=5 * SECOND, closes_us=10 * SECOND, state=latched, now_us=0, read_s=100.0)

    assert window.state_at(100.0 + seconds_later) == shown


class Queue:
    """Publishes one ballot, in words that nobody gets to verify."""

    async def hkeys(self, _key: str) -> list[bytes]:
        """Its name."""
        return [b"a-1"]

    async def hget(self, _key: str, _name: str) -> bytes:
        """Its document."""
        return b"{}"


@pytest.mark.parametrize("content", [None, "", "{}", '{"public_key": "AA"}', "directory"])
async def test_without_the_desk_s_key_we_do_not_say_that_there_is_no_ballot(
    tmp_path: Path, content: str | None
) -> None:
    """A published one may well be there: the voter's device tries again. One that nobody published is not."""
    file = tmp_path / "desk.json"
    if content == "directory":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    client: Any = Queue()
    ballots = Ballots(Reads(client), desk_key_file=file, clock=ManualClock())

    with pytest.raises(Rejected) as published:
        await ballots.find("a-1")
    with pytest.raises(Rejected) as other:
        await ballots.find("a-2")

    assert published.value.rejection is Rejection.NOT_CONFIRMED
    assert other.value.rejection is Rejection.NOT_FOUND


def test_the_desk_s_key_is_taken_up_when_it_comes(tmp_path: Path) -> None:
    """And when it is put right, without a restart."""
    client: Any = Queue()
    ballots = Ballots(Reads(client), desk_key_file=tmp_path / "desk.json", clock=ManualClock())
    assert ballots.desk_key() is None
    for content, key in (
        ("{}", None),
        (json.dumps({"public_key": b64encode(b"k" * 32)}), b"k" * 32),
        ("{", None),
    ):
        (tmp_path / "desk.json").write_text(content)
        assert ballots.desk_key() == key
        assert ballots.desk_key() == key
