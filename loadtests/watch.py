"""The second monitor: outside the stack, in a process of its own, on a ballot of its own, in every run.

It knows the public address, the desk's public key and its own access codes, and nothing else: it shares
neither code nor home nor database with the monitor inside, so that what breaks one does not silence both.
`prepare` needs the desk; `start` and `Watch.stop` are for whoever conducts the run; the rest is the process.
"""

import csv
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import click

from loadtests.desk import DeskFileFault, dispatched_codes, pinned_key
from loadtests.door import HttpDoor, verifying
from loadtests.observed import Interval, Look, from_looks
from loadtests.prober import Pace, Prober
from loadtests.stage import Stage, end, wait_until

OUTSIDE = "outside"
PERIOD_SECONDS = 1.0
DEADLINE_SECONDS = 3.0
STORE_DEADLINE_SECONDS = 10.0
CODES_MAX = 20_000
#: Every look has a code, half as many again for a run that takes longer than thought, and some to begin with.
SPARE_SHARE, SPARE = 1.5, 60
REQUESTS_BEFORE_STORING = 5
STOP_SECONDS_MAX = 45.0
LOOKS_FILE = "outside.jsonl"
PACE_FILE = "outside.json"
MONITOR_METRICS = 2
METRICS_SECONDS_MAX = 2.0
US = 1_000_000

DEFINITION = """\
# The outside monitor's ballot: its votes prove that votes are taken, and are never counted.
[ballot]
id = "outside"
title = "Availability, seen from outside"
kind = "probe"
union = "None: votes of a second availability monitor"
employer = "None"
scrutineer = "The load lab"
contact = "nobody@outside.invalid"
opens = 2020-01-01T00:00:00Z
closes = 2099-12-31T00:00:00Z
methods = ["electronic"]
precedence = "first-recorded"

[[question]]
id = "working"
text = "Is the service taking votes?"
form = "single"
options = [ {id = "yes", text = "Yes"}, {id = "no", text = "No"} ]
"""


@dataclass(frozen=True, slots=True)
class Post:
    """Where the outside monitor looks from: the address, the pinned key, its codes and its pace."""

    url: str
    desk_key: Path
    codes: Path
    period_s: float
    seconds_max: float
    ca: Path | None = None
    deadline_s: float = DEADLINE_SECONDS
    store_deadline_s: float = STORE_DEADLINE_SECONDS

    @property
    def pace(self) -> Pace:
        """How often, and how long is waited."""
        return Pace(self.period_s, self.deadline_s, self.store_deadline_s)

    def to_json(self) -> str:
        """As the process is told it."""
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()})

    @classmethod
    def from_json(cls, text: str) -> "Post":
        """As the process reads it."""
        fields = json.loads(text)
        paths = {name: fields[name] and Path(fields[name]) for name in ("desk_key", "codes", "ca")}
        return cls(**(fields | paths))


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def prepare(stage: Stage, *, seconds: float, period_s: float = PERIOD_SECONDS) -> Post:
    """Make the outside monitor's own ballot with the desk's commands, with a code for each look of `seconds`.

    A run too long for that many codes is looked at less often, and never goes unwatched at its end.
    """
    if seconds <= 0 or period_s <= 0:
        raise ValueError("a watch has a length and a period")
    files = stage.files / OUTSIDE
    files.mkdir(mode=0o700, parents=True, exist_ok=True)
    period_s = max(period_s, seconds * SPARE_SHARE / (CODES_MAX - SPARE))
    count = min(CODES_MAX, math.ceil(seconds * SPARE_SHARE / period_s) + SPARE)
    (files / "definition.toml").write_text(DEFINITION, encoding="utf-8")
    with (files / "roll.csv").open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(("member_id", "name", "email", "mobile", "address"))
        for number in range(count):
            member = f"outside-{number:05d}"
            writer.writerow((member, member, f"{member}@outside.invalid", "", ""))
    stage.run("create", files / "definition.toml")
    shares = files / "shares"
    stage.run("keys", "create", OUTSIDE, "--threshold", "2", "--shares", "3", "--out", shares)
    shutil.rmtree(shares)  # nobody ever counts these votes
    stage.run("roll", "import", OUTSIDE, files / "roll.csv")
    stage.run("codes", "issue", OUTSIDE, "--out", files / "codes.csv")
    stage.run("open", OUTSIDE)
    return Post(stage.url, stage.desk_key, files / "codes.csv", period_s, seconds_max=seconds * SPARE_SHARE)


