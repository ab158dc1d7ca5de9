"""The scenario's voters as Locust users, headless or in Locust's web page; ends with the last voter.

    locust -f loadtests/locustfile.py --host URL --scenario NAME --codes FILE --desk-key FILE --out DIR
    locust -f loadtests/locustfile.py --host URL --ahead DIR/ahead --out DIR

In the first each user brings one voter after the other, and waits for the answers. The second is the open
loop: what was sealed ahead goes out at its moments (crowds/openloop.py), shared out among Locust's workers.

Every receipt is verified and kept in `receipts.jsonl`, the digest that the voter's own side computed in
`sealed.jsonl` with who holds it since when, every answer that settled nothing in `unsettled.jsonl`. A voter
who does not get the outcome they must get makes the exit code 1 and is named in `summary.json`.
"""

import json
import os
import random
import ssl
import sys
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.env import Environment
from locust.exception import StopUser

from ballot.receipt import Receipt
from ballot.vote import CastVote
from loadtests.crowds import ahead
from loadtests.crowds.openrun import OpenRun
from loadtests.published import plan, scenario
from loadtests.voting.agenda import Agenda, Visit
from loadtests.voting.desk import DeskFileFault, dispatched_codes, pinned_key
from loadtests.voting.door import seconds_to_wait, verifying
from loadtests.voting.pace import Pace
from loadtests.voting.session import Casting, Codes, Session, Unexpected
from loadtests.voting.voter import Answer, Patience, enter, send_and_hang_up

WAIT_SECONDS = 0.05
PROGRESS_SECONDS = 2.0
UNEXPECTED_LISTED_MAX = 50


