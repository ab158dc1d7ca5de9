"""The open loop inside Locust: which generator this process is, when it begins, and that its end is the end.

Locust distributes as it always does: a master and workers, started with `--processes` or on their own. Worker
number i carries part i of what was sealed ahead; the processes share the folder `--out`.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.crowds import ahead
from loadtests.crowds.openloop import START_FILE, TICK_S, OpenLoop
from loadtests.voting.door import verifying

START_AFTER_S = 3.0
READY_SECONDS_MAX = 600.0
DONE = "voters_done"
RECKONING_SECONDS_MAX = 900.0


class OpenRun:
    """What one Locust process does in an open-loop run: the master counts, everybody else sends."""

    def __init__(self, environment: Environment) -> None:
        options, runner = environment.parsed_options, environment.runner
        if options is None or runner is None or environment.host is None:
            raise ValueError("A run needs --host, --ahead and --out.")
        self._environment = environment
        self._folder, self._out = Path(options.ahead), Path(options.out)
        self._out.mkdir(parents=True, exist_ok=True)
        self._tethered = bool(options.tethered)
        self._started_by = os.getppid()
        self._generators: int = ahead.description(self._folder)["generators"]
        self._done: set[str] = set()
        self._whole, self._stopped = True, False
        self._loop: OpenLoop | None = None
        if isinstance(runner, MasterRunner):
            runner.register_message(DONE, self._worker_is_done)
        elif (number := runner.worker_index if isinstance(runner, WorkerRunner) else 0) < self._generators:
            self._loop = OpenLoop(
                self._folder,
                self._out,
                number,
                url=environment.host.rstrip("/"),
                tls=verifying(Path(options.ca) if options.ca else None),
                reported=self._reported,
            )
        self._users = options.pool // self._generators

    def begin(self) -> None:
        """Start what this process does beside its users."""
        gevent.spawn(self._play if self._loop is not None else self._watch)

    def all_users_are_there(self) -> None:
        """Without a conductor who says when, the run starts as soon as the last user is there."""
        if not self._tethered and not isinstance(self._environment.runner, WorkerRunner):
            start_us = time.time_ns() // 1000 + int(START_AFTER_S * 1e6)
            draft = self._out / "start.draft"
            draft.write_text(json.dumps({"start_us": start_us}), encoding="utf-8")
            draft.replace(self._out / START_FILE)

    def serve(self) -> None:
        """A user's whole life."""
        if self._loop is not None:
            self._loop.serve()

    def _goes_on(self) -> bool:
        """Whether somebody still wants this: a crowd whose conductor is gone goes home."""
        return not self._stopped and (not self._tethered or os.getppid() == self._started_by)

    def stop(self) -> None:
        """Locust stops its users: because this run has ended it, or because somebody pressed Stop."""
        self._stopped = True

    def _play(self) -> None:
        """Wait for the start, send everything, and end the run."""
        loop = self._loop
        if loop is None:
            return
        if loop.wait_for_start(users=self._users, seconds=READY_SECONDS_MAX, goes_on=self._goes_on):
            loop.run(goes_on=self._goes_on)
        told = loop.close()
        self._whole = bool(told.get("finished")) and told["sent"] == told["rows"]
        runner = self._environment.runner
        if isinstance(runner, WorkerRunner):
            runner.send_message(DONE, {"whole": self._whole})
        else:
            self._end()

    def _watch(self) -> None:
        """The master's part, and that of a worker too many: wait for the others, as long as it is wanted."""
        while len(self._done) < self._generators and self._goes_on():
            gevent.sleep(TICK_S)
        if isinstance(self._environment.runner, MasterRunner):
            self._whole = self._whole and len(self._done) >= self._generators
            self._end()

    def _worker_is_done(self, environment: Environment, msg: Any, **_: Any) -> None:  # noqa: ARG002  # Locust's names
        """A worker has sent its last request and has the answer."""
        self._done.add(str(msg.node_id))
        self._whole = self._whole and bool(msg.data["whole"])

    def _end(self) -> None:
        """End with the last voter: the process, or only the run if there is a page to look at."""
        runner = self._environment.runner
        if runner is None:
            return
        if not self._tethered:
            self._reckon()
        if self._stopped:
            return
        if self._environment.web_ui is None:
            runner.quit()
        else:
            runner.stop()

    def _reckon(self) -> None:
        """Verify the receipts and write the summary, as a conductor would; it decides the exit code."""
        folders = ("--ahead", str(self._folder), "--out", str(self._out))
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.crowds.openresult", *folders],
            stdin=subprocess.DEVNULL,
            timeout=RECKONING_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            self._whole = False
            return
        told = json.loads((self._out / "summary.json").read_text(encoding="utf-8"))
        wrong = [*told["void_reasons"], *told["unexpected"]]
        self._whole = self._whole and not wrong
        sys.stderr.write(f"{told['voted']:,} of {told['voters']:,} hold a verified receipt.\n")
        sys.stderr.write("".join(f"{sentence}\n" for sentence in wrong))

    def close(self) -> bool:
        """Write what is not written yet, if the run was broken off; whether everything was sent."""
        if self._loop is not None and self._loop.close():
            self._whole = False
            sys.stderr.write("The run was broken off before every request was sent.\n")
        return self._whole

    def _reported(self, name: str, milliseconds: float, size: int, wrong: str | None) -> None:
        """Tell Locust's own figures, and whoever listens."""
        self._environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="POST",
            name=name,
            response_time=milliseconds,
            response_length=size,
            exception=wrong,
            context={},
        )
