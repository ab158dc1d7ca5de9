"""When the desk cannot take the keys in, no share of an unused key is left, and none of a used one lost."""

import json
import sys
from pathlib import Path

import pytest

from tally import desk
from tally.keys import keys
from tests.unit.tally.conftest import Invoke

# A desk that answers as told: `register` fails, and `show` then says what the file beside it says.
DESK = """
import json, pathlib, sys
here = pathlib.Path(__file__).parent
if sys.argv[2] == "register":
    (here / "sent").write_bytes(sys.stdin.buffer.read())
    sys.exit("ballot: the database is away")
sent = here / "sent"
answer = (here / "answer").read_text() if sent.exists() else "none"
if answer == "away":
    sys.exit("ballot: the database is away")
key = json.loads(sent.read_text())["public_key"] if answer.startswith("ours") else None
print(json.dumps({"public_key": key, "rehearsals": int(answer == "ours")}))
"""


@pytest.fixture
def desk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where to write what the desk knows after registering failed."""
    script = tmp_path / "desk.py"
    script.write_text(DESK)
    monkeypatch.setattr(desk, "_program", lambda: [sys.executable, str(script)])
    return tmp_path / "answer"


@pytest.mark.parametrize(
    ("answer", "said", "kept"),
    [
        ("none", "no ballot uses these keys, so the share files were removed", 0),
        ("away", "whether the keys were registered is not known, so the share files were kept", 3),
        ("ours", "wrote", 3),
        ("ours, not rehearsed", "the share files kept: prove them with `ballot keys test`", 3),
    ],
)
def test_registering_fails(
    desk_that_fails: Path, invoke: Invoke, tmp_path: Path, answer: str, said: str, kept: int
) -> None:
    """Share files are removed only when it is certain that the desk has not registered their key."""
    desk_that_fails.write_text(answer)
    out = tmp_path / "out"

    done = invoke(keys, "create", "tube-2025", "--threshold", "2", "--shares", "3", "--out", out)

    assert said in done.output
    assert (done.exit_code == 0) == (answer == "ours")
    assert len(list(out.iterdir())) == kept


def test_desk_is_sent_public_halves_only(desk_that_fails: Path, invoke: Invoke, tmp_path: Path) -> None:
    """What leaves the ceremony is public keys, numbers and the signed rehearsal."""
    desk_that_fails.write_text("ours")

    invoke(keys, "create", "tube-2025", "--threshold", "2", "--shares", "3", "--out", tmp_path / "out")

    sent = json.loads((tmp_path / "sent").read_text())
    assert sent.keys() == {"public_key", "result_key", "threshold", "shares", "statement", "signature"}
    assert (sent["threshold"], sent["shares"]) == (2, 3)
