"""A run's directory as a siege of some minutes would leave it, drawn from a seed: to try the report on."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator

from loadtests.crowds.buckets import bucket

BEGAN = 1_763_812_800
VOTERS, ENTITLED = 86_349, 111_670
REFERENCE = "0K3M-{number:04d}-QX7T-9ZBD"
PARTS = {
    "edge": (0.00031, 0.05, 82),
    "generator": (0.00024, 0.04, 140),
    "queue": (0.00006, 0.02, 61),
    "userdb": (0.0, 0.002, 44),
    "voterdb": (0.00016, 0.02, 210),
    "worker": (0.00019, 0.03, 96),
    "monitor": (0.0, 0.012, 71),
}


@dataclass(frozen=True, slots=True)
class Made:
    """What kind of run to make: how long, from which seed, and with what wrong."""

    seconds: int = 900
    seed: int = 1
    verdict: str = "pass"
    slower: float = 1.0
    besieged: bool = True

    @property
    def compressed(self) -> int:
        """Seconds at the beginning that stand for weeks."""
        return self.seconds // 3

    @property
    def fault_at(self) -> int:
        """When the voter database is killed."""
        return self.seconds * 2 // 3

    def botnet(self, second: int) -> bool:
        """Whether the botnet is at it."""
        return self.besieged and self.seconds // 2 <= second < self.seconds * 3 // 4


def make(folder: Path, made: Made | None = None) -> Path:
    """Write the whole directory; the same for the same seed."""
    made = made or Made()
    rng = np.random.default_rng(made.seed)
    folder.mkdir(parents=True, exist_ok=True)
    planned = _planned(made, rng)
    accepted = _seconds(folder, made, rng, planned)
    _samples(folder, made, rng, accepted)
    _turnouts(folder, made, accepted)
    _schedule(folder, made, planned)
    _marks(folder, made)
    _availability(folder, made)
    _books(folder, made, int(accepted.sum()))
    _quiet(folder, made, int(accepted.sum()))
    _verdict(folder, made)
    _dump(folder / "run.json", _run(made))
    return folder


def _planned(made: Made, rng: Generator) -> Any:
    """Votes due a second: weeks in the first third, a rush to the close in the rest."""
    second = np.arange(made.seconds)
    weeks = 60 + 45 * np.sin(second / made.compressed * 28 * 2 * math.pi / 4) ** 2
    rush = 14 * np.exp((second - made.seconds) / (made.seconds / 3)) * 3 + 4
    return rng.poisson(np.where(second < made.compressed, weeks, rush))


def _latency(made: Made, rng: Generator, second: int, votes: int) -> Counter[int]:
    pressed = 2.5 if made.botnet(second) else 1.0
    hit = 40.0 if made.besieged and 0 <= second - made.fault_at < 3 else 1.0
    times = rng.lognormal(math.log(9 * made.slower * pressed * math.sqrt(hit)), 0.45, votes)
    return Counter(bucket(float(time)) for time in times)


def _seconds(folder: Path, made: Made, rng: Generator, planned: Any) -> Any:
    accepted = np.zeros(made.seconds, dtype=int)
    with (folder / "seconds.jsonl").open("w", encoding="utf-8") as lines:
        for second in range(made.seconds):
            for generator in range(2):
                due = int(planned[second]) // 2 + (generator and int(planned[second]) % 2)
                failing = made.besieged and 0 <= second - made.fault_at < 2
                refused = due // 2 if failing else 0
                outcomes = Counter(
                    {
                        "accepted": due - refused,
                        "repeated": int(rng.binomial(due, 0.06)),
                        "403": int(rng.binomial(due, 0.02)),
                        "503": refused,
                        "none": int(failing and generator == 0),
                        "409": 17 if second == made.seconds - 1 else 0,
                        "429": int(rng.poisson(2)) if made.botnet(second) else 0,
                    }
                )
                accepted[second] += outcomes["accepted"]
                late = float(rng.gamma(2.0, 3.0)) + (1400 if made.verdict == "void" and second == 40 else 0)
                line = {
                    "s": BEGAN + second,
                    "planned": due,
                    "sent": due,
                    "late_ms_max": round(late, 2),
                    "outcomes": {name: times for name, times in outcomes.items() if times},
                    "latency": _texts(_latency(made, rng, second, due - refused)),
                    "service": _texts(_latency(made, rng, second, due - refused)),
                    "refused": {str(bucket(2040.0)): refused} if refused else {},
                }
                lines.write(json.dumps(line) + "\n")
    return accepted


def _samples(folder: Path, made: Made, rng: Generator, accepted: Any) -> None:
    used = dict.fromkeys(PARTS, 0.0)
    waiting = taken = 0
    with (folder / "samples.jsonl").open("w", encoding="utf-8") as lines:
        for second in range(made.seconds + 20):
            votes = int(accepted[second]) if second < made.seconds else 0
            away = made.besieged and 0 <= second - made.fault_at < 6
            taken += votes
            waiting = waiting + votes if away else int(waiting * 0.2) + int(rng.poisson(votes * 0.02))
            for name, (a_vote, always, _) in PARTS.items():
                extra = 0.11 if name == "edge" and made.botnet(second) else 0.0
                used[name] += (a_vote * made.slower * votes + always + extra) * float(rng.uniform(0.9, 1.1))
            line = {
                "at_us": (BEGAN + second) * 1_000_000 + 400_000,
                "queue_depth": waiting,
                "queue_oldest_s": round(second - made.fault_at + 0.5, 2)
                if away
                else round(waiting / 4000, 3),
                "accepted": taken,
                "stored": taken - waiting,
                "quarantined": 0,
                "store_lag_p99_s": None if away else round(0.02 + waiting / 3000, 4),
                "processes": [
                    {
                        "name": name,
                        "pid": 4000 + at,
                        "cpu_s": round(used[name], 2),
                        "rss_bytes": int((held + 30 * second / made.seconds) * 1_048_576),
                    }
                    for at, (name, (_, _, held)) in enumerate(PARTS.items())
                ],
                "probe_up": not away,
            }
            lines.write(json.dumps(line) + "\n")


def _turnouts(folder: Path, made: Made, accepted: Any) -> None:
    """Every five seconds; what is stored runs ten votes behind, and stands still with the database."""
    stored = 0
    with (folder / "turnout.jsonl").open("w", encoding="utf-8") as lines:
        for second in range(5, made.seconds + 20, 5):
            taken = int(accepted[:second].sum())
            if not (made.besieged and 0 <= second - made.fault_at < 6):
                stored = max(stored, taken - (10 if second < made.seconds else 0))
            at_us = (BEGAN + second) * 1_000_000
            line = {"ballot": "royal-mail", "from_us": at_us, "at_us": at_us, "accepted": taken}
            lines.write(json.dumps(line | {"stored": stored}) + "\n")


def _schedule(folder: Path, made: Made, planned: Any) -> None:
    """The first third is four weeks less two hours; then two hours' end in real time."""
    week = 28 * 86_400.0
    run_s = np.repeat(np.arange(made.seconds), planned) + 0.5
    real_from = week - (made.seconds - made.compressed)
    factor = real_from / made.compressed
    ballot_s = np.where(run_s < made.compressed, run_s * factor, real_from + run_s - made.compressed)
    np.savez(folder / "schedule.npz", run_s=run_s, ballot_s=ballot_s)
    names = ("name", "from_run_s", "to_run_s", "from_ballot_s", "to_ballot_s", "factor")
    rows = [
        ("the weeks before", 0.0, made.compressed, 0.0, real_from, factor),
        ("the last minutes and the close", made.compressed, made.seconds, real_from, week, 1.0),
    ]
    _dump(folder / "windows.json", [dict(zip(names, row, strict=True)) for row in rows])


