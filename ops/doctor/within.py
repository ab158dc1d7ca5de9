"""A look at a disk of others' that may hang: it is waited for, but not for long."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
DISK_S: Final = 5.0


def within(look: Callable[[], T]) -> T:
    """What `look` returns or raises; TimeoutError if it takes longer, and then it is left to itself."""
    found: list[T] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            found.append(look())
        except Exception as error:  # noqa: BLE001  # raised again below
            faults.append(error)

    thread = threading.Thread(target=run, name="look", daemon=True)
    thread.start()
    thread.join(DISK_S)
    if faults:
        raise faults[0]
    if not found:
        raise TimeoutError(f"it does not answer within {DISK_S:.0f} s")
    return found[0]
