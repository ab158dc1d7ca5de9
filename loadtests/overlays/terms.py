"""What the overlays and whoever starts them say to each other: where to, what was done and judged; no I/O."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

Told = Mapping[str, Any]
"""What an overlay did and got in all: counts and times, never a code or the choice of one voter."""

Knobs = Mapping[str, Any]
"""The overlay's own parameters, as a scenario gives them; what is not given has the overlay's own value."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One expectation: `what` was looked at, what it `must` be; `void` when it could not be tried."""

    what: str
    must: str
    found: str
    ok: bool
    void: bool = False

    def as_json(self) -> dict[str, Any]:
        """These fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Context:
    """The deployment that an overlay is let loose on, and what it may use up there.

    `out` is where its lines go (`NAME.jsonl`); `seconds` how long it lasts, counted from `from_s` seconds
    after its start. `spare_codes` are codes by member id of people on the roll whom the crowd does not
    play: an overlay votes and asks for new codes in their names only. What it votes is in `told["counted"]`
    and comes on top of the crowd's votes. `up_pid` is the deployment's `ballot up`, for the faults.
    """

    url: str
    ballot: str
    stage_folder: Path
    out: Path
    seed: int
    seconds: float
    from_s: float = 0.0
    tls_url: str | None = None
    ca: Path | None = None
    up_pid: int | None = None
    spare_codes: Mapping[str, str] = field(default_factory=dict, repr=False)
    voters: Path | None = None
    knobs: Knobs = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The deployment's BALLOT_HOME, as a `Stage` lays it out."""
        return self.stage_folder / "home"

    @property
    def desk_key(self) -> Path:
        """The desk's public key, to pin."""
        return self.home / "public" / "desk.json"

    def as_json(self) -> dict[str, Any]:
        """These fields as JSON has them. It holds codes: through a pipe, never into a file or argv."""
        return {name.name: getattr(self, name.name) for name in fields(self)} | {
            "stage_folder": str(self.stage_folder),
            "out": str(self.out),
            "ca": str(self.ca) if self.ca else None,
            "voters": str(self.voters) if self.voters else None,
            "spare_codes": dict(self.spare_codes),
            "knobs": dict(self.knobs),
        }

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Context":
        """What `as_json` gave."""
        paths = {name: Path(told[name]) if told[name] else None for name in ("ca", "voters")}
        return cls(**{**told, "stage_folder": Path(told["stage_folder"]), "out": Path(told["out"]), **paths})


def impossible(what: str, told: Told) -> list[Judgement]:
    """The one judgement on an overlay that could not be tried, or that said nothing at its end."""
    return [Judgement(what, "can be tried here", str(told["impossible"]), ok=False, void=True)]
