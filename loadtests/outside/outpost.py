"""Where the outside monitor looks from: a ballot of its own, made with the desk's commands, in no total."""

import csv
import json
import math
import shutil
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from loadtests.outside.prober import Pace
from loadtests.staging.stage import Stage, wait_until

OUTSIDE = "outside"
PERIOD_SECONDS = 1.0
DEADLINE_SECONDS = 3.0
STORE_DEADLINE_SECONDS = 10.0
CODES_MAX = 20_000
#: Every look has a code, half as many again for a run that takes longer than thought, and some to begin with.
SPARE_SHARE, SPARE = 1.5, 60
MONITOR_METRICS = 2
METRICS_SECONDS_MAX = 2.0

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
