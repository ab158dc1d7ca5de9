"""Thousands ask for a new code within half an hour, while what takes the letters takes only 20 a second.

The help desk takes what has come in every few seconds and runs `ballot codes reissue` for all of it; each
new code is tried as soon as its letter is there, and the old one with it.
"""

import asyncio
import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ballot.code import Code
from loadtests.overlays import addresses
from loadtests.overlays.judging import equal, got, none_of
from loadtests.overlays.own_voters import entered
from loadtests.overlays.spread import Spread
from loadtests.overlays.terms import Judgement, Told
from loadtests.overlays.wire import Reply, Target, once
from loadtests.overlays.work import Impossible, Work, now_us
from loadtests.staging.stage import SETTINGS, ballot_command
from loadtests.voting.desk import dispatched_codes
from loadtests.voting.pace import Pace
from loadtests.voting.voter import Booth, access_body

WHAT = "thousands ask for a new code while the letters leave at 20 a second"
KNOBS: Final = frozenset({"desk_seconds", "rate", "sink_rate"})
SINK_RATE = 20.0
DESK_SECONDS = 5.0
BATCH_MAX = 2_000
COMMAND_SECONDS_MAX = 180.0
WIND_UP_SECONDS = 30.0
AT_ONCE_MAX = 1_000
TRIES_MAX = 20
FAILURES_MAX = 100
NEW, OLD = "new code", "old code"


class HelpDesk:
    """Who asked and when, what the desk has done about it, and what is in the letters."""

    def __init__(self, work: Work, target: Target, booth: Booth) -> None:
        self._work = work
        self._target = target
        self._booth = booth
        self._members = list(work.context.spare_codes)
        (self._home,) = addresses.drawn(work.context.seed, 1, apart="reissue")
        self._sink = Pace(work.knob("sink_rate", SINK_RATE))
        self._waiting: deque[str] = deque()
        self._asked_s: dict[str, float] = {}
        self._letters: set[asyncio.Task[None]] = set()
        self._folder = work.context.stage_folder / "files" / "reissue-overlay"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.closed = asyncio.Event()
        self.waits = Spread()
        self.asked = self.in_hand = self.failed = self.backlog_max = self.closed_for = 0
        self.commands = Spread()
        self.reasons: list[str] = []
        self.failures: list[dict[str, int]] = []

    async def ask(self, number: int) -> None:
        """The next of them asks; once all have, it is over."""
        if number >= len(self._members):
            self._work.over.set()
            return
        self.asked += 1
        self._work.did["asked"] += 1
        self._asked_s[self._members[number]] = asyncio.get_running_loop().time()
        self._waiting.append(self._members[number])
        self.backlog_max = max(self.backlog_max, self.asked - self.in_hand)

    async def serve(self) -> None:
        """Reissue for all who wait, every few seconds, until it is closed and nobody waits."""
        batch = 0
        while self._waiting or not self.closed.is_set():
            if self._waiting:
                batch += 1
                members = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
                await self._reissue(batch, members)
            if not self.closed.is_set():
                await self._work.rest(self._work.knob("desk_seconds", DESK_SECONDS))
        if self._letters:
            await asyncio.wait(self._letters, timeout=WIND_UP_SECONDS)

    async def _reissue(self, batch: int, members: list[str]) -> None:
        """One `ballot codes reissue`; the letters then queue for the sink."""
        loop = asyncio.get_running_loop()
        asked, out = self._folder / f"asked-{batch}.txt", self._folder / f"new-{batch}.csv"
        asked.write_text("".join(f"{member}\n" for member in members), encoding="utf-8")
        began, began_us = loop.time(), now_us()
        process = await asyncio.create_subprocess_exec(
            *(*ballot_command(), "codes", "reissue", self._work.context.ballot),
            *("--members", str(asked), "--out", str(out)),
            env=environment(self._work.context.home, self._work.context.url),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            _, said = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS_MAX)
        except TimeoutError:
            process.kill()
            said = b"it took too long"
        self.commands.add((loop.time() - began) * 1000)
        if process.returncode != 0:
            if await self._is_closed():
                self.closed_for += len(members) + len(self._waiting)
                self._waiting.clear()
                self._work.over.set()
                return
            self.failed += 1
            failure = {"from_us": began_us, "to_us": now_us(), "members": len(members)}
            self.failures = [*self.failures, failure][:FAILURES_MAX]
            self.reasons = [*self.reasons[-4:], said.decode("utf-8", "replace").strip()[-300:]]
            return
        for member, text in dispatched_codes(out).items():
            self._letters.add(asyncio.ensure_future(self._letter(member, text)))
        self._work.did["reissued"] += len(members)
        remove(out)

    async def _is_closed(self) -> bool:
        """Whether the ballot takes votes no longer, so that a new code could not be used."""
        reply = await once(self._target, self._target.request("GET", self._booth.path), source=self._home)
        return b'"state":"closed"' in reply.body

    async def _letter(self, member: str, text: str) -> None:
        """It leaves when the sink takes it; then the new code is tried, and the old one."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._sink.wait(loop.time()))
        self.in_hand += 1
        self.waits.add((loop.time() - self._asked_s[member]) * 1000)
        self._work.did["letters"] += 1
        for kind, code in ((NEW, text), (OLD, self._work.context.spare_codes[member])):
            reply = await self._access(Code.parse(code))
            self._work.note(kind, f"{kind} {reply.came}", reply.ms)

    async def _access(self, code: Code) -> Reply:
        """Whether the code is good, asked until that is settled."""
        body = access_body(self._booth, code)
        request = self._target.request("POST", f"{self._booth.path}/access", body)
        reply = Reply(0, b"", 0.0)
        for _ in range(TRIES_MAX):
            reply = await once(self._target, request, source=self._home)
            if reply.settles:
                break
            await asyncio.sleep(1)
        return reply

    def told(self) -> dict[str, Any]:
        """All of it; times in seconds."""
        waits, commands = self.waits.told(), self.commands.told()
        return {
            "asked": self.asked,
            "in_hand": self.in_hand,
            "still_waiting": self.asked - self.in_hand - self.closed_for,
            "closed_before": self.closed_for,
            "backlog_max": self.backlog_max,
            "wait_s": {name: round(waits[name] / 1000, 1) for name in ("p50", "p99", "max")},
            "command_s": {name: round(commands[name] / 1000, 1) for name in ("p50", "max")},
            "commands": self.commands.count,
            "commands_failed": self.failed,
            "failures": self.failures,
            "reasons": self.reasons,
        }


def environment(home: Path, url: str) -> dict[str, str]:
    """What a command of the deployment at `home` needs, and nobody else's settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(SETTINGS)}
    return clean | {"BALLOT_HOME": str(home), "BALLOT_PUBLIC_URL": url}