def wait_for_inside(stage: Stage, *, seconds: float = 120.0) -> None:
    """Wait until the inside monitor has seen a vote of its own accepted; StageFault if it never does."""
    url = f"http://127.0.0.1:{stage.metrics_port + MONITOR_METRICS}/metrics"

    def seen() -> bool:
        with (
            suppress(OSError),
            urllib.request.urlopen(url, timeout=METRICS_SECONDS_MAX) as page,
        ):  # our own loopback address
            return any(line.strip() == b"ballot_probe_up 1.0" for line in page)
        return False

    wait_until(seen, seconds=seconds, what="the monitor inside to have seen a vote accepted")


def start(post: Post, out: Path) -> "Watch":
    """Begin to look, in a process that ends with this one; what it sees goes to `outside.jsonl` in `out`."""
    return Watch(post, out)


class Watch:
    """The running outside monitor; a context manager."""

    def __init__(self, post: Post, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._post = post
        self._looks = out / LOOKS_FILE
        (out / PACE_FILE).write_text(json.dumps(asdict(post.pace)) + "\n", encoding="utf-8")
        with (out / "outside.err").open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "loadtests.watch", post.to_json(), str(self._looks)],
                stdin=subprocess.PIPE,  # it ends when this does, however this process ends
                stdout=subprocess.DEVNULL,
                stderr=err,
                process_group=0,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it is looking."""
        return self._process.poll() is None

    def stop(self) -> list[Interval]:
        """Let the looks under way finish, and return what was seen; also when it died before."""
        self._end()
        return seen(self._looks, period_s=self._post.period_s)

    def _end(self) -> None:
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=STOP_SECONDS_MAX)
        end(self._process, seconds=STOP_SECONDS_MAX)


def pace_of(out: Path) -> Pace:
    """How often the outside monitor of that run looked; the usual pace where it did not say."""
    try:
        told = json.loads((out / PACE_FILE).read_text(encoding="utf-8"))
        return Pace(*(float(told[name]) for name in ("period_s", "deadline_s", "store_deadline_s")))
    except (OSError, ValueError, KeyError, TypeError):
        return Pace(PERIOD_SECONDS, DEADLINE_SECONDS, STORE_DEADLINE_SECONDS)


def seen(path: Path, *, period_s: float) -> list[Interval]:
    """The intervals of a file of looks; a line torn by a kill is left out."""
    looks = []
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):
                    told = json.loads(line)
                    look = Look(int(told["started_us"]), int(told["ended_us"]), told["state"], told["reason"])
                    looks.append(look)
    return from_looks(looks, period_us=round(period_s * US))


def watch(prober: Prober, pace: Pace, looks: Path, stop: threading.Event, *, seconds_max: float) -> None:
    """Look every period until told to stop; a look never waits for an earlier one."""
    at_once_max = math.ceil(
        (REQUESTS_BEFORE_STORING * pace.deadline_s + pace.store_deadline_s) / pace.period_s
    )
    at_once = threading.BoundedSemaphore(at_once_max + 2)
    writing = threading.Lock()
    with looks.open("a", encoding="utf-8") as file, ThreadPoolExecutor(at_once_max + 2) as pool:

        def look() -> None:
            try:
                told = prober.look()
                with writing:
                    file.write(json.dumps(asdict(told)) + "\n")
                    file.flush()
            finally:
                at_once.release()

        due = time.monotonic()
        until = due + seconds_max
        while not stop.is_set() and due < until:
            # When all are under way the service outlives every deadline: the missed looks become `unknown`.
            if at_once.acquire(blocking=False):
                pool.submit(look)
            due = max(due + pace.period_s, time.monotonic())
            stop.wait(due - time.monotonic())


@click.command()
@click.argument("post")
@click.argument("looks", type=click.Path(dir_okay=False, path_type=Path))
def main(post: str, looks: Path) -> None:
    """Look as POST says, into the file LOOKS, until standard input ends."""
    told = Post.from_json(post)
    tls = told.ca  # checked once here, not at each look
    try:
        if tls is not None:
            verifying(tls)
        codes = list(dispatched_codes(told.codes).values())
        desk_public = pinned_key(told.desk_key)
    except (DeskFileFault, ValueError) as error:
        raise click.ClickException(str(error)) from error
    prober = Prober(
        partial(HttpDoor, told.url, seconds=told.deadline_s, ca=tls),
        ballot=OUTSIDE,
        desk_public=desk_public,
        codes=codes,
        pace=told.pace,
    )
    stop = threading.Event()

    def until_it_ends() -> None:
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1024):
                pass
        stop.set()

    threading.Thread(target=until_it_ends, daemon=True).start()
    watch(prober, told.pace, looks, stop, seconds_max=told.seconds_max)


if __name__ == "__main__":
    main()
