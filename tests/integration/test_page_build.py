"""The voter's page is built from its sources to the same bytes, wherever and whenever."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import page

COPIED = ("build.mjs", "package.json", "src", "text", "templates")


def built(folder: Path, sources: Path = page.PAGE, **environment: str) -> dict[str, bytes]:
    """Build into `folder` and return what is there by name."""
    page.install_tools()
    subprocess.run(
        page.node(sources / "build.mjs", folder),
        cwd=folder.parent,
        env=page.environment() | environment,
        check=True,
        timeout=60,
        capture_output=True,
    )
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def moved(tmp_path: Path) -> Path:
    """The same sources in another place, with other times on them."""
    place = tmp_path / "elsewhere" / "page"
    place.mkdir(parents=True)
    for name in COPIED:
        source = page.PAGE / name
        shutil.copytree(source, place / name) if source.is_dir() else shutil.copy(source, place / name)
    for path in place.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (place / "node_modules").symlink_to(page.PAGE / "node_modules")
    return place


def test_two_builds_give_the_same_bytes(tmp_path: Path, moved: Path) -> None:
    """Another folder, another time zone, another language, other file times: not one byte differs."""
    here = built(tmp_path / "one")
    there = built(tmp_path / "two", moved, TZ="Pacific/Auckland", LANG="cy_GB.UTF-8", LC_ALL="C")

    assert len(here) > 10
    assert here == there


def test_what_is_built_names_its_own_digest(tmp_path: Path) -> None:
    """The manifest's digest, the name of the file and its compressed form all say the same bytes."""
    files = built(tmp_path / "one")
    manifest = json.loads(files["manifest.json"])["files"]

    assert {"vote.js", "check.js", "complain.js", "style.css"} <= manifest.keys()
    for entry in manifest.values():
        data = files[entry["path"]]
        digest = hashlib.sha256(data).hexdigest()
        assert (entry["sha256"], entry["bytes"]) == (digest, len(data))
        assert digest[:12] in entry["path"]
        assert gzip.decompress(files[entry["path"] + ".gz"]) == data


def test_another_source_is_another_build(moved: Path, tmp_path: Path) -> None:
    """A changed text changes the manifest, so that whoever compares hashes sees it."""
    before = built(tmp_path / "one", moved)["manifest.json"]
    style = moved / "src" / "style.css"
    style.write_text(style.read_text() + "\n.new { color: red }\n")

    assert built(tmp_path / "two", moved)["manifest.json"] != before


def test_no_curve_is_loaded_that_no_vote_uses(tmp_path: Path) -> None:
    """The script has the generator of the curve that signs and not P-256's: the bundler left it out."""
    files = built(tmp_path / "one")
    manifest = json.loads(files["manifest.json"])["files"]
    script = files[manifest["vote.js"]["path"]].decode()

    assert "216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a" in script
    assert "6b17d1f2e12c4247f8bce6e563a440f2" not in script