def remove(path: Path) -> None:
    """A file of codes is not left lying about."""
    path.unlink(missing_ok=True)


async def run(work: Work) -> dict[str, Any]:
    """Let them ask evenly over the time, and serve them; then give the desk a while to finish."""
    if not work.context.spare_codes:
        raise Impossible("There is nobody spare on the roll to ask for a new code.")
    target = Target.of(work.context)
    booth = await asyncio.to_thread(entered, work.context)
    desk = HelpDesk(work, target, booth)
    rate = work.knob("rate", len(work.context.spare_codes) / max(1.0, 0.9 * work.context.seconds))
    if await work.begin():
        serving = asyncio.create_task(desk.serve())
        await work.paced(lambda _: rate, desk.ask, at_once_max=AT_ONCE_MAX)
        desk.closed.set()
        await asyncio.wait([serving], timeout=WIND_UP_SECONDS)
    return desk.told()


def judge(told: Told) -> list[Judgement]:
    """Whoever has a letter can vote with it and not with the old one; nobody is lost.

    A command that failed while the run itself had something killed shows nothing, and neither do those who
    wait for it: with `told["faults"]`, the moments of these, both are void.
    """
    waiting, sink = int(told["still_waiting"]), told["wait_s"]
    found = f"{waiting:,} of {told['asked']:,}, longest wait {sink['max']:,.0f} s"
    failed = int(told["commands_failed"])
    excused = [failure for failure in told.get("failures", ()) if in_a_fault(failure, told)]
    waits_for_these = 0 < waiting <= sum(failure["members"] for failure in excused)
    return [
        Judgement(
            "commands of the help desk that failed",
            "0",
            f"{failed:,}, {len(excused):,} of them while the run itself had something killed",
            ok=not failed,
            void=0 < failed <= len(excused),
        ),
        equal(
            "new codes that were found good",
            int(told["in_hand"]) - got(told, f"{NEW} 409"),
            got(told, f"{NEW} 200"),
        ),
        none_of(told, "old codes that were still good", (f"{OLD} 200",)),
        Judgement(
            "who still waits for a letter at the end",
            "0",
            found,
            ok=waiting == 0,
            void=not told["asked"] or waits_for_these,
        ),
    ]


def in_a_fault(failure: Mapping[str, int], told: Told) -> bool:
    """Whether a fault of the run itself lay in the time of a command that failed."""
    return any(
        fault["from_us"] <= failure["to_us"] and failure["from_us"] <= fault["to_us"]
        for fault in told.get("faults", ())
    )
