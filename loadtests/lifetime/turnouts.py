"""What `ballot status --watch` says of a ballot while a run lasts, kept as it comes, every few seconds."""

import json
import subprocess
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Final, Self

from loadtests.staging.kept import now_us
from loadtests.staging.stage import STOP_SECONDS_MAX, Stage, ballot_command, end

FILE: Final = "turnout.jsonl"
EVERY_SECONDS: Final = 5.0
LINES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 1 << 20


class Turnouts:
    """One process that watches the ballot as an official would, and a thread that keeps its lines."""

    def __init__(self, stage: Stage, ballot: str, folder: Path, *, every_s: float = EVERY_SECONDS) -> None:
        self._stage = stage
        self._ballot = ballot
        self._folder = folder
        self._every_s = every_s
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._keep, name="turnouts", daemon=True)

    def __enter__(self) -> Self:
        words = ("status", self._ballot, "--watch", "--json", "--every", f"{self._every_s:g}")
        with (self._folder / "turnout.err").open("wb") as err:
            self._process = subprocess.Popen(
                [*ballot_command(), *words],
                env=self._stage.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                process_group=0,
            )
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if self._process is not None:
            end(self._process, seconds=STOP_SECONDS_MAX)
            self._thread.join(STOP_SECONDS_MAX)

    def _keep(self) -> None:
        """Until it ends; each line says from when its turnout is at the earliest, and at the latest."""
        if self._process is None or self._process.stdout is None:
            return
        after_us = 0
        with (self._folder / FILE).open("w", encoding="utf-8", buffering=1) as kept:
            for _ in range(LINES_MAX):
                line = self._process.stdout.readline(LINE_BYTES_MAX)
                if not line:
                    return
                at_us = now_us()
                if told := sample(line, at_us, after_us=after_us, every_s=self._every_s):
                    kept.write(json.dumps({"ballot": self._ballot, **told}) + "\n")
                after_us = at_us


def sample(line: bytes, at_us: int, *, after_us: int, every_s: float) -> dict[str, Any]:
    """What a line said, which came at `at_us` and is of after the line before it; nothing if it is none."""
    try:
        turnout = json.loads(line)["turnout"]
        counts = {side: int(turnout[side].get("electronic", 0)) for side in ("accepted", "stored")}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    from_us = min(at_us, after_us + round(every_s * 1_000_000)) if after_us else at_us
    return {"from_us": from_us, "at_us": at_us, **counts}
