"""One command for several ballots or files: each has its turn, and none fails because another did."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

SHOWN_MAX = 20


class Turns:
    """What failed, by name; a `fault` is a user's mistake as the command raises it, and alone is no list.

    Anything that is not a `fault` ends all of it: it is a bug, or the servers are gone.
    """

    def __init__(self, names: Sequence[str], fault: type[Exception]) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.failed: dict[str, str] = {}
        self._fault = fault

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """The turn of `name`; its failure is noted and the block is left."""
        try:
            yield
        except self._fault as fault:
            if len(self.names) == 1:
                raise
            self.failed[name] = str(fault)

    @property
    def left(self) -> list[str]:
        """Those that have not failed, in order."""
        return [name for name in self.names if name not in self.failed]

    def end(self) -> None:
        """Raise one fault that says what failed, if anything did."""
        if not self.failed:
            return
        lines = [f"{name}: {fault}" for name, fault in self.failed.items()]
        if len(lines) > SHOWN_MAX:
            lines[SHOWN_MAX:] = [f"and {len(lines) - SHOWN_MAX:,} more"]
        raise self._fault("\n".join([f"{len(self.failed):,} of {len(self.names):,} failed", *lines]))
