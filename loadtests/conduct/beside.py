"""What goes on beside the voters: overlays, each started for its moment, stopped, judged and marked."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from loadtests.crowds import unconfirmed
from loadtests.lifetime.poll import Marks, added
from loadtests.overlays import attempts
from loadtests.overlays.catalogue import OVERLAYS, Context, Running
from loadtests.overlays.terms import Judgement, Told
from loadtests.published.scenario import OverlayCall
from loadtests.staging.kept import US, Kept, now_us
from loadtests.staging.stage import StageFault

SECONDS_MAX = 600.0
"""No overlay lasts longer by itself; a scenario may say so."""

CODES_MAX = 100_000
GUESSED_AT = 20
REPLAYED_SHARE, REPLAYED_MIN = 0.015, 30
ASKS_SHARE, ASKS_MIN = 0.05, 20
LINE_BYTES_MAX = 1 << 20
NONE, ALL = "none", "all"
FAULT = "fault"


class UnknownOverlay(ValueError):  # noqa: N818  # a fault in what was typed
    """What is wrong with the overlays asked for, in one sentence."""


def quickened(calls: Sequence[OverlayCall], speed: float) -> list[OverlayCall]:
    """Each at its moment of a run that is played `speed` times as fast, and for so much less time."""
    return [
        replace(call.among(speed), from_s=call.from_s / speed, seconds=call.seconds / speed) for call in calls
    ]


def chosen(calls: Sequence[OverlayCall], asked: Sequence[str], *, run_s: float) -> list[OverlayCall]:
    """The scenario's own overlays and those asked for; `none` leaves the former out, `all` adds every one.

    One that the scenario says nothing about begins after a tenth of the run and lasts at most ten minutes.
    """
    if unknown := [name for name in asked if name not in {*OVERLAYS, NONE, ALL}]:
        names = ", ".join((*OVERLAYS, ALL, NONE))
        raise UnknownOverlay(f"There is no overlay '{unknown[0]}'; there are {names}.")
    wanted = [*OVERLAYS] if ALL in asked else [name for name in asked if name != NONE]
    own = {} if NONE in asked else {call.name: call for call in calls}
    usual = {
        name: OverlayCall(name, from_s=run_s / 10, seconds=min(SECONDS_MAX, run_s * 0.8)) for name in wanted
    }
    known = {call.name: call for call in calls}
    return [*(usual | {name: known[name] for name in wanted if name in known} | own).values()]


@dataclass(frozen=True, slots=True)
class Ground:
    """What all overlays of a run are let loose on; `codes` are of people whom the crowd does not play."""

    context: Context
    codes: Sequence[tuple[str, str]] = field(default=(), repr=False)
    entitled: int = 0
    votes: int = 0


class Beside:
    """The overlays of one run; a context manager that stops them, whatever happens."""

    def __init__(self, calls: Sequence[OverlayCall], kept: Kept) -> None:
        self.calls = [call for call in calls if call.name in OVERLAYS]
        self._kept = kept
        self._running: dict[str, Running] = {}
        self.beyond: Marks = {}
        self.unconfirmed: Marks = {}
        self._open: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for running in self._running.values():
            running.stop()

    def needs(self, what: str) -> bool:
        """Whether any of them cannot do without that."""
        return any(what in OVERLAYS[call.name].needs for call in self.calls)

    def codes_wanted(self, ground: Ground) -> int:
        """How many codes they use up, all together."""
        return sum(codes_for(call.name, ground) for call in self.calls)

    def start(self, ground: Ground, *, start_us: int, close_run_s: float) -> str:
        """Start all of them, each to begin at its moment; returns where the voters must go.

        What stands in the voters' way stands in nobody else's: the other overlays come from elsewhere.
        """
        url = ground.context.url
        codes = iter(ground.codes)
        # What stands in the voters' way comes first.
        for call in sorted(self.calls, key=lambda call: not OVERLAYS[call.name].carries):
            overlay = OVERLAYS[call.name]
            own = islice(codes, codes_for(call.name, ground)) if "spare_codes" in overlay.needs else ()
            context = replace(
                ground.context,
                url=url if overlay.carries else ground.context.url,
                from_s=max(0.0, start_us / US + call.begins(close_run_s) - now_us() / US),
                seconds=call.seconds,
                spare_codes=dict(own),
                knobs=dict(call.parameters),
            )
            running = overlay.start(context)
            self._running[call.name] = running
            if overlay.carries and running.url is not None:
                url = running.url
        return url

    def finish(self) -> None:
        """Stop what has not ended, judge each, and mark what they did on the run's time axis."""
        judged = []
        ended = [(name, running, running.stop()) for name, running in self._running.items()]
        faults = [mark for _, running, _ in ended for mark in marks(running.path) if mark["kind"] == FAULT]
        for name, running, told in ended:
            # A fault of the run's own may be why one of the others failed.
            judgements = self._judged(name, told | {"faults": faults})
            sent = attempts.read(self._kept.overlays, name)
            more = {"unconfirmed": len(sent.open)} if sent is not None else {}
            judged.append({"name": name, "told": told, "judgements": judgements, **more})
            if "from_us" in told and "impossible" not in told:
                shown = {key: told[key] for key in ("did", "got") if key in told}
                self._kept.mark("overlay", name, int(told["from_us"]), int(told["to_us"]), **shown)
            for mark in marks(running.path):
                when = int(mark["from_us"]), int(mark["to_us"])
                self._kept.mark(str(mark["kind"]), str(mark["name"]), *when, **_bounded(mark.get("told")))
            if sent is not None:  # by its files: what was cut short told of nothing
                self.beyond = added(self.beyond, sent.counted)
                self.unconfirmed = added(self.unconfirmed, sent.unconfirmed)
                self._open += sent.open
        if judged:
            self._kept.write("overlays.json", judged)

    def _judged(self, name: str, told: Told) -> list[dict[str, Any]]:
        """What it expected; one that told what nobody foresaw did not hold, and the others are judged."""
        try:
            return [each.as_json() for each in OVERLAYS[name].judge(told)]
        except Exception as bug:  # noqa: BLE001  # what the others told is kept all the same
            self._kept.bug()
            return [Judgement("what it told can be judged", "all of it", repr(bug), ok=False).as_json()]

    def append_files(self, voters: Path) -> None:
        """Add what the overlays' own voters kept to what the crowd kept: it is checked together."""
        for kind in ("receipts.jsonl", "sealed.jsonl"):
            with (voters / kind).open("ab") as into:
                for part in sorted(self._kept.overlays.glob(f"*.{kind}")):
                    with part.open("rb") as lines:
                        into.writelines(lines)
        with (voters / unconfirmed.BESIDE).open("w", encoding="utf-8") as into_attempts:
            into_attempts.writelines(json.dumps(line) + "\n" for line in self._open)

    def papers(self, crowds: Mapping[str, Any], ballot: str) -> dict[str, Any]:
        """The papers of the crowd, with what may have been counted of the overlays' own votes in `ballot`."""
        votes = dict(crowds.get("unconfirmed", {}))
        votes[ballot] = added(votes.get(ballot, {}), self.unconfirmed)
        return {**crowds, "unconfirmed": votes}


