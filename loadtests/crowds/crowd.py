"""A scenario's voters let loose on a server: Locust, headless and bounded, and what became of them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

from loadtests.staging.stage import STOP_SECONDS_MAX, StageFault, end, wait_until

LOCUSTFILE = Path(__file__).resolve().parent.parent / "locustfile.py"
USERS = 32
SECONDS_MAX = 300
LAST_WORDS = 5
Told = Callable[[int], None]


def in_silence(_receipts: int) -> None:
    """Nobody watches."""


@contextmanager
def bar(length: int) -> Iterator[Told]:
    """A progress bar on stderr while the block runs, if that is a terminal; tell it the receipts so far."""
    label, hidden = "voted", not sys.stderr.isatty()
    with click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden) as shown:
        yield lambda receipts: shown.update(receipts - shown.pos)


@dataclass(frozen=True, slots=True)
class Booking:
    """Whom a crowd plays, where it goes and how fast; new codes will appear at `reissued`.

    With a `rate` so many voters begin a second, if there are users enough; once `enough` is there, none does.
    """

    scenario: str
    url: str
    codes: Path
    desk_key: Path
    out: Path
    reissued: Path | None = None
    seed: int | None = None
    users: int = USERS
    seconds: int = SECONDS_MAX
    think: float = 0.0
    ca: Path | None = None
    rate: float = 0.0
    enough: Path | None = None

    def command(self) -> list[str]:
        """The Locust command line."""
        return [
            *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary"),
            *("--users", str(self.users), "--spawn-rate", str(self.users), "--run-time", f"{self.seconds}s"),
            *(
                "--think",
                str(self.think),
                "--loglevel",
                "WARNING",
                "--host",
                self.url,
                "--scenario",
                self.scenario,
            ),
            *("--codes", str(self.codes), "--desk-key", str(self.desk_key), "--out", str(self.out)),
            *(("--reissued", str(self.reissued)) if self.reissued else ()),
            *(("--ca", str(self.ca)) if self.ca else ()),
            *(("--rate", str(self.rate)) if self.rate else ()),
            *(("--enough", str(self.enough)) if self.enough else ()),
            *(("--plan-seed", str(self.seed)) if self.seed is not None else ()),
        ]


class Crowd:
    """A running crowd; use as a context manager. It ends with the last voter, or with the block."""

    def __init__(self, booking: Booking, *, told: Told = in_silence) -> None:
        self.booking = booking
        self._told = told
        self._receipts = 0
        self._read_to = 0
        booking.out.mkdir(parents=True, exist_ok=True)
        with (booking.out / "locust.txt").open("wb") as out, (booking.out / "locust.err").open("wb") as err:
            self._process = subprocess.Popen(
                booking.command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
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
        if path.exists():
            with path.open("rb") as lines:
                lines.seek(self._read_to)
                new = lines.read()
            self._read_to += len(new)
            self._receipts += new.count(b"\n")
        return self._receipts

    def wait_for(self, receipts: int, *, seconds: float = SECONDS_MAX) -> None:
        """Return once that many receipts are in the file, or nobody is left."""
        self._wait(lambda: not self.running or self.receipts() >= receipts, seconds, f"{receipts:,} receipts")

    def finish(self) -> dict[str, Any]:
        """Wait for the last voter and return the summary; any unexpected outcome is a fault."""
        summary = self.end()
        if summary["unexpected"] or self._process.returncode != 0:
            listed = "; ".join(summary["unexpected"][:LAST_WORDS]) or f"exit code {self._process.returncode}"
            raise StageFault(
                f"{summary['counts'].get('unexpected', 0):,} voters had an unexpected outcome: {listed}"
            )
        return summary

    def end(self) -> dict[str, Any]:
        """Wait for the last voter and return the summary, whatever it says."""
        self._wait(lambda: not self.running, self.booking.seconds + STOP_SECONDS_MAX, "the last voter")
        path = self.booking.out / "summary.json"
        if not path.exists():
            log = self.booking.out / "locust.err"
            told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise StageFault("The voters never started: " + " / ".join(told[-LAST_WORDS:]))
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summary

    def _wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        def holds_now() -> bool:
            self._told(self.receipts())
            return holds()

        wait_until(holds_now, seconds=seconds, what=what)
