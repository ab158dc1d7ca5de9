"""The voter's page: built, whole, from the sources that are here; its digests, for whoever compares them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ops.doctor.finding import Finding
from runtime import built_page
from runtime.built_page import PageFault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUILD = "run `node build.mjs` in intake/page (`./run` does it), then hang up the edge's parent (kill -HUP)"


def page(home: Path) -> Iterator[Finding]:  # noqa: ARG001  # the page is the installation's, not the home's
    """Each built file with its SHA-256, the version that voters see, and whether it is of these sources."""
    yield from look(built_page.FOLDER)


def look(folder: Path) -> Iterator[Finding]:
    """The same, of a page built into `folder`."""
    try:
        built = built_page.read(folder)
    except PageFault as fault:
        yield Finding("page", str(fault), BUILD)
        return
    for file in built.files.values():
        yield Finding("page", f"{file.path} has sha256 {file.sha256}")
    yield Finding("page", f"page version {built.version}")
    sources = built_page.digest_of_sources(folder.parent)
    if sources is None:
        yield Finding("page", "its sources are not here to compare")
    elif sources == json.loads(built.manifest).get("sources_sha256"):
        yield Finding("page", f"built from the sources that are here, sha256 {sources}")
    else:
        yield Finding("page", "built from other sources, words or templates than are here", BUILD)
