"""One load run from the empty directory to the verdict: deployment, ballots, votes, overlays, the books.

Whatever fails on the way, what can still be asked is asked, and the verdict says what is missing.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

from ballot.encoding import format_time
from loadtests.conduct import machine
from loadtests.conduct.beside import Beside, Ground, chosen, quickened, spare_codes
from loadtests.conduct.sampler import Sampler
from loadtests.conduct.tls_edge import TlsEdge
from loadtests.conduct.wanted import Wanted, moments_us
from loadtests.crowds import casts
from loadtests.crowds.opencrowd import Electorate, OpenBooking, OpenCrowd, prepare
from loadtests.judging.judge import judge
from loadtests.judging.verdict import Verdict
from loadtests.lifetime import many
from loadtests.lifetime.aftermath import Aftermath, beyond
from loadtests.lifetime.extension import BEFORE_S, Extension
from loadtests.lifetime.poll import AFTER_US, Poll
from loadtests.lifetime.turnouts import Turnouts
from loadtests.outside import agreement, watch
from loadtests.outside.openings import Openings
from loadtests.overlays.catalogue import Context
from loadtests.overlays.wire import Target
from loadtests.published import plan
from loadtests.staging.kept import US, Kept, now_us
from loadtests.staging.progress import Told, bar
from loadtests.staging.stage import Stage, StageFault
from loadtests.staging.telling import Telling

LEAD_SECONDS = 20.0
OVERLAY_SECONDS = 8.0
"""How long the crowd and the closing time may take to be ready, and then each overlay."""

GIVES_UP = 0.3
"""Where answers may fail to come: the share of failed attempts after which a voter does not come back."""

AFTER_SECONDS = 900.0
"""How long the outside monitor has codes for beyond the run's own length."""

SLACK = 1.5
ALONE = 0.5
SEALED_US = 300
ROUND_US = 30 * US
"""How long many ballots take to be ready, by the time that one took, half of which is for each alone; and how
long a vote takes to be sealed, 170 us of one core: what is estimated too long is waited for."""

KEPT_OF_VOTERS = (
    *("seconds.jsonl", "receipts.jsonl", "sealed.jsonl", "unsettled.jsonl", "summary.json"),
    casts.FILE,
)


def conduct(wanted: Wanted, telling: Telling) -> Verdict:
    """The whole run; its directory is complete when this returns."""
    kept = Kept(wanted.report)
    with Stage(keep=wanted.keep) as stage:
        conductor = Conductor(wanted, kept, stage, telling)
        try:
            conductor.after.attempt(conductor.play)
        finally:
            conductor.tell()
    verdict = judge(kept.folder)
    verdict.save(kept.folder)
    return verdict


