"""A scenario's voters let loose on a server: Locust, headless and bounded, and what became of them."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from loadtests.stage import STOP_SECONDS_MAX, StageFault, end, wait_until

LOCUSTFILE = Path(__file__).resolve().parent / "locustfile.py"
USERS = 32
SECONDS_MAX = 300
LAST_WORDS = 5


@dataclass(frozen=True, slots=True)
class Booking:
    """Whom a crowd plays, where it goes, and with which papers; new codes will appear at `reissued`."""

    scenario: str
    url: str
    codes: Path
    desk_key: Path
    out: Path
    reissued: Path | None = None
    seed: int | None = None
    users: int = USERS
    seconds: int = SECONDS_MAX

    def command(self) -> list[str]:
        """The Locust command line."""
        return [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("--users", str(self.users), "--spawn-rate", str(self.users), "--run-time", f"{self.seconds}s"),
            *("--loglevel", "WARNING", "--host", self.url, "--scenario", self.scenario),
            *("--codes", str(self.codes), "--desk-key", str(self.desk_key), "--out", str(self.out)),
            *(("--reissued", str(self.reissued)) if self.reissued else ()),
            *(("--plan-seed", str(self.seed)) if self.seed is not None else ()),
        ]


class Crowd:
    """A running crowd; use as a context manager. It ends with the last voter, or with the block."""

    def __init__(self, booking: Booking, *, progress: Any = None) -> None:
        self.booking = booking
        booking.out.mkdir(parents=True, exist_ok=True)
        with (booking.out / "locust.txt").open("wb") as out, (booking.out / "locust.err").open("wb") as err:
            self._process = subprocess.Popen(
                booking.command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err if progress is None else progress,
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, seconds=STOP_SECONDS_MAX)

    @property
    def running(self) -> bool:
        """Whether there are voters left."""
        return self._process.poll() is None

    def receipts(self) -> int:
        """How many receipts have reached the file so far; the last few may still be on their way to it."""
        path = self.booking.out / "receipts.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def wait_for(self, receipts: int, *, seconds: float = SECONDS_MAX) -> None:
        """Return once that many receipts are in the file, or nobody is left."""
        self._wait(lambda: not self.running or self.receipts() >= receipts, seconds, f"{receipts:,} receipts")

    def finish(self) -> dict[str, Any]:
        """Wait for the last voter and return the summary; any unexpected outcome is a fault."""
        self._wait(lambda: not self.running, self.booking.seconds + STOP_SECONDS_MAX, "the last voter")
        path = self.booking.out / "summary.json"
        if not path.exists():
            log = self.booking.out / "locust.err"
            told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise StageFault("The voters never started: " + " / ".join(told[-LAST_WORDS:]))
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if summary["unexpected"] or self._process.returncode != 0:
            listed = "; ".join(summary["unexpected"][:LAST_WORDS]) or f"exit code {self._process.returncode}"
            raise StageFault(
                f"{summary['counts'].get('unexpected', 0):,} voters had an unexpected outcome: {listed}"
            )
        return summary

    @staticmethod
    def _wait(holds: Callable[[], bool], seconds: float, what: str) -> None:
        wait_until(holds, seconds=seconds, what=what)
