"""A run's verdict, from its directory alone: what must hold, what was found, and which votes tell against it.

Void means that the run does not show what it was to show: the generator fell behind its schedule, or an
overlay could not be tried. Lost votes fail a run whatever else is wrong with it; slow answers do not when
the generator may have been what was slow.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Final

REFERENCES_MAX: Final = 100
EXIT: Final = {"pass": 0, "fail": 1, "void": 3}
FILE: Final = "verdict.json"


class Weight(Enum):
    """What a judgement that does not hold means for the run."""

    FAILS = "fails"
    FAILS_ON_TIME = "fails on time"  # unless the run is void
    VOIDS = "voids"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing that must hold, what was found, and the references or names that tell against it."""

    what: str
    must: str
    found: str
    ok: bool
    weight: Weight = Weight.FAILS
    references: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """These fields, the references bounded."""
        told = asdict(self) | {"references": list(self.references[:REFERENCES_MAX])}
        del told["weight"]
        if not self.ok and self.weight is Weight.VOIDS:
            told["void"] = True
        return told


def not_recorded(what: str, must: str, *, weight: Weight = Weight.FAILS) -> Judgement:
    """The judgement on something the run left no record of: it does not hold."""
    return Judgement(what, must, "not recorded", ok=False, weight=weight)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All judgements of a run."""

    judgements: Sequence[Judgement] = field(default_factory=tuple)

    @property
    def word(self) -> str:
        """`pass`, `fail` or `void`."""
        broken = {judgement.weight for judgement in self.judgements if not judgement.ok}
        if Weight.FAILS in broken or not self.judgements:
            return "fail"
        if Weight.VOIDS in broken:
            return "void"
        return "fail" if broken else "pass"

    @property
    def exit_code(self) -> int:
        """0 only for a pass."""
        return EXIT[self.word]

    def as_json(self) -> dict[str, Any]:
        """What stands in verdict.json."""
        return {"verdict": self.word, "judgements": [each.as_json() for each in self.judgements]}

    def save(self, folder: Path) -> None:
        """Write it into the run's directory, whole or not at all."""
        draft = folder / f"{FILE}.draft"
        draft.write_text(json.dumps(self.as_json(), indent=2) + "\n", encoding="utf-8")
        draft.rename(folder / FILE)

    def lines(self) -> list[str]:
        """For a terminal: a line a judgement, the worst first, and the verdict last."""
        order = sorted(self.judgements, key=lambda each: (each.ok, each.weight is Weight.VOIDS))
        told = []
        for each in order:
            mark = "ok  " if each.ok else "VOID" if each.weight is Weight.VOIDS else "FAIL"
            told.append(f"{mark}  {each.what}: {each.found}" + ("" if each.ok else f" (must: {each.must})"))
            told += [f"        {reference}" for reference in each.references[:10] if not each.ok]
        return [*told, f"verdict: {self.word}"]
