"""The tally ends in order: a desk command that it runs is told to end, once, and waited for."""

import signal
import subprocess
import sys
import time
from pathlib import Path

WAIT_S = 30.0
CHILD = """
import pathlib, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
pathlib.Path(sys.argv[1]).write_text("started")
while not told:
    time.sleep(0.02)
time.sleep(0.5)
pathlib.Path(sys.argv[1]).write_text(f"left in order, told {len(told)} times")
"""
TALLY = """
import signal, sys
from tally import desk
def end(*_): raise SystemExit(143)
signal.signal(signal.SIGTERM, end)
desk._program = lambda: [sys.executable, "-c", sys.argv[1]]
desk.run([sys.argv[2]])
"""


def test_a_desk_command_under_way_is_ended_in_order(tmp_path: Path) -> None:
    """Stopped, from a terminal or not, the tally lets the desk command stop the servers that it started."""
    said = tmp_path / "said"
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)):
        with subprocess.Popen([sys.executable, "-c", TALLY, CHILD, said], stderr=subprocess.DEVNULL) as tally:
            deadline = time.monotonic() + WAIT_S
            while not said.exists() or said.read_text() != "started":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            tally.send_signal(number)
            assert tally.wait(WAIT_S) == code

        assert said.read_text() == "left in order, told 1 times"
        said.unlink()
