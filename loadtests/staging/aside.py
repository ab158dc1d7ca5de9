"""Work in a thread of its own for as long as a block lasts: told to stop at its end, and waited for."""

from __future__ import annotations

from threading import Event, Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Aside:
    """A context manager whose `_work` runs in the thread `name`; it looks at `_stop` and ends soon after."""

    def __init__(self, name: str) -> None:
        self._stop = Event()
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        raise NotImplementedError
