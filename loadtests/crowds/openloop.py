"""The open loop: each request at its moment, whatever became of the ones before; Locust's users carry them.

A request waits for nobody else's answer. If it goes late that is measured: a run whose generator fell behind
is void; but where every user waited for an answer it was the service that was late, and the latency says so.
Bodies come from files (ahead.py), answers go to files (ledger.py).
"""

import gc
import heapq
import itertools
import json
import math
import os
import random
import resource
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.hub import Waiter

from loadtests.crowds import ahead, sources
from loadtests.crowds.buckets import as_json
from loadtests.crowds.ledger import HUNG_UP, Ledger
from loadtests.crowds.line import Line
from loadtests.crowds.timetable import AFTERWARDS, CASTS, REFUSED, RETRY_S, Kind
from loadtests.voting.voter import CREATED, OK, TRANSIENT, Answer, send_and_hang_up

ANSWER_SECONDS_MAX = 10.0
"""So long a device waits for an answer."""

USERS_MAX = 8000

WRONG_AMONG = 100
"""Wrong codes go round so many devices: an edge takes 1,000 a minute from one, in all processes."""

TICK_S = 0.25
FLUSH_S = 1.0
CPU_WINDOW_S = 10.0
ROWS_AT_ONCE = 2048
START_FILE = "start.json"
FIELDS = ("at_s", "voter", "ballot", "kind", "offset", "length")
KINDS = tuple(Kind)

Job = tuple[float, int, int, int, int, int, int, int]
"""Moment, row, voter, ballot, kind, offset, length, attempt: in this order, so that jobs sort by moment."""

Reported = Callable[[str, float, int, str | None], None]
"""What is told of each request: its name, milliseconds, bytes, and what was wrong."""


def generator_file(out: Path, generator: int) -> Path:
    """What a generator says of itself at the end."""
    return out / f"generator-{generator}.json"


def ready_file(out: Path, generator: int) -> Path:
    """There once a generator could send."""
    return out / f"ready-{generator}"


def progress_file(out: Path, generator: int) -> Path:
    """Told every second: how many rows are done and how many first receipts there are."""
    return out / f"progress-{generator}.json"


