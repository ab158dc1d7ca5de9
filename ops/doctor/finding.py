"""What one check found: one line, and what to change where something must."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """`says` is what is there; `change` what a person must do about it, empty when all is well."""

    about: str
    says: str
    change: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing need be done."""
        return not self.change

    def line(self) -> str:
        """The one line that is printed."""
        if self.ok:
            return f"ok      {self.about}: {self.says}"
        return f"CHANGE  {self.about}: {self.says}; {self.change}"

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {"ok": self.ok, **asdict(self)}


if TYPE_CHECKING:
    Check = Callable[[Path], Iterator[Finding]]
    """Looks at one thing and changes nothing; it is given BALLOT_HOME, which need not exist."""
