"""A wall clock that a run can step under everything it started, where libfaketime is installed."""

from pathlib import Path

try:
    import libfaketime  # type: ignore[import-untyped]  # it has no stubs
except ImportError:  # it is for development, and no run needs it
    libfaketime = None

LIBRARY = Path("vendor", "libfaketime", "src", "libfaketime.so.1")


class SteppedClock:
    """One clock, so many seconds from the machine's; monotonic time goes on as it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process must find in its environment to go by it."""
        return {
            "LD_PRELOAD": str(Path(libfaketime.__file__).parent / LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_s: float) -> None:
        """Go so far from the machine's clock, in one step."""
        draft = self._path.with_suffix(".draft")
        draft.write_text(f"{offset_s:+.6f}\n", encoding="ascii")
        draft.replace(self._path)


def steppable() -> bool:
    """Whether clocks can be stepped here."""
    return libfaketime is not None and (Path(libfaketime.__file__).parent / LIBRARY).is_file()
