"""What a vote, a code and a request were found to cost, and where: every constant of the model, and no other.

Measured means on two virtual cores, as tests/benchmarks/RESULTS.md describes them; another machine differs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

RESULTS: Final = "tests/benchmarks/RESULTS.md"
RUNS: Final = "CPU of load runs of 1 to 23 votes a second, less the idle share (ops/capacity.md)"
SIZES: Final = "a deployment of 3,127 codes and 1,868 votes, before and after (ops/capacity.md)"
MILLION: Final = f"{RESULTS}, A ballot of a million"
MODEL: Final = "the common assumptions of the scenarios"

PARTS: Final = ("edge", "queue", "worker", "voterdb")
BATCH_VOTES_MAX: Final = 256
REPORT_BYTES_MAX: Final = 64 * 1024 * 1024
VOTES_MIN: Final = 500
"""A report of fewer votes says nothing of what one costs."""


class NoReport(Exception):  # noqa: N818  # a state of the file, in one sentence
    """A file is not a run's report that anything can be learned from."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A part's processor time: for a vote, for a call or commit that may hold many, and for being there."""

    vote_us: float
    batch_us: float
    idle_cores: float


@dataclass(frozen=True, slots=True)
class Costs:
    """All of it; `WHERE` says of each where it is from."""

    parts: Mapping[str, Cost] = field(
        default_factory=lambda: {
            "edge": Cost(70, 530, 0.0122),
            "queue": Cost(30, 300, 0.0072),
            "worker": Cost(91, 420, 0.024),
            "voterdb": Cost(56, 320, 0.0065),
        }
    )
    call_us: float = 470.7
    call_vote_us: float = 20.01
    disk_syncs: float = 4_715
    worker_votes: float = 8_503
    request_us: float = 52
    handshake_us: float = 341
    requests: float = 9
    cold: float = 0.6
    code_bytes: float = 55
    voted_bytes: float = 113
    entry_bytes: float = 1_630
    log_bytes: float = 2_860
    voterdb_code_bytes: float = 977
    voterdb_vote_bytes: float = 2_574
    voterdb_index_bytes: float = 474
    wal_bytes: float = 2_910
    userdb_bytes: float = 1_318
    snapshot_bytes: float = 103
    request_bytes: float = 2_500
    answer_bytes: float = 900
    page_bytes: float = 55_000
    handshake_bytes: float = 1_620
    issue_us: float = 56
    open_us: float = 76.7
    signature_us: float = 46.1
    check_s: float = 49.7
    backup_s: float = 34.7
    drill_s: float = 92.1
    recover_s: float = 24.8


WHERE: Final[Mapping[str, str]] = {
    "parts": f"for a vote: {RESULTS}, CPU a vote; for a call and idle: {RUNS}",
    "call_us": f"{RESULTS}, gate: 2,038 calls/s of one vote, 571 of 64; what does not grow with the votes",
    "call_vote_us": f"{RESULTS}, the same: what grows with each vote",
    "disk_syncs": f"{RESULTS}, raw fdatasync a second",
    "worker_votes": f"{RESULTS}, votes a second of one worker on a core of its own, from a backlog",
    "request_us": f"{RESULTS}, CPU of a request at bare aiohttp, taken for every request that is no cast",
    "handshake_us": "CPU of 1,500 TLS 1.3 handshakes of the server's side, ECDSA P-256, over memory",
    "requests": MODEL,
    "cold": MODEL,
    "code_bytes": f"{RESULTS}, gate memory a code before voting",
    "voted_bytes": f"{RESULTS}, 168 after all have voted, less that",
    "entry_bytes": f"{SIZES}: memory of the queue, less the gate's",
    "log_bytes": f"{SIZES}: growth of the append-only file",
    "voterdb_code_bytes": f"{SIZES}: register and electorate",
    "voterdb_vote_bytes": f"{SIZES}: votes, addresses and attempts with their indexes",
    "voterdb_index_bytes": f"{SIZES}: of these the indexes",
    "wal_bytes": f"{SIZES}: growth of the log position; full-page images after a checkpoint come on top",
    "userdb_bytes": f"{SIZES}; 622 in {MILLION}",
    "snapshot_bytes": f"{MILLION}: the queue's backup",
    "request_bytes": "a cast of 1,860 bytes and a browser's headers",
    "answer_bytes": "a receipt of 344 bytes and headers",
    "page_bytes": "script, style, icon, page and ballot document, compressed (intake/page/built)",
    "handshake_bytes": "as the handshakes: what the server sends",
    "issue_us": f"{RESULTS}, CPU a code issued",
    "open_us": f"{RESULTS}, 13,034 votes opened and counted a second on a core",
    "signature_us": f"{RESULTS}, 21,686 signatures checked a second on a core",
    "check_s": f"{MILLION}: `ballot check`, seconds a million",
    "backup_s": f"{MILLION}: full backup, seconds a million",
    "drill_s": f"{MILLION}: `ballot drill`, seconds a million",
    "recover_s": f"{MILLION}: `ballot recover`, seconds a million",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What a load run's report says of costs: processor seconds and the most memory by part."""

    name: str
    seconds: float
    votes: int
    cpu_s: Mapping[str, float]
    queue_bytes: float

    @property
    def rate(self) -> float:
        """Accepted votes a second, in the mean of the run."""
        return self.votes / self.seconds


def read(path: Path) -> Run:
    """The run whose `report.json` is at `path`; NoReport when there is nothing to learn from it."""
    try:
        if path.stat().st_size > REPORT_BYTES_MAX:
            raise NoReport(f"{path.name} is too large for a report.")
        told: Any = json.loads(path.read_bytes())
        axis, run = told["axis"], told["run"]
        rows = {row["name"]: row for row in told["processes"]}
        found = Run(
            name=":".join(str(run[key]) for key in ("scenario", "variant") if run.get(key)),
            seconds=float(axis["step_s"] * axis["steps"]),
            votes=int(told["measures"]["accepted"]),
            cpu_s={part: float(rows[part]["cpu_s"]) for part in PARTS},
            queue_bytes=float(rows["queue"]["rss_bytes_most"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise NoReport(f"{path.name} is no report of a load run with its processes measured.") from None
    if found.votes < VOTES_MIN or found.seconds <= 0:
        raise NoReport(f"{path.name} has {found.votes:,} votes: fewer than {VOTES_MIN} say nothing of costs.")
    return found


def learned(costs: Costs, run: Run, *, batches: float) -> Costs:
    """`costs` with the parts' as `run` had them, where a second had so many `batches` in the mean.

    What was spent above idle goes to the calls while most votes have one of their own, else to the votes.
    """
    parts = {}
    for name, cost in costs.parts.items():
        vote_us = max(0.0, run.cpu_s[name] - cost.idle_cores * run.seconds) / run.votes * 1e6
        share = batches / run.rate
        if share > 0.5:  # noqa: PLR2004  # most
            parts[name] = replace(cost, batch_us=max(0.0, vote_us - cost.vote_us) / share)
        else:
            parts[name] = replace(cost, vote_us=max(0.0, vote_us - cost.batch_us * share))
    return replace(costs, parts=parts)


def unexplained() -> set[str]:
    """Constants of which nobody says where they are from, and words about none."""
    return {each.name for each in fields(Costs)} ^ set(WHERE)
