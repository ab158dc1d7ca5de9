"""The voter's page as one host keeps it: its last versions below BALLOT_HOME, each whole and never changed.

The parent of the edge processes takes the page here before any of them serves it. So all of them serve the
same one, also when one is started again after a build, and each has the files of whatever version another
still shows.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from intake.rendering import FOLDER, Renderer
from runtime import built_page, logs
from runtime.built_page import BuiltPage, PageFault
from runtime.lifecycle import Stop

log = logs.get("page")

VERSIONS_KEPT: Final = 4
"""Those taken last stay: a page that a voter opened may ask for its files minutes later."""

LOOK_S: Final = 3.0
"""A page that is not built is looked for again so often."""

TAKEN: Final = "taken "
LEFT_OVER_S: Final = 600.0
WORDS: Final = (("templates", "*.html"), ("text", "*.json"))
_NAME: Final = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")
_DRAFT: Final = ".draft-"


class PageStore:
    """`folder` with a folder for each version: built/, templates/, text/. Those `in_use` stay there."""

    def __init__(self, folder: Path, *, in_use: Callable[[], Collection[str]]) -> None:
        self._folder = folder
        self._in_use = in_use

    def take(self, source: Path = FOLDER, built: Path | None = None) -> str:
        """Keep the page as it is built now, and return its version's name; PageFault when it is not whole."""
        files = _files(source, built_page.FOLDER if built is None else built)
        name = _name(files)
        try:
            if not _is_whole(self._folder / name):
                self._write(name, files)
            os.utime(self._folder / name)
            self._drop_oldest(name)
        except OSError as error:
            raise PageFault(f"{self._folder} cannot be written: {error.strerror}") from None
        return name

    def report(self) -> str:
        """Take the page; what was taken, or why nothing was, as a line."""
        try:
            return f"{TAKEN}{self.take()}"
        except PageFault as fault:
            return str(fault)

    def _write(self, name: str, files: dict[str, bytes]) -> None:
        """Put a version in its place, in one step and checked before it; another parent may do the same."""
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=self._folder))
        try:
            for path, data in files.items():
                (draft / path).parent.mkdir(mode=0o700, exist_ok=True)
                (draft / path).touch(mode=0o600)
                (draft / path).write_bytes(data)
            open_page(draft)
            damaged = self._folder / name
            if damaged.exists() and not _is_whole(damaged):
                damaged.rename(draft / "damaged")
            with suppress(OSError):  # it is there already, and whole
                draft.rename(self._folder / name)
            open_page(self._folder / name)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _drop_oldest(self, name: str) -> None:
        kept = {name, *self._in_use()}
        found = [path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)]
        newest = sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
        for path in newest[VERSIONS_KEPT:]:
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
        now_s = (self._folder / name).stat().st_mtime
        for path in self._folder.glob(f"{_DRAFT}*"):
            with suppress(FileNotFoundError):
                if now_s - path.stat().st_mtime > LEFT_OVER_S:
                    shutil.rmtree(path, ignore_errors=True)


class Chosen:
    """Which version the children serve: written where they look for it."""

    def __init__(self, store: PageStore, file: Path) -> None:
        self._store = store
        self._file = file
        self._said = ""
        self.name = ""

    def take(self) -> None:
        """Choose the page as it is built now; what was chosen before stays when that is none."""
        self.note(self._store.report())

    def note(self, report: str) -> None:
        """Choose what a report says was taken, which may have been by another process."""
        name = report.removeprefix(TAKEN)
        if not (report.startswith(TAKEN) and _NAME.fullmatch(name)):
            if report != self._said:
                log.alarm("page not served", reason=report, kept=self.name)
            self._said = report
            return
        self._said = ""
        if name != self.name:
            draft = self._file.with_name(f".{self._file.name}")
            draft.write_text(name, "ascii")
            draft.replace(self._file)
            self.name = name
            log.info("page taken", page=name)

    async def keep_looking(self, stop: Stop) -> None:
        """Until asked to stop: a page that was not there at start is served once it is."""
        while not stop.requested:
            await stop.wait(LOOK_S)
            if not self.name and not stop.requested:
                self.take()


def named_in(file: Path) -> str:
    """The name of the version to serve; '' when none is."""
    try:
        name = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if _NAME.fullmatch(name) else ""


def open_page(folder: Path) -> tuple[BuiltPage, Renderer]:
    """The version in `folder`, every file checked and every page tried; PageFault when it is not whole."""
    built = built_page.read(folder / "built")
    try:
        return built, Renderer(built, folder)
    except Exception as error:  # noqa: BLE001  # whatever is wrong with text or template: votes are taken all the same
        raise PageFault(f"{type(error).__name__}: {error}") from None


def _is_whole(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        open_page(folder)
        return _name(_files(folder, folder / "built")) == folder.name
    except PageFault:
        return False


def _files(source: Path, built: Path) -> dict[str, bytes]:
    """Every file of a version by its path there."""
    page = built_page.read(built)
    files = {f"built/{built_page.MANIFEST}": page.manifest}
    try:
        files[f"built/{built_page.COMPRESSED}"] = (built / built_page.COMPRESSED).read_bytes()
        for folder, pattern in WORDS:
            for path in sorted((source / folder).glob(pattern)):
                files[f"{folder}/{path.name}"] = path.read_bytes()
    except OSError as error:
        raise PageFault(f"{error.filename} cannot be read: {error.strerror}") from None
    for file in page.files.values():
        forms = {"": file.identity, ".gz": file.gzip, ".br": file.brotli}
        files |= {f"built/{file.path}{ending}": data for ending, data in forms.items()}
    return files


def _name(files: dict[str, bytes]) -> str:
    """The page's version, and a digest of everything: words may change before the page is built again."""
    version = hashlib.sha256(files[f"built/{built_page.MANIFEST}"]).hexdigest()[: built_page.VERSION_DIGITS]
    lines = [f"{hashlib.sha256(data).hexdigest()}  {path}\n" for path, data in sorted(files.items())]
    return f"{version}-{hashlib.sha256(''.join(lines).encode()).hexdigest()[:8]}"
