"""A page is read whole and as it was built, or not at all."""

import hashlib
from pathlib import Path

import pytest

from runtime.built_page import PageFault, digest_of_sources, read
from tests.made_page import CONTENTS, make, sha256


def test_a_page_as_built(tmp_path: Path) -> None:
    """Every file in every form, and the version that follows from the manifest."""
    page = read(make(tmp_path))

    assert {name: file.identity for name, file in page.files.items()} == CONTENTS
    vote = page.files["vote.js"]
    assert (vote.sha256, vote.path) == (sha256(b"vote()"), f"vote-{sha256(b'vote()')[:12]}.js")
    assert vote.integrity.startswith("sha256-")
    assert page.manifest == (tmp_path / "manifest.json").read_bytes()
    assert page.version.replace(" ", "") == hashlib.sha256(page.manifest).hexdigest()[:16]
    assert [len(group) for group in page.version.split(" ")] == [4, 4, 4, 4]


@pytest.mark.parametrize("pattern", ["vote-*.js", "vote-*.js.gz", "vote-*.js.br", "style-*.css"])
def test_another_file_than_was_built(tmp_path: Path, pattern: str) -> None:
    """One byte more in any form of any file, and there is no page; nor when the file is gone."""
    (path,) = make(tmp_path).glob(pattern)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(PageFault, match="is not the file that was built"):
        read(tmp_path)

    path.unlink()
    with pytest.raises(PageFault, match="is not there"):
        read(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"vote.js": {}}}',
        '{"files": {"vote.js": {"path": "../../etc/passwd", "sha256": "00"}}}',
        '{"files": {"vote.js": {"path": "vote-0123456789ab.js", "sha256": "00"}}}',
        '{"files": {}}',
    ],
)
def test_no_manifest_of_ours(tmp_path: Path, manifest: str) -> None:
    """Anything else than the build writes is said to be no page, and no other file is opened for it."""
    (make(tmp_path) / "manifest.json").write_text(manifest)

    with pytest.raises(PageFault, match="manifest"):
        read(tmp_path)


def test_nothing_built(tmp_path: Path) -> None:
    """The first thing one finds on a machine where nobody built the page."""
    with pytest.raises(PageFault, match="the page has not been built"):
        read(tmp_path / "built")


def test_a_file_that_pages_need(tmp_path: Path) -> None:
    """A page without its style sheet is none."""
    make(tmp_path, {name: data for name, data in CONTENTS.items() if name != "style.css"})

    with pytest.raises(PageFault, match=r"does not list style\.css"):
        read(tmp_path)


def test_the_digest_of_sources_is_the_build_s(tmp_path: Path) -> None:
    """One line a file, in order, as the build writes them; None where there are no sources."""
    assert digest_of_sources(tmp_path) is None
    files = {
        "src/vote.ts": b"a",
        "src/screens/done.ts": b"b",
        "text/en.json": b"{}",
        "templates/vote.html": b"",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    lines = sorted(f"{sha256(data)}  {name}\n" for name, data in files.items())

    assert digest_of_sources(tmp_path) == sha256("".join(lines).encode())