def _mark(kind: str, name: str, begins: float, ends: float, **told: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "from_us": int((BEGAN + begins) * 1e6),
        "to_us": int((BEGAN + ends) * 1e6),
        "told": told,
    }


def _marks(folder: Path, made: Made) -> None:
    half, most = made.seconds // 2, made.seconds * 3 // 4
    rows = [
        _mark("phase", "ballot set up", -140, -100),
        _mark("phase", "votes sealed ahead", -100, -3),
        _mark("phase", "votes", 0, made.seconds),
        _mark("phase", "close", made.seconds, made.seconds + 4),
        _mark("phase", "tally, verify, check", made.seconds + 4, made.seconds + 60),
    ]
    if made.besieged:
        got = {"403": 3120, "429": 2875}
        rows += [
            _mark("overlay", "botnet", half, most, did={"casts": 3010, "landing pages": 2985}, got=got),
            _mark("overlay", "guessing", half + 60, most + 60, hits=0, tried=9000, victim="voted"),
            _mark("fault", "kill voterdb", made.fault_at, made.fault_at + 6, back_after_s=5.2),
        ]
    (folder / "marks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "overlays").mkdir(exist_ok=True)
    if made.besieged:
        lines = [
            {"at_us": int((BEGAN + s) * 1e6), "did": {"casts": 14, "landing pages": 14}, "got": {"403": 28}}
            for s in range(half, most)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "overlays" / "botnet.jsonl").write_text(text, encoding="utf-8")


def _availability(folder: Path, made: Made) -> None:
    at = made.fault_at

    def intervals(*edges: float, why: str) -> list[dict[str, Any]]:
        states = ("up", "down", "up")
        spans = zip((0.0, *edges), (*edges, float(made.seconds)), states, strict=True)
        return [
            {
                "from_us": int((BEGAN + begins) * 1e6),
                "to_us": int((BEGAN + ends) * 1e6),
                "state": state,
                "reason": why if state == "down" else "",
            }
            for begins, ends, state in spans
        ]

    edges = (at, at + 6) if made.besieged else (5, 5)
    value = {
        "period_s": 1.0,
        "inside": intervals(edges[0] + 0.4, edges[1] + 0.7, why="a probe vote was not stored in time"),
        "outside": intervals(edges[0] + 0.9, edges[1] + 0.9, why="a probe vote was not confirmed"),
        "voters": intervals(edges[0], edges[1] - 1, why="every settled attempt failed"),
        "agree": True,
        "differences": [],
    }
    _dump(folder / "availability.json", value)


def _books(folder: Path, made: Made, accepted: int) -> None:
    lost = 86 if made.verdict == "fail" else 0
    options = {"yes": accepted - 3557, "no": 3517, "spoilt": 40}
    figures = [("entitled", "", ENTITLED, ENTITLED), ("votes cast", "", accepted, accepted - lost)]
    figures += [
        ("strike", option, votes, votes - (lost if option == "yes" else 0))
        for option, votes in options.items()
    ]
    figures += [("set aside", "", 0, 0), ("quarantined", "", 0, 0)]
    rows = [
        {"question": what, "option": option, "published": due, "counted": found, "difference": found - due}
        for what, option, due, found in figures
    ]
    _dump(folder / "figures.json", rows)
    terms = {
        "entitled": ENTITLED,
        "issued": ENTITLED + 1727,
        "used": accepted - lost,
        "unused": ENTITLED - accepted + lost,
        "revoked": 1727,
        "accepted": accepted - lost,
        "unacknowledged": 0,
        "stored": accepted - lost,
        "quarantined": 0,
        "released": 0,
        "voted_electronic": accepted - lost,
        "returned_other": 0,
    }
    result = {"ballot": "royal-mail", "entitled": ENTITLED, "votes_cast": accepted - lost, "books": terms}
    _dump(folder / "result.json", result)
    findings = [{"kind": "lost", "where": REFERENCE.format(number=n), "what": "no vote"} for n in range(lost)]
    check = {"differences": lost, "counts": {"lost": lost, "doubled": 0}, "findings": findings}
    _dump(folder / "check.json", check)
    summary = {
        "voters": accepted,
        "voted": accepted,
        "counts": {"double clicks": 2591, "mistyped codes": 2590, "used codes tried": 864, "reissued": 1727},
        "late_ms": {"p50": 1.2, "p99": 14.8, "max": 1405.0 if made.verdict == "void" else 31.0},
        "generator_cpu": [0.31, 0.29],
        "generator_cpu_max": 0.62,
        "client_was_bottleneck": False,
        "void": made.verdict == "void",
        "void_reasons": ["a vote was sent 1405 ms late"] if made.verdict == "void" else [],
        "unexpected": [],
        "unexpected_count": 0,
        "first_gave_up": ["m-000001"],
    }
    _dump(folder / "summary.json", summary)


def _quiet(folder: Path, made: Made, accepted: int) -> None:
    same = {"accepted": accepted, "stored": accepted}
    at_us = (BEGAN + made.seconds + 12) * 1_000_000
    _dump(folder / "quiet.json", [{"at_us": at_us, "turnout": same, "books": same}])


def _verdict(folder: Path, made: Made) -> None:
    lost = 86 if made.verdict == "fail" else 0
    late = made.verdict == "void"
    references = [REFERENCE.format(number=number) for number in range(lost)]
    rows = [
        ("the result is the published one", "every figure equal, to the last vote", "7 of 7 equal", not lost),
        ("the books balance", "0 differences", f"{lost} differences", not lost),
        ("every receipt is counted, once", "none lost, none doubled", f"{lost} lost, 0 doubled", not lost),
        ("nothing is accepted at or after the close", "every time before the close", "0 of 37,718", True),
        ("p99 of a cast in the busiest minute", "at most 1,000 ms", "26 ms", True),
        ("the queue is never older than 2 s without a fault", "at most 2 s", "0.003 s", True),
        ("the generator kept to its schedule", "none over 1 s", "1,405 ms" if late else "31 ms", not late),
        ("botnet: real voters' success", "every voter has a receipt", "100 %", True),
    ]
    told = [
        {"what": what, "must": must, "found": found, "ok": ok, "references": [] if ok or late else references}
        | ({"void": True} if late and not ok else {})
        for what, must, found, ok in rows
    ]
    _dump(folder / "verdict.json", {"verdict": made.verdict, "judgements": told})


def _run(made: Made) -> dict[str, Any]:
    return {
        "scenario": "close-of-poll-siege",
        "variant": "dev",
        "title": "Royal Mail 2023, the last hours under siege",
        "seed": made.seed,
        "scale": 1.0,
        "only": "",
        "overlays": ["botnet", "guessing", "fault"] if made.besieged else [],
        "started_at": "2025-11-22T11:57:40Z",
        "closes_us": (BEGAN + made.seconds) * 1_000_000,
        "command": f"ballot load close-of-poll-siege:dev --seed {made.seed} --report siege",
        "commit": "8490a3b0c9d2e1f4a5b6c7d8e9f00112233445566",
        "machine": {
            "cores": 2,
            "cpu": "AMD EPYC 7763",
            "memory_bytes": 8_231_813_120,
            "kernel": "6.1.0",
            "python": "3.11.9",
            "disk_sync_us": 412,
        },
        "phases": [],
    }


def _texts(counts: Counter[int]) -> dict[str, int]:
    return {str(index): times for index, times in sorted(counts.items())}


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
