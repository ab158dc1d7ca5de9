"""The description that voters can read has a digest of its own: another text is another digest."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from intake.preferences import Language
from intake.rendering import FOLDER, SAMPLE, Renderer
from intake.wording import Wording
from runtime.built_page import BuiltPage, digest_of_sources, read
from tests.made_page import make


@pytest.fixture
def built(tmp_path: Path) -> BuiltPage:
    """A page with files of our own."""
    return read(make(tmp_path / "built"))


def digest(built: BuiltPage, folder: Path, language: Language, scrutineer: str = "Ann Other") -> str:
    """The digest of the description as it is served from `folder`."""
    ballot = replace(SAMPLE, scrutineer=Wording(scrutineer))
    return hashlib.sha256(Renderer(built, folder).page("about", language, ballot=ballot)).hexdigest()


@pytest.mark.parametrize("language", ["en", "cy"])
def test_another_description_has_another_digest(tmp_path: Path, built: BuiltPage, language: Language) -> None:
    """One word of the text, of the catalogue or of the template; and it is the same as long as they are."""
    folder = tmp_path / "page"
    for part in ("src", "text", "templates"):
        shutil.copytree(FOLDER / part, folder / part)
    first, sources = digest(built, folder, language), digest_of_sources(folder)
    assert digest(built, folder, language) == first
    assert digest(built, folder, language, scrutineer="Another") != first
    for file, there in (
        (f"text/about.{language}.json", "IP"),
        (f"text/{language}.json", '"about.title": "'),
        ("templates/about.html", '<nav class="'),
    ):
        text = (folder / file).read_text(encoding="utf-8")
        assert there in text
        (folder / file).write_text(text.replace(there, f"{there}X", 1), encoding="utf-8")
        assert digest(built, folder, language) != first, file
        assert digest_of_sources(folder) != sources, file
        (folder / file).write_text(text, encoding="utf-8")
    assert (digest(built, folder, language), digest_of_sources(folder)) == (first, sources)


def test_another_description_is_another_version_of_the_page(tmp_path: Path, built: BuiltPage) -> None:
    """The manifest has the digest of the sources in it, and the version is the manifest's."""
    other = read(make(tmp_path / "other", sources_sha256="1" * 64))

    assert "sources_sha256" in json.loads(built.manifest)
    assert other.files == built.files
    assert other.version != built.version
