"""Every overlay by name, and how to start and stop one: each runs in a process of its own, tethered to ours.

    running = OVERLAYS["botnet"].start(context)   # returns once it is ready to begin
    told = running.stop()                         # ends it if it has not; what it did and got in all
    judgements = OVERLAYS["botnet"].judge(told)

The context goes to the process through a pipe that stays open: when it closes, because `stop` was called or
we are gone, the overlay winds up. Its lines are in `out/NAME.jsonl`, one a second: `{"at_us", "did", "got",
"ms"}`, with counts by what was done and by what came of it and the slowest answer; a line may also carry
`marks` (`{"kind", "name", "from_us", "to_us"}`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from loadtests.overlays import (
    botnet,
    cap,
    fault,
    guessing,
    handshakes,
    reissue,
    reloaders,
    replay,
)
from loadtests.overlays.judging import achieved
from loadtests.overlays.terms import Context, Judgement, Told, impossible
from loadtests.staging.stage import STOP_SECONDS_MAX, end

__all__ = ["OVERLAYS", "Context", "Judgement", "Overlay", "Running", "Told"]

READY_SECONDS_MAX = 60.0
WIND_UP_SECONDS_MAX = 75.0
LOOK_SECONDS = 0.05
LAST_BYTES = 1 << 20
"""The last line, which holds what was done in all, is shorter."""


class Running:
    """An overlay that has been started. `url` is where the voters must go when it stands in their way."""

    def __init__(self, name: str, context: Context) -> None:
        self.name = name
        self.path = context.out / f"{name}.jsonl"
        context.out.mkdir(parents=True, exist_ok=True)
        self._errors = context.out / f"{name}.err"
        with self.path.open("wb") as out, self._errors.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.overlays", name],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                process_group=0,
            )
        self._tell(context)
        self._told: dict[str, Any] | None = None
        self.ready = self._wait_ready()
        self.url: str | None = self.ready.get("url")

    @property
    def running(self) -> bool:
        """Whether it is still at work."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def stop(self) -> dict[str, Any]:
        """What it did and got in all; it is asked to wind up if it has not ended. Again: the same."""
        if self._told is None:
            stdin = self._process.stdin
            if stdin is not None:
                stdin.close()
            try:
                self._process.wait(WIND_UP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                pass
            finally:
                end(self._process, seconds=STOP_SECONDS_MAX)
            self._told = self._last_word("told")
        return self._told

    def _tell(self, context: Context) -> None:
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("an overlay is started with a pipe")
        try:
            stdin.write(json.dumps(context.as_json()).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            return  # it ended at once; what it said is in its file of errors

    def _wait_ready(self) -> dict[str, Any]:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            with self.path.open("rb") as lines:
                first = lines.readline(LAST_BYTES)
            if first.endswith(b"\n"):
                told: dict[str, Any] = json.loads(first).get("ready", {})
                return told
            if not self.running:
                break
            time.sleep(LOOK_SECONDS)
        return {}

    def _last_word(self, key: str) -> dict[str, Any]:
        """The last line's `key`, or why there is none."""
        with self.path.open("rb") as lines:
            lines.seek(max(0, os.fstat(lines.fileno()).st_size - LAST_BYTES))
            last = lines.read().splitlines()[-1:]
        try:
            line = json.loads(last[0]) if last else {}
        except ValueError:
            line = {}  # torn: it was ended while it wrote
        told: dict[str, Any] = line.get(key, {}) if isinstance(line, dict) else {}
        ended = f"It ended with {self._process.returncode} and no word: {self._why()}"
        return told or {"impossible": ended}

    def _why(self) -> str:
        said = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return said[-1] if said else "it said nothing"


@dataclass(frozen=True, slots=True)
class Overlay:
    """One thing that goes on beside the voters. `carries`: they go to `Running.url`, so start it first."""

    name: str
    what: str
    expects: Callable[[Told], Sequence[Judgement]]
    carries: bool = False
    needs: tuple[str, ...] = ()
    """What of the context it cannot do without."""
    paced: bool = True
    """It has a rate, and shows nothing when it did far less than that."""

    def start(self, context: Context) -> Running:
        """Start its process; return when it is ready, or has said why it cannot be tried."""
        return Running(self.name, context)

    def judge(self, told: Told) -> list[Judgement]:
        """What it expects of the system, judged by what it was `told` to have got."""
        if "impossible" in told:
            return impossible(self.what, told)
        return [*self.expects(told), *(achieved(told) if self.paced else ())]


def _all() -> dict[str, Overlay]:
    everything = (
        Overlay("cap", cap.WHAT, cap.judge, carries=True, paced=False),
        Overlay("botnet", botnet.WHAT, botnet.judge),
        Overlay("handshakes", handshakes.WHAT, handshakes.judge, needs=("tls_url",)),
        Overlay("reloaders", reloaders.WHAT, reloaders.judge),
        Overlay("guessing", guessing.WHAT, guessing.judge, needs=("spare_codes",)),
        Overlay("reissue", reissue.WHAT, reissue.judge, needs=("spare_codes",)),
        Overlay("replay", replay.WHAT, replay.judge, needs=("spare_codes",)),
        Overlay("fault", fault.WHAT, fault.judge, needs=("up_pid",), paced=False),
    )
    return {overlay.name: overlay for overlay in everything}


OVERLAYS: Mapping[str, Overlay] = MappingProxyType(_all())