class OpenLoop:
    """One generator: its rows, the users who wait for one, and the retries to come. One to a process."""

    def __init__(
        self, folder: Path, out: Path, generator: int, *, url: str, tls: ssl.SSLContext, reported: Reported
    ) -> None:
        self._told = ahead.description(folder)
        self._folder, self._out, self._generator = folder, out, generator
        self._url, self._tls, self._reported = url, tls, reported
        self._host = urlsplit(url).hostname or ""
        self._rows = ahead.rows_of(folder, generator)
        self._bodies = os.open(ahead.bodies_file(folder, generator), os.O_RDONLY)
        self._heads = _heads(self._told["ballots"], url)
        self._paths = [ballot["path"] for ballot in self._told["ballots"]]
        self._settled = bytearray(self._told["people"])
        self._rng = random.Random(f"retries/{self._told['seed']}/{generator}")
        self._retries: list[Job] = []
        self._idle: list[Waiter] = []
        self._lines: list[Line] = []
        self._going_on = 0
        self._ledger: Ledger | None = None
        self._start_s = 0.0
        self.finished = False
        self._begun_s = self._begun_cpu_s = 0.0
        self._window_s = self._window_cpu_s = self._cpu_share_max = 0.0
        self._retried = self._given_up = 0
        self._nobody_free_s = -1.0
        self._enough = False
        self._users = 0
        self._all_there_s = math.inf

    # What the users do.

    def serve(self) -> None:
        """Carry one request after the other, until there are no more; a user's whole life."""
        number = len(self._lines) * int(self._told["generators"]) + self._generator
        source = sources.of_device(number) if sources.are_possible(self._host) else None
        line = Line(self._url, tls=self._tls, seconds=ANSWER_SECONDS_MAX, source=source)
        self._lines.append(line)
        waiter = Waiter()
        try:
            while not self.finished:
                self._idle.append(waiter)
                handed = waiter.get()
                if handed is None:
                    break
                try:
                    self._carry(line, *handed)
                finally:
                    self._going_on -= 1
        finally:
            if waiter in self._idle:
                self._idle.remove(waiter)
            line.close()

    def _carry(self, line: Line, job: Job, waited: bool) -> None:
        """Send the request of `job` now, and keep what comes."""
        at_s, row, voter, ballot, kind, offset, length, attempt = job
        body = os.pread(self._bodies, length, offset)
        start_s = self._start_s
        sent_s = time.monotonic()
        if kind == Kind.HUNG_UP:
            path = f"{self._paths[ballot]}/votes"
            send_and_hang_up(self._url, path, body, tls=self._tls, source=line.source)
            answer = Answer(HUNG_UP)
        else:
            answer = line.exchange(self._heads[ballot][kind == Kind.ACCESS] + body, now_s=sent_s).as_counted()
        done_s = time.monotonic()
        line.used(done_s)
        if self._ledger is None:
            raise RuntimeError("nothing is sent before the run has begun")
        if kind != Kind.HUNG_UP and line.own_failure:
            self._ledger.own_failures[line.own_failure] += 1
        self._ledger.note(row, kind, attempt, at_s, sent_s - start_s, done_s - start_s, answer, waited=waited)
        status = answer.status
        wrong = None
        if status in TRANSIENT:
            wrong = f"{status}: sent again"
            self._retry(job, done_s - start_s, answer)
        elif kind in CASTS and (status in {CREATED, OK}):
            self._settled[voter] = 1
        self._reported(KINDS[kind].name.lower(), (done_s - sent_s) * 1000, len(answer.body), wrong)

    def _retry(self, job: Job, now_s: float, answer: Answer) -> None:
        """Come back with the identical request later, as people do: most of them, and not for ever."""
        _, row, voter, ballot, kind, offset, length, attempt = job
        told = self._told
        if attempt > told["retries_max"] or self._rng.random() < told["give_up"]:
            self._given_up += 1
            return
        self._retried += 1
        delay_s = max(self._rng.uniform(*RETRY_S), answer.retry_after_seconds)
        again: Job = (now_s + delay_s, row, voter, ballot, kind, offset, length, attempt + 1)
        heapq.heappush(self._retries, again)

    # What the clock does.

    def wait_for_start(self, *, users: int, seconds: float, goes_on: Callable[[], bool]) -> bool:
        """Say that we are ready once `users` are, return when the start is known; False if it never is."""
        needed = min(int(self._told["worst_second"] * ANSWER_SECONDS_MAX), USERS_MAX)
        self._enough, self._users = users >= needed // self._told["generators"], users
        until_s = time.monotonic() + seconds
        start = self._out / START_FILE
        ready = ready_file(self._out, self._generator)
        while time.monotonic() < until_s and goes_on():
            if not ready.exists() and len(self._idle) >= users:
                ready.touch()
            if start.exists():
                start_us = json.loads(start.read_text(encoding="utf-8"))["start_us"]
                self._start_s = time.monotonic() + start_us / 1e6 - time.time()
                self._ledger = Ledger(self._out, self._generator, start_s=start_us / 1e6)
                gc.collect()
                gc.freeze()
                return True
            gevent.sleep(TICK_S / 5)
        return False

    def run(self, *, goes_on: Callable[[], bool]) -> None:
        """Hand out every request at its moment, until the last has its answer."""
        self._window_s = self._begun_s = time.monotonic()
        self._window_cpu_s = self._begun_cpu_s = _cpu_s()
        flushed_s = 0.0
        planned = self._planned()
        following = next(planned, None)
        while goes_on() and (following is not None or self._retries or self._going_on):
            now_s = time.monotonic() - self._start_s
            if now_s - flushed_s >= FLUSH_S:
                flushed_s = now_s
                self._flush(now_s)
            retry = self._retries[0] if self._retries else None
            job = retry if following is None or (retry is not None and retry < following) else following
            if self._all_there_s > now_s and len(self._lines) >= self._users:
                self._all_there_s = now_s
            if job is not None and job[0] <= now_s and not self._idle:
                self._nobody_free_s = now_s
            if job is None or not self._idle or job[0] > now_s:
                # Within a tick a retry may have come to stand before the one that is waited for.
                wait_s = min(max(TICK_S if job is None else job[0] - now_s, 0.0005), TICK_S)
                gevent.sleep(wait_s)
                self._lagged(now_s + wait_s)
                continue
            if job is retry:
                heapq.heappop(self._retries)
            else:
                following = next(planned, None)
            self._hand_over(job)
        self._never_sent(itertools.chain([following] if following is not None else [], planned))
        self.finished = True
        while self._idle:
            gevent.get_hub().loop.run_callback(self._idle.pop().switch, None)

    def _lagged(self, due_s: float) -> None:
        """Keep how much later than `due_s` the loop goes on: so late may any answer have been read."""
        if self._ledger is not None:
            now_s = time.monotonic() - self._start_s
            self._ledger.lagged(now_s, now_s - due_s)

    def _never_sent(self, jobs: Iterable[Job]) -> None:
        """Count what was due, or would have been, when the run was broken off: it was not sent."""
        ledger = self._ledger
        if ledger is None:
            return
        for number, job in enumerate(jobs, 1):
            if job[4] not in AFTERWARDS or self._settled[job[2]]:
                ledger.plan(job[0])
            if number % ROWS_AT_ONCE == 0:
                ledger.flush(now_s=job[0])

    def _planned(self) -> Iterator[Job]:
        """The rows as jobs, in the order of their moments, a stretch of them in memory."""
        for begin in range(0, len(self._rows), ROWS_AT_ONCE):
            stretch = self._rows[begin : begin + ROWS_AT_ONCE]
            columns = [stretch[name].tolist() for name in FIELDS]
            for number, (at_s, voter, ballot, kind, offset, length) in enumerate(zip(*columns, strict=True)):
                yield (at_s, begin + number, voter, ballot, kind, offset, length, 1)

    def _hand_over(self, job: Job) -> None:
        """Give `job` to the user who was last busy: the connections that are kept warm are few.

        What is to be refused goes round a number of them: nobody mistakes that many codes on one device.
        """
        ledger = self._ledger
        if ledger is None:
            raise RuntimeError("nothing is sent before the run has begun")
        if job[4] in AFTERWARDS and not self._settled[job[2]]:
            ledger.left_out(job[1], job[0])
            return
        if job[-1] == 1:  # what goes again was not planned
            ledger.plan(job[0])
        self._going_on += 1
        # With fewer users than all may need, or before they were all there, it is they who were too few.
        waited = self._enough and self._all_there_s <= job[0] <= self._nobody_free_s
        last = len(self._idle) - 1
        user = self._idle.pop(max(last + 1 - WRONG_AMONG, 0) if job[4] in REFUSED else last)
        gevent.get_hub().loop.run_callback(user.switch, (job, waited))

    def _flush(self, now_s: float) -> None:
        """Write what is kept, say how far we are, and look at what we cost."""
        ledger = self._ledger
        if ledger is None:
            return
        ledger.flush(now_s=now_s)
        told = {"rows": len(self._rows), "sent": ledger.sent, "accepted": ledger.accepted}
        draft = self._out / f"progress-{self._generator}.draft"
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(progress_file(self._out, self._generator))
        now_s = time.monotonic()
        if now_s - self._window_s >= CPU_WINDOW_S:
            cpu_s = _cpu_s()
            share = (cpu_s - self._window_cpu_s) / (now_s - self._window_s)
            self._cpu_share_max = max(self._cpu_share_max, share)
            self._window_s, self._window_cpu_s = now_s, cpu_s

    def close(self) -> dict[str, Any]:
        """Write what is left and what this generator says of itself."""
        ledger = self._ledger
        if ledger is None:
            return {}
        self._flush(time.monotonic() - self._start_s)
        ledger.close()
        self._ledger = None
        os.close(self._bodies)
        seconds = max(time.monotonic() - self._begun_s, 1e-9)
        cpu_s = _cpu_s() - self._begun_cpu_s
        told = {
            "rows": len(self._rows),
            "sent": ledger.sent,
            "requests": ledger.requests,
            "retried": self._retried,
            "given_up": self._given_up,
            "going_on": self._going_on,
            "finished": self.finished,
            "seconds": round(seconds, 3),
            "late": as_json(ledger.late),
            "late_ms_max": round(ledger.late_s_max * 1000, 3),
            "cpu_share": round(cpu_s / seconds, 4),
            "cpu_share_max": round(max(self._cpu_share_max, cpu_s / seconds), 4),
            "cpu_us": round(cpu_s / max(ledger.requests, 1) * 1e6, 1),
            "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "connections": sum(line.connections for line in self._lines),
            "own_failures": dict(ledger.own_failures),
            "odd": ledger.odd,
            "odd_count": ledger.odd_count,
            "all_there_s": round(self._all_there_s, 3) if self._all_there_s < math.inf else None,
            "waited": ledger.waited,
            "waited_ms_max": round(ledger.waited_s_max * 1000, 3),
        }
        file = generator_file(self._out, self._generator)
        file.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        return told


def _cpu_s() -> float:
    """CPU seconds of this process so far."""
    return time.process_time()


def _heads(ballots: list[dict[str, Any]], url: str) -> list[tuple[bytes, bytes]]:
    """For each ballot the head of a vote and of an access request."""
    host = url.partition("://")[2].partition("/")[0]

    def head(path: str, length: int) -> bytes:
        return (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode("ascii")

    return [
        (
            head(f"{ballot['path']}/votes", ballot["vote_bytes"]),
            head(f"{ballot['path']}/access", ballot["access_bytes"]),
        )
        for ballot in ballots
    ]