def codes_for(name: str, ground: Ground) -> int:
    """How many codes of others an overlay may use up."""
    match name:
        case "guessing":
            return GUESSED_AT
        case "replay":
            return max(REPLAYED_MIN, round(REPLAYED_SHARE * ground.votes))
        case "reissue":
            return max(ASKS_MIN, round(ASKS_SHARE * ground.entitled))
        case _:
            return 0


def spare_codes(codes: Path, plays: Callable[[str], bool], count: int) -> list[tuple[str, str]]:
    """The first `count` codes of a dispatch file that belong to nobody whom the crowd plays."""
    found: list[tuple[str, str]] = []
    with codes.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if len(found) >= min(count, CODES_MAX):
                break
            if not plays(row["member_id"]):
                found.append((row["member_id"], row["code"]))
    if not found:
        raise StageFault("Everybody on the roll votes: there is nobody in whose name an overlay could try.")
    return found


def marks(path: Path) -> Iterator[dict[str, Any]]:
    """What an overlay told of on its lines that belongs on the time axis."""
    with path.open("rb") as lines:
        for line in iter(lambda: lines.readline(LINE_BYTES_MAX), b""):
            try:
                told = json.loads(line)
            except ValueError:
                continue
            yield from _whole(told.get("marks", ()) if isinstance(told, dict) else ())


def _bounded(told: Any) -> dict[str, bool]:
    """What an overlay says of its mark, as for a fault whether it is to stop votes: yes or no, by name."""
    return {name: value for name, value in told.items() if value is True} if isinstance(told, dict) else {}


def _whole(told: Iterable[Any]) -> Iterator[dict[str, Any]]:
    wanted = {"kind", "name", "from_us", "to_us"}
    return (mark for mark in told if isinstance(mark, dict) and wanted <= mark.keys())
