"""What a scenario file says beside the figures: habits, arrivals, papers, overlays, groups; read strictly."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from loadtests.published.arrivals import Arrivals, Reminder
from loadtests.published.scenario_table import Table, table

AT_CLOSE_MAX = 10_000
REMINDERS_MAX = 50
GROUP_BALLOTS_MIN, GROUP_BALLOTS_MAX = 2, 1_000
OVERLAYS_MAX = 50
HOURS_MAX = 24.0 * 366
RUN_SECONDS_MAX = 24.0 * 3_600
OVERLAY_NAMES = ("cap", "botnet", "handshakes", "reloaders", "guessing", "reissue", "replay", "fault")
WEIGHTS_MISS_MAX = 1e-6
THINNER = frozenset({"line_bits"})
"""Parameters of overlays that go with how many votes come in a second."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Which share of the votes comes with which human habit (0 to 1), and how long people think.

    `late` casts come after the close and `at_close` of them are aimed at it: neither is among the votes.
    """

    double_click: float
    retry: float
    mistyped: float
    used_code: float
    foreign_code: float
    reissue: float
    later_repeat: float
    two_devices: float = 0.0
    abandoned: float = 0.0
    late: float = 0.0
    at_close: int = 0
    think_median_s: float = 45.0
    think_sigma: float = 0.8


@dataclass(frozen=True, slots=True)
class PaperReturns:
    """Votes on paper: `share` of the votes; `also_paper` of the online voters send one as well, half before.

    Beside the papers that are counted, `late` of as many come after the close and `rejected` are not good.
    """

    share: float
    also_paper: float
    late: float
    rejected: float


@dataclass(frozen=True, slots=True)
class GroupShape:
    """Many ballots that open and close together: how many, how unequal, how many just miss half or meet it.

    Sizes follow a Pareto law of exponent `pareto`; the largest has `largest` of all people, `small` ballots
    have fewer than 50. `one_short` of them lack one vote to half of the entitled, `exactly` have just half.
    """

    ballots: int
    pareto: float
    largest: float
    small: int
    one_short: int
    exactly: int


@dataclass(frozen=True, slots=True)
class OverlayCall:
    """One overlay and when it is on, on the run's clock.

    A negative `from_s` counts back from the close, the first where that is put off.
    """

    name: str
    from_s: float
    seconds: float
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)

    def begins(self, close_run_s: float) -> float:
        """The second of the run at which it begins, when the close is at `close_run_s`."""
        return self.from_s if self.from_s >= 0 else max(0.0, close_run_s + self.from_s)

    def among(self, share: float) -> "OverlayCall":
        """The same where only that share of the votes comes: what must be too thin for them is thinner."""
        told = {
            name: value * share if name in THINNER and isinstance(value, int | float) else value
            for name, value in self.parameters.items()
        }
        return replace(self, parameters=told)


SHARES = (
    *("double_click", "retry", "mistyped", "used_code", "foreign_code", "reissue", "later_repeat"),
    *("two_devices", "abandoned", "late"),
)
HABITS_WANTED = SHARES[:7]


def behaviour(name: str, data: Any) -> Behaviour:
    """The table [behaviour]."""
    optional = (*SHARES[7:], "at_close", "think_median_s", "think_sigma")
    read = table(name, "[behaviour]", data, HABITS_WANTED, optional)
    told: dict[str, Any] = {share: read.share(share) for share in SHARES if share in read.values}
    if "at_close" in read.values:
        told["at_close"] = read.count("at_close")
        if told["at_close"] > AT_CLOSE_MAX:
            raise read.fault(f"at_close may be {AT_CLOSE_MAX:,} at most")
    if "think_median_s" in read.values:
        told["think_median_s"] = read.number("think_median_s", 0, 3_600)
    if "think_sigma" in read.values:
        told["think_sigma"] = read.number("think_sigma", 0, 3)
    return Behaviour(**told)


def arrivals(name: str, data: Any, *, hours: float) -> Arrivals:
    """The table [arrivals]; its weights add up to 1, and no message goes out after the close."""
    wanted = ("launch", "base", "deadline", "reminders", "send_minutes", "tau_minutes")
    read = table(name, "[arrivals]", data, wanted, ("deadline_hours",))
    listed = read.inner("reminders")
    if not isinstance(listed, list) or len(listed) > REMINDERS_MAX:
        raise read.fault(f"reminders must be a list of {REMINDERS_MAX} at most")
    reminders = tuple(_reminder(name, entry, hours=hours) for entry in listed)
    made = Arrivals(
        **{field: read.share(field) for field in ("launch", "base", "deadline")},
        reminders=reminders,
        send_minutes=read.number("send_minutes", 0, 24 * 60),
        tau_minutes=read.number("tau_minutes", 0.1, 24 * 60),
        deadline_hours=min(hours, read.number("deadline_hours", 0.1, HOURS_MAX))
        if "deadline_hours" in read.values
        else min(hours, 24.0),
    )
    total = made.launch + made.base + made.deadline + sum(reminder.weight for reminder in reminders)
    if abs(total - 1) > WEIGHTS_MISS_MAX:
        raise read.fault(f"has weights that add up to {total:g}, not to 1")
    return made


def _reminder(name: str, data: Any, *, hours: float) -> Reminder:
    """One reminder, while the ballot is open."""
    read = table(name, "[arrivals] reminders", data, ("at_hours", "weight"))
    made = Reminder(at_hours=read.number("at_hours", 0, HOURS_MAX), weight=read.share("weight"))
    if made.at_hours >= hours:
        raise read.fault(f"has one at {made.at_hours:g} hours, when the ballot of {hours:g} hours is closed")
    return made


def paper(name: str, data: Any) -> PaperReturns:
    """The table [paper]."""
    fields = ("share", "also_paper", "late", "rejected")
    read = table(name, "[paper]", data, fields)
    return PaperReturns(**{field: read.share(field) for field in fields})


def group(name: str, data: Any, *, votes: int) -> GroupShape:
    """The table [group]."""
    counts, numbers = ("ballots", "small", "one_short", "exactly"), ("pareto", "largest")
    read = table(name, "[group]", data, (*counts, *numbers))
    told = {field: read.count(field) for field in counts}
    if not GROUP_BALLOTS_MIN <= told["ballots"] <= min(GROUP_BALLOTS_MAX, max(1, votes)):
        raise read.fault(
            f"ballots must be from {GROUP_BALLOTS_MIN} to {GROUP_BALLOTS_MAX:,}, and no more than the votes"
        )
    if told["one_short"] + told["exactly"] + 2 > told["ballots"] or told["small"] >= told["ballots"]:
        raise read.fault("wants more special ballots than there are")
    return GroupShape(**told, pareto=read.number("pareto", 0, 5), largest=read.number("largest", 0, 0.9))


def overlays(name: str, data: Any) -> tuple[OverlayCall, ...]:
    """The list [[overlays]]."""
    if not isinstance(data, list) or len(data) > OVERLAYS_MAX:
        raise Table(name, "[[overlays]]", {}).fault(f"must be a list of {OVERLAYS_MAX} at most")
    return tuple(_overlay(name, entry) for entry in data)


def _overlay(name: str, data: Any) -> OverlayCall:
    """One overlay; what else it is given are numbers and texts, which the overlay itself judges."""
    read = table(name, "[[overlays]]", data, ("name", "from_s", "seconds"), None)
    if read.text("name") not in OVERLAY_NAMES:
        raise read.fault(f"knows no {read.text('name')!r}; there are {', '.join(OVERLAY_NAMES)}")
    others = {key: value for key, value in data.items() if key not in {"name", "from_s", "seconds"}}
    if wrong := sorted(key for key, value in others.items() if not isinstance(value, float | int | str)):
        raise read.fault(f"{read.text('name')} has {', '.join(wrong)}, which must be a number or a text")
    return OverlayCall(
        name=read.text("name"),
        from_s=read.number("from_s", -RUN_SECONDS_MAX, RUN_SECONDS_MAX),
        seconds=read.number("seconds", 1, RUN_SECONDS_MAX),
        parameters=others,
    )
