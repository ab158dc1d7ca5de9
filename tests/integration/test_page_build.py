"""The voter's page is built from its sources to the same bytes, wherever and whenever."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import time
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


@pytest.mark.parametrize("source", ["src/style.css", "text/about.cy.json", "templates/about.html"])
def test_another_source_is_another_build(moved: Path, tmp_path: Path, source: str) -> None:
    """A changed style, text or template changes the manifest, so that whoever compares hashes sees it."""
    before = built(tmp_path / "one", moved)["manifest.json"]
    changed = moved / source
    changed.write_text(changed.read_text() + "\n.new { color: red }\n")

    assert built(tmp_path / "two", moved)["manifest.json"] != before


def test_no_curve_is_loaded_that_no_vote_uses(tmp_path: Path) -> None:
    """The script has the generator of the curve that signs and not P-256's: the bundler left it out."""
    files = built(tmp_path / "one")
    manifest = json.loads(files["manifest.json"])["files"]
    script = files[manifest["vote.js"]["path"]].decode()

    assert "216936d3cd6e53fec0a4e231fdd6dc5c692cc7609525a7b2c9562d608f25d51a" in script
    assert "6b17d1f2e12c4247f8bce6e563a440f2" not in script


def test_builds_at_the_same_time(tmp_path: Path, moved: Path) -> None:
    """Each succeeds, whoever reads meanwhile finds a page but for a moment, and nothing is left beside it."""
    place = tmp_path / "place" / "built"
    expected = built(tmp_path / "one", moved)
    place.parent.mkdir()
    builds = [
        subprocess.Popen(
            page.node(moved / "build.mjs", place), env=page.environment(), stdout=subprocess.DEVNULL
        )
        for _ in range(6)
    ]

    assert [build.wait(60) for build in builds] == [0] * 6
    assert {path.name: path.read_bytes() for path in place.iterdir()} == expected
    assert [path.name for path in place.parent.iterdir()] == ["built"]


def test_what_a_killed_build_left_goes_with_the_next(tmp_path: Path) -> None:
    """Whatever it was doing; what a build under way has is younger and stays."""
    for name in ("built.new-aaaaaa", "built.old-bbbbbb", "built.new-cccccc", "builtin"):
        (tmp_path / name / "built").mkdir(parents=True)
    for name in ("built.new-aaaaaa", "built.old-bbbbbb", "builtin"):
        os.utime(tmp_path / name, (1, 1))

    built(tmp_path / "built")

    assert {path.name for path in tmp_path.iterdir()} == {"built", "built.new-cccccc", "builtin"}


def test_the_manifest_has_the_time_at_which_its_build_began(tmp_path: Path) -> None:
    """So that a source that was changed during the build is newer than it."""
    before_s = time.time()
    built(tmp_path / "built")

    style, manifest = next((tmp_path / "built").glob("style-*.css")), tmp_path / "built" / "manifest.json"
    assert before_s - 0.1 < manifest.stat().st_mtime < style.stat().st_mtime


def test_without_its_packages_a_build_says_so(moved: Path, tmp_path: Path) -> None:
    """One sentence, and what was built before stays."""
    built(tmp_path / "built", moved)
    (moved / "node_modules").unlink()

    done = subprocess.run(
        page.node(moved / "build.mjs", tmp_path / "built"),
        env=page.environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("build.mjs: the packages that build the page are not here; run `npm ci")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "built" / "manifest.json").exists()