class Run:
    """All that the users of one run share: who comes next, the codes, what was kept and what went wrong."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        if options is None or environment.host is None:
            raise ValueError("A run needs --host, --scenario, --codes, --desk-key and --out.")
        self.environment = environment
        self.url = environment.host.rstrip("/")
        self.tls = verifying(Path(options.ca) if options.ca else None)
        self.scenario = scenario.load(options.scenario)
        self.desk_public = pinned_key(Path(options.desk_key))
        drawn = plan.draw(self.scenario, seed=options.plan_seed)
        self.codes = Codes(first=dispatched_codes(Path(options.codes)))
        self._reissued = Path(options.reissued) if options.reissued else None
        # Where nobody reissues codes, nobody loses one.
        lost = self._reissued is not None
        self.agenda = Agenda(replace(voter, reissue=voter.reissue and lost) for voter in drawn.voters)
        self.think: float = options.think
        self.pace = Pace(options.rate) if options.rate else None
        self._enough = Path(options.enough) if options.enough else None
        self._started_by = os.getppid()
        self.sent_home = False
        self.counts: Counter[str] = Counter()
        self.unexpected: list[str] = []
        self.out = Path(options.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self._receipts = (self.out / "receipts.jsonl").open("w", encoding="utf-8", buffering=1)
        self._digests = (self.out / "sealed.jsonl").open("w", encoding="utf-8", buffering=1)
        self._unsettled = (self.out / "unsettled.jsonl").open("w", encoding="utf-8", buffering=1)
        self._started = time.monotonic()
        self.seconds = 0.0

    def new_codes(self) -> bool:
        """Whether the reissued codes have arrived; without a file for them, everybody keeps the first."""
        if self._reissued is None:
            return True
        if not self.codes.reissued and self._reissued.exists():
            self.codes.reissued = dispatched_codes(self._reissued)
        return bool(self.codes.reissued)

    def keep(self, member_id: str, receipt: Receipt, vote: CastVote) -> None:
        """Append a receipt, and beside it the digest as the voter's side computed it."""
        digest = {
            "reference": receipt.reference,
            "sealed_sha256": vote.sealed_sha256.hex(),
            "member_id": member_id,
            "at_us": time.time_ns() // 1000,
        }
        self._digests.write(json.dumps(digest) + "\n")
        self._receipts.write(json.dumps(receipt.to_dict()) + "\n")

    def unsettled(self, status: int, what: str) -> None:
        """Note an answer that settled nothing, or none at all (0); the identical request goes again."""
        self.counts[f"answered {status}" if status else "no answer"] += 1
        told = {"at_us": time.time_ns() // 1000, "status": status, "what": what}
        self._unsettled.write(json.dumps(told) + "\n")

    def went_wrong(self, voter: str, reason: str) -> None:
        """Note that a voter did not get the outcome they must get."""
        self.counts["unexpected"] += 1
        if len(self.unexpected) < UNEXPECTED_LISTED_MAX:
            self.unexpected.append(f"{voter}: {reason}")

    def watch(self) -> None:
        """Tell the progress until nobody is left, then end the run."""
        told = 0.0
        while not self.agenda.finished:
            if self._enough is not None:
                if os.getppid() != self._started_by:
                    break  # nobody is left to say when it is enough, or to read what is kept
                if not self.sent_home and self._enough.exists():
                    self.sent_home = True
                    self.agenda.send_home()
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                self._tell_progress()
            gevent.sleep(WAIT_SECONDS)
        self.seconds = time.monotonic() - self._started
        self._tell_progress()
        runner = self.environment.runner
        if runner is not None and self.environment.web_ui is None:
            runner.quit()
        elif runner is not None:
            runner.stop()

    def _tell_progress(self) -> None:
        seconds = time.monotonic() - self._started
        sys.stderr.write(f"voted {self.agenda.voted:,} of {self.agenda.voters:,} in {seconds:.1f} s\n")
        sys.stderr.flush()

    def close(self) -> bool:
        """Write the summary; whether every voter got the outcome they must get."""
        self._receipts.close()
        self._digests.close()
        self._unsettled.close()
        if not self.agenda.finished:
            self.went_wrong(
                "the run", f"ended when {self.agenda.voted:,} of {self.agenda.voters:,} had voted"
            )
        latency = self.environment.stats.get("cast", "POST")
        (self.out / "summary.json").write_text(
            json.dumps(
                {
                    "scenario": self.scenario.name,
                    "voters": self.agenda.voters,
                    "voted": self.agenda.voted,
                    "seconds": round(self.seconds, 3),
                    "counts": dict(sorted(self.counts.items())),
                    "cast_milliseconds": {
                        f"p{percent}": latency.get_response_time_percentile(percent / 100)
                        for percent in (50, 99)
                    },
                    "unexpected": self.unexpected,
                },
                indent=2,
            )
            + "\n",
            encoding="utf-8",
        )
        return not self.counts["unexpected"]


RUN: dict[str, Run] = {}
OPEN: dict[str, OpenRun] = {}


class FastDoor:
    """A user's own connections; a refusal the protocol knows is no failure in Locust's figures."""

    def __init__(self, user: FastHttpUser) -> None:
        self._client = user.client

    def send(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """The answer to one request; status 0 when the connection failed."""
        name = {"votes": "cast", "access": "access"}.get(path.rpartition("/")[2], "document")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        with self._client.request(
            method,
            path,
            name=name,
            data=body,  # type: ignore[arg-type]  # bytes pass through it as they are
            headers=headers,
            catch_response=True,
        ) as response:
            status = response.status_code or 0
            if status in {0, 429, 503}:
                response.failure(f"{status}: sent again")
                RUN["now"].unsettled(status, name)
            else:
                response.success()
            waiting = response.headers.get("retry-after") if response.headers else None
            return Answer(status, bytes(response.content or b""), seconds_to_wait(waiting))


class Voter(FastHttpUser):
    """One device after another, on one kept-alive connection."""

    insecure = False
    network_timeout = 15.0
    connection_timeout = 5.0

    @staticmethod
    def ssl_context_factory() -> ssl.SSLContext:
        """What https servers are verified with."""
        return RUN["now"].tls

    def on_start(self) -> None:
        """Fetch the ballot as every device does, and check the desk's signature."""
        if OPEN:
            return
        run = RUN["now"]
        patience = Patience(sleep=gevent.sleep)
        door = FastDoor(self)
        try:
            booth = enter(door, run.scenario.ballot, run.desk_public, patience=patience)
        except Exception as error:
            run.went_wrong("a voter", f"could not see the ballot: {error}")
            raise StopUser from error
        self.session = Session(
            door=door,
            booth=booth,
            codes=run.codes,
            patience=patience,
            random_bytes=os.urandom,
            at_once=at_once,
            hang_up=lambda path, body: send_and_hang_up(run.url, path, body, tls=run.tls),
            counts=run.counts,
        )

    def wait_time(self) -> float:
        """Seconds until the next device: as --rate says, else around --think, drawn evenly."""
        run = RUN["now"]
        if run.pace is not None:
            return run.pace.wait(time.monotonic())
        return random.uniform(0, 2 * run.think)

    @task
    def visit(self) -> None:
        """The next voter of the plan; in the open loop, all that this user is ever given."""
        if OPEN:
            OPEN["now"].serve()
            raise StopUser
        run = RUN["now"]
        visit = run.agenda.next(new_codes=run.new_codes())
        if visit is None:
            if run.agenda.finished:
                raise StopUser
            gevent.sleep(WAIT_SECONDS)
            return
        again: Visit | None = None
        try:
            again = self.session.visit(visit, kept=partial(run.keep, visit.voter.member_id))
        except Unexpected as error:
            run.went_wrong(visit.voter.member_id, str(error))
        finally:
            run.agenda.done(visit, again=again)


def at_once(first: Casting, second: Casting) -> Sequence[Any]:
    """Both castings side by side, as a double click sends them."""
    both = [gevent.spawn(first), gevent.spawn(second)]
    return [click.get() for click in gevent.joinall(both, raise_error=True)]


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: ArgumentParser) -> None:
    """What a run needs beside Locust's own options."""
    parser.add_argument("--scenario", default="tube-two-questions", help="a scenario's name, or its file")
    parser.add_argument("--plan-seed", type=int, default=None, help="another seed than the scenario's")
    parser.add_argument("--codes", default="codes.csv", help="the dispatch file of the ballot's codes")
    parser.add_argument("--reissued", default="", help="where the dispatch file of the new codes will appear")
    parser.add_argument("--desk-key", default="desk.json", help="the desk's public key, pinned")
    parser.add_argument("--ca", default="", help="certificate authorities that vouch for an https address")
    parser.add_argument("--think", type=float, default=0.0, help="mean seconds between a user's visits")
    parser.add_argument(
        "--rate", type=float, default=0.0, help="voters who begin a second, instead of --think"
    )
    parser.add_argument("--enough", default="", help="a file; once it is there nobody else begins")
    parser.add_argument("--out", default="run", help="the folder for receipts.jsonl and summary.json")
    parser.add_argument("--ahead", default="", help="the folder of the votes sealed ahead: the open loop")
    parser.add_argument("--pool", type=int, default=0, help="users who must be there before it begins")
    parser.add_argument(
        "--tethered", action="store_true", help="whoever started Locust says when, and it ends with them"
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def look(environment: Environment, **_: Any) -> None:
    """Say in one sentence what is missing, before anything begins."""
    options = environment.parsed_options
    try:
        if options is not None and options.ahead:
            ahead.description(Path(options.ahead))
    except DeskFileFault as fault:
        raise SystemExit(str(fault)) from fault


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: Any) -> None:
    """Draw the plan and watch for its end; or begin the open loop."""
    if environment.parsed_options is not None and environment.parsed_options.ahead:
        OPEN["now"] = OpenRun(environment)
        OPEN["now"].begin()
        return
    RUN["now"] = Run(environment)
    gevent.spawn(RUN["now"].watch)


@events.spawning_complete.add_listener  # type: ignore[untyped-decorator]
def all_there(user_count: int, **_: Any) -> None:  # noqa: ARG001  # Locust's name
    """Every user is there."""
    if OPEN:
        OPEN["now"].all_users_are_there()


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def stop(environment: Environment, **_: Any) -> None:  # noqa: ARG001  # Locust's name
    """Nobody is sent out any more."""
    if OPEN:
        OPEN["now"].stop()


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def finish(environment: Environment, **_: Any) -> None:
    """Write the summary and set the exit code."""
    run = OPEN.get("now") or RUN.get("now")
    environment.process_exit_code = 0 if run is not None and run.close() else 1
