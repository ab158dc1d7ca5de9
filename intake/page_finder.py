"""What one edge process reads of the page that its host keeps: the version to serve, and other files."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from intake.page_store import LOOK_S, named_in, open_page
from intake.rendering import Renderer
from runtime import built_page, logs
from runtime.built_page import BuiltFile, BuiltPage, PageFault
from runtime.clock import Clock

log = logs.get("page")

FILES_MAX: Final = 32
"""Of other versions, some 200 kB each with their compressed forms, kept once they were asked for."""

SETTLED_NS: Final = 2 * 10**9
"""A folder that changed so lately may change again without its time showing it."""


Adopt = Callable[[BuiltPage | None, Renderer | None], None]


class KeptFiles:
    """The files of every version in `folder`; one is looked for on the disk only when a version lists it."""

    def __init__(self, folder: Path, *, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._changed_ns: int | None = None
        self._places: dict[str, Path] = {}
        self._read: OrderedDict[str, BuiltFile] = OrderedDict()

    def find(self, path: str) -> BuiltFile | None:
        """The file called `path`, as it was built; None when no version that is kept has it whole."""
        found = self._read.get(path)
        if found is not None:
            self._read.move_to_end(path)
            return found
        self._look()
        place = self._places.get(path)
        if place is None:
            return None
        try:
            found = self._read[path] = built_page.read_one(place, path)
        except PageFault as fault:
            log.alarm("file of another page not served", reason=str(fault))
            del self._places[path]
            return None
        if len(self._read) > FILES_MAX:
            self._read.popitem(last=False)
        return found

    def _look(self) -> None:
        """Read what each version lists, if any came or went since the last time."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            if changed_ns == self._changed_ns:
                return
            versions = [path / "built" for path in self._folder.iterdir() if not path.name.startswith(".")]
        except OSError:
            return
        settled = abs(self._clock.now_us() * 1_000 - changed_ns) > SETTLED_NS
        self._changed_ns = changed_ns if settled else None
        self._places.clear()
        for version in versions:
            try:
                self._places.update(dict.fromkeys(built_page.listed(version), version))
            except PageFault:
                continue  # it may be going just now; whoever is to serve it says what is wrong


class Finder:
    """Has the version that `file` names, from `folder`, adopted as soon as there is one."""

    def __init__(self, adopt: Adopt, folder: Path, file: Path | None) -> None:
        self._adopt = adopt
        self._found = False
        self._folder = folder
        self._file = file
        self._said = ""

    def look(self) -> None:
        """Adopt the page; what is wrong is alarmed, and no vote suffers from it."""
        name = "" if self._file is None else named_in(self._file)
        reason = "" if name else "none was taken yet"
        if name:
            try:
                self._adopt(*open_page(self._folder / name))
                self._found = True
            except PageFault as fault:
                reason = str(fault)
        if reason and not self._said:
            self._adopt(None, _errors_only())
        if reason and reason != self._said:
            log.alarm("page not served", reason=reason)
            self._said = reason

    async def look_until_found(self, clock: Clock) -> None:
        """While there is no page, look again."""
        while not self._found:
            await clock.sleep(LOOK_S)
            self.look()


def _errors_only() -> Renderer | None:
    """What shows errors, in the words of the installation."""
    try:
        return Renderer(None)
    except Exception as error:  # noqa: BLE001  # there is a last resort
        log.alarm("error pages not served", reason=f"{type(error).__name__}: {error}")
        return None
