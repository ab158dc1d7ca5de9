"""The files of the voter's page as they were built, each compared with the manifest before it is served.

The edge serves them and `ballot doctor` prints their digests: both read them here and mean the same files.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent.parent / "intake" / "page" / "built"
MANIFEST: Final = "manifest.json"
COMPRESSED: Final = "compressed.json"
"""Digests of the compressed forms; apart, because a processor of another kind may compress differently."""

NEEDED: Final = frozenset({"vote.js", "check.js", "complain.js", "style.css", "icon.svg"})
"""What the pages refer to; a manifest may list more."""

SOURCES: Final = ("src", "text", "templates")
"""Of these folders the manifest has one digest."""

VERSION_DIGITS: Final = 16
_PATH: Final = re.compile(r"[a-z]+-([0-9a-f]{12})\.(?:js|css|svg)")


class PageFault(Exception):  # noqa: N818  # it says what is wrong with the page, which is no error of ours
    """The page is not there as it was built; one plain sentence says what is wrong."""


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One file: `path` has a part of its digest in it, `gzip` and `brotli` are the same content, smaller."""

    path: str
    sha256: str
    identity: bytes = field(repr=False)
    gzip: bytes = field(repr=False)
    brotli: bytes = field(repr=False)

    @property
    def integrity(self) -> str:
        """The digest as a page's `integrity` has it."""
        return f"sha256-{b64encode(bytes.fromhex(self.sha256)).decode()}"


@dataclass(frozen=True, slots=True)
class BuiltPage:
    """All files by the name that templates know them by, and the manifest's exact bytes."""

    manifest: bytes = field(repr=False)
    files: dict[str, BuiltFile]

    @property
    def version(self) -> str:
        """What voters compare: the beginning of the manifest's digest, in groups of four."""
        digits = hashlib.sha256(self.manifest).hexdigest()[:VERSION_DIGITS]
        return " ".join(digits[at : at + 4] for at in range(0, VERSION_DIGITS, 4))


def read(folder: Path = FOLDER) -> BuiltPage:
    """Return the page in `folder`, every file checked; PageFault with what is missing or differs."""
    manifest = _bytes(folder / MANIFEST)
    compressed = _bytes(folder / COMPRESSED)
    try:
        listed, forms = json.loads(manifest)["files"], json.loads(compressed)
        entries = {str(name): _entry(folder, entry, forms[entry["path"]]) for name, entry in listed.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PageFault(f"{MANIFEST} or {COMPRESSED} is not as the build writes it") from None
    missing = NEEDED - entries.keys()
    if missing:
        raise PageFault(f"{MANIFEST} does not list {', '.join(sorted(missing))}")
    return BuiltPage(manifest, entries)


def listed(folder: Path) -> frozenset[str]:
    """Return the paths of the files that the manifest in `folder` lists; PageFault when it cannot be read."""
    try:
        return frozenset(
            str(entry["path"]) for entry in json.loads(_bytes(folder / MANIFEST))["files"].values()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PageFault(f"{MANIFEST} is not as the build writes it") from None


def read_one(folder: Path, path: str) -> BuiltFile:
    """Return the file called `path` of the page in `folder`, checked; PageFault when it is not as built."""
    manifest, compressed = _bytes(folder / MANIFEST), _bytes(folder / COMPRESSED)
    try:
        entry = next(each for each in json.loads(manifest)["files"].values() if each["path"] == path)
        return _entry(folder, entry, json.loads(compressed)[path])
    except (StopIteration, ValueError, KeyError, TypeError, AttributeError):
        raise PageFault(f"{MANIFEST} or {COMPRESSED} is not as the build writes it") from None


def digest_of_sources(page: Path) -> str | None:
    """Return what the build wrote of its sources, as they are now in `page`; None where they are not kept."""
    if not all((page / folder).is_dir() for folder in SOURCES):
        return None
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(page).as_posix()}\n"
        for folder in SOURCES
        for path in (page / folder).rglob("*")
        if path.is_file()
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _entry(folder: Path, entry: dict[str, Any], forms: dict[str, Any]) -> BuiltFile:
    path, sha256 = str(entry["path"]), str(entry["sha256"])
    named = _PATH.fullmatch(path)
    if named is None or named[1] != sha256[:12]:
        raise PageFault(f"{MANIFEST} lists a file that no build has: {path!r}")
    return BuiltFile(
        path,
        sha256,
        _checked(folder / path, sha256),
        _checked(folder / f"{path}.gz", str(forms["gzip"])),
        _checked(folder / f"{path}.br", str(forms["br"])),
    )


def _checked(path: Path, sha256: str) -> bytes:
    data = _bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise PageFault(f"{path.name} is not the file that was built")
    return data


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise PageFault(f"{path.name} is not there: the page has not been built") from None
    except OSError as error:
        raise PageFault(f"{path.name} cannot be read: {error.strerror}") from None