class Conductor:
    """A run on `stage`; call `play` once, and `tell` whatever came of it."""

    def __init__(self, wanted: Wanted, kept: Kept, stage: Stage, telling: Telling) -> None:
        self.wanted = wanted
        self.kept = kept
        self.stage = stage
        self._telling = telling
        self._started_us = now_us()
        self._where = {"commit": machine.commit(), "machine": machine.facts(stage.folder)}
        self.schedule, ballots = wanted.drawn_up()
        if not self.schedule.votes:
            raise StageFault("Nobody votes in that part of the ballot: take more of it, or a larger --scale.")
        self.schedule.save(kept.folder / "schedule.npz")
        kept.write("windows.json", [asdict(window) for window in self.schedule.windows])
        closes = not wanted.burst and wanted.only != "peak"
        self.polls = [
            Poll(stage, ballot, plan.draw(ballot, seed=wanted.seed), seed=wanted.seed, closes=closes)
            for ballot in ballots
        ]
        self.length_s = self.schedule.windows[-1].to_run_s
        calls = quickened(wanted.scenario.overlays, wanted.speed)
        self.beside = Beside(chosen(calls, wanted.overlays, run_s=self.length_s), kept)
        self.after = Aftermath(self.polls, kept)
        self._extends_s = self.schedule.extends_s if closes else 0.0
        self.voters = stage.files / "voters" if len(self.polls) > 1 else self.polls[0].voters
        self.summary: dict[str, Any] = {}
        self.start_us = self._opens_us = self._watched_to_us = 0
        self.tell()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A phase of the run, timed and told."""
        with self._telling.step(what), self.kept.phase(what):
            yield

    def play(self) -> None:
        """Every step in order; one that fails before the votes ends it, and what was kept so far stays."""
        extra = ("--processes", str(self.wanted.processes)) if self.wanted.processes else ()
        people = sum(poll.scenario.entitled for poll in self.polls)
        with self.step("ballot up: servers, intake, workers, monitor"):
            self.stage.up(extra=extra)
        with self.step("the outside monitor's ballot; the inside monitor has looked"):
            began_us = now_us()
            post = watch.prepare(self.stage, seconds=self.length_s + AFTER_SECONDS)
            a_ballot_us = now_us() - began_us
            watch.wait_for_inside(self.stage)
        with self.step(f"{self._ballots()} for {people:,} voters, open"), bar("set up") as told:
            self._set_up(told, a_ballot_us)
        with self.step(f"{self.schedule.votes:,} votes sealed ahead"), bar("sealed") as told:
            prepare(self.booking(self.stage.url), told=self._staying_open(told))
        folder, ballot = self.kept.folder, self.polls[0].ballot
        sampler = Sampler(self.stage.metrics_port, folder / "samples.jsonl")
        with sampler, Turnouts(self.stage, ballot, folder):
            with watch.start(post, self.kept.folder) as outside:
                with self.step(f"{self.schedule.votes:,} votes in {self.length_s:,.0f} s"):
                    self.after.attempt(self._vote)
                with self.step("the turnout when nobody votes; the closing time"):
                    self.after.turnouts()
                    self.after.wait_for_close()
                with self.step("ballot close: closed, drained"):
                    self.after.close()
                self._watched_to_us = now_us()
                outside.stop()
            self.after.turnouts()
        self._count()

    def _ballots(self) -> str:
        return "a ballot" if len(self.polls) == 1 else f"{len(self.polls):,} ballots"

    def _set_up(self, told: Told, a_ballot_us: int) -> None:
        """Set up every ballot; many of them open in one second, when all are likely to be ready."""
        if len(self.polls) == 1:
            self.polls[0].set_up()
            return
        each_us = a_ballot_us * ALONE * SLACK * len(self.polls) / len(os.sched_getaffinity(0))
        opens_us = now_us() + round(each_us + self.schedule.votes * SEALED_US) + ROUND_US
        opens_us -= opens_us % US  # a definition knows whole seconds
        stays_us = round(self.schedule.close_run_s * US) + ROUND_US if self.polls[0].closes else AFTER_US
        many.set_up(self.polls, (opens_us, opens_us + stays_us), told)
        self._opens_us = opens_us
        edge, watched = (
            Target("127.0.0.1", self.stage.port),
            [(poll.ballot, poll.codes) for poll in self.polls],
        )
        Openings(edge, watched, opens_us, self.kept.folder, seed=self.wanted.drawn_from).begin()

    def _stay_open(self) -> None:
        """See that no ballot closes before the run is ready."""
        if len(self.polls) > 1:
            many.stay_open(self.polls)
        elif self.polls[0].closes_us:
            self.polls[0].stay_open()

    def _staying_open(self, told: Told) -> Told:
        def both(done: int, of: int) -> None:
            self._stay_open()
            told(done, of)

        return both

    def booking(self, url: str) -> OpenBooking:
        """What the crowd plays, and where it goes."""
        return OpenBooking(
            electorates=tuple(
                Electorate(poll.scenario, poll.plan, poll.codes, poll.reissued, returned=poll.returned)
                for poll in self.polls
            ),
            schedule=self.kept.folder / "schedule.npz",
            url=url,
            desk_key=self.stage.desk_key,
            out=self.voters,
            seed=self.wanted.drawn_from,
            close_run_s=self.schedule.close_run_s if self.polls[0].closes else None,
            generators=self.wanted.generators,
            give_up=GIVES_UP if self.beside.calls or self.wanted.burst else 0.0,
        )

    def _vote(self) -> None:
        """Let the voters vote at their moments, with what goes on beside; keep what they keep."""
        close_run_s = self.schedule.close_run_s
        lead_us = round((LEAD_SECONDS + OVERLAY_SECONDS * len(self.beside.calls) + len(self.polls)) * US)
        first_close_s = close_run_s - self._extends_s
        earliest_us = [poll.earliest_start_us(first_close_s, lead_us=lead_us) for poll in self.polls]
        self.start_us = max(self._opens_us, *earliest_us)
        closes_us = [self.start_us + round(moment_s * US) for moment_s in (first_close_s, close_run_s)]
        many.extend(self.polls, closes_us[0])
        for window in self.schedule.windows:
            self.kept.mark("window", window.name, *moments_us(window, self.start_us), factor=window.factor)
        with ExitStack() as open_:
            open_.enter_context(self.beside)
            if self._extends_s:
                before_s = BEFORE_S / self.wanted.speed
                open_.enter_context(
                    Extension(self.polls, *closes_us, write=self.kept.write, before_s=before_s)
                )
            # Who attacks knows of the first close only, and so does the scenario.
            url = self.beside.start(self._ground(open_), start_us=self.start_us, close_run_s=first_close_s)
            try:
                told = open_.enter_context(bar("voted"))
                with OpenCrowd(self.booking(url), start_us=self.start_us, told=told) as crowd:
                    self.summary = crowd.finish()
            finally:
                self._keep()

    def _keep(self) -> None:
        """Stop what goes on beside, and keep what is left of it and of the voters, whatever else fails."""
        with ExitStack() as whatever:
            whatever.callback(self._copy)
            whatever.callback(self.beside.append_files, self.voters)
            self.beside.finish()

    def _copy(self) -> None:
        for name in KEPT_OF_VOTERS:
            if (self.voters / name).exists():
                shutil.copyfile(self.voters / name, self.kept.folder / name)

    def _ground(self, open_: ExitStack) -> Ground:
        """What the overlays may use; an edge with TLS if one of them is against that."""
        poll = self.polls[0]
        context = Context(
            url=self.stage.url,
            ballot=poll.ballot,
            stage_folder=self.stage.folder,
            out=self.kept.overlays,
            seed=self.wanted.drawn_from,
            seconds=0.0,
            up_pid=self.stage.up_pid,
            voters=self.voters,
        )
        if self.beside.needs("tls_url"):
            edge = open_.enter_context(TlsEdge(self.stage))
            context = replace(context, tls_url=edge.url, ca=edge.ca if edge.url else None)
        ground = Ground(context, entitled=poll.scenario.entitled, votes=poll.scenario.votes)
        if count := self.beside.codes_wanted(ground):
            codes = spare_codes(poll.codes, poll.plays(self.voters), count)
            ground = replace(ground, codes=codes)
        return ground

    def _count(self) -> None:
        """Count, check and compare; a step that fails is noted, and the next ones are done all the same."""
        after, first = self.after, self.polls[0].ballot
        more = beyond(self.summary, self.beside.beyond, first)
        papers = self.beside.papers(self.summary.get("papers", {}), first)
        steps = (
            ("ballot tally: exported, opened with 2 shares, counted, signed", after.tally),
            ("ballot verify: the signature of the result", after.verify),
            (
                "the result beside the published figures",
                lambda: after.compare(more, papers),
            ),
            ("ballot check: books, signatures, receipts", lambda: after.check(self.voters)),
            ("the availability record", self._available),
        )
        for what, do in steps:
            with self.step(what):
                after.attempt(do)

    def _available(self) -> None:
        agreement.record(
            self.kept.folder,
            self.stage,
            self.polls[0].ballot,
            from_us=self.start_us,
            to_us=self._watched_to_us,
        )

    def tell(self) -> None:
        """What the run is, for whoever reads its directory; again at its end, with all that it came to."""
        wanted, first = self.wanted, self.polls[0]
        self.kept.write("quiet.json", self.after.quiet)
        self.kept.write(
            "run.json",
            {
                "scenario": wanted.scenario.name,
                "variant": wanted.scenario.variant,
                "title": wanted.scenario.title,
                "source": wanted.scenario.source,
                "seed": wanted.drawn_from,
                "scale": wanted.scenario.scale,
                "only": "burst" if wanted.burst else wanted.only,
                "burst": wanted.burst,
                "speed": wanted.speed,
                "extends_s": self._extends_s,
                "at_first_close": len(self.schedule.at_first_s),
                "ballots": len(self.polls),
                "entitled": sum(poll.scenario.entitled for poll in self.polls),
                "votes": sum(poll.scenario.votes for poll in self.polls),
                "overlays": [call.name for call in self.beside.calls],
                "generators": wanted.generators,
                "started_at": format_time(self._started_us),
                "start_us": self.start_us,
                "closes_us": first.closes_us,
                "closes": {poll.ballot: poll.closes_us for poll in self.polls},
                "command": wanted.command(),
                **self._where,
                "phases": self.kept.phases,
                "wrong": self.after.wrong,
            },
        )
