"""A host keeps the page's last versions, each whole, and its processes serve the one that was taken."""

import asyncio
import os
import shutil
import stat
from collections.abc import Collection
from pathlib import Path

import pytest

from intake import page_finder, page_store, rendering
from intake.page_finder import Finder
from intake.page_store import VERSIONS_KEPT, Chosen, PageStore, named_in, open_page
from intake.rendering import Renderer
from runtime import built_page
from runtime.built_page import BuiltPage, PageFault
from runtime.clock import SystemClock
from runtime.lifecycle import Stop
from tests.made_page import CONTENTS, make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A page of our own, built, with the words and templates that are here."""
    folder = tmp_path / "source"
    make(folder / "built")
    for part in ("text", "templates"):
        shutil.copytree(rendering.FOLDER / part, folder / part)
    return folder


def build(source: Path, number: int) -> None:
    """Build another version there."""
    shutil.rmtree(source / "built")
    make(source / "built", CONTENTS | {"vote.js": f"vote({number})".encode()})


def store_in(tmp_path: Path, in_use: Collection[str] = ()) -> PageStore:
    """A store with a folder of its own, kept from one call to the next."""
    (tmp_path / "kept").mkdir(mode=0o700, exist_ok=True)
    return PageStore(tmp_path / "kept", in_use=lambda: in_use)


def take(store: PageStore, source: Path) -> str:
    """Take the page that is built in `source`."""
    return store.take(source, source / "built")


def test_a_version_is_whole_and_its_owner_s_alone(tmp_path: Path, source: Path) -> None:
    """What was built later changes nothing in it, and taking the same again changes nothing either."""
    store = store_in(tmp_path)
    name = take(store, source)
    before, _ = open_page(tmp_path / "kept" / name)
    assert take(store, source) == name
    build(source, 1)
    (source / "templates" / "vote.html").write_text("{{ nothing }}")

    after, renderer = open_page(tmp_path / "kept" / name)

    assert after == before
    assert b"<h1" in renderer.page("home", "en")
    assert name.startswith(before.version.replace(" ", ""))
    for path in (tmp_path / "kept").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [name]


def test_other_words_are_another_version(tmp_path: Path, source: Path) -> None:
    """Also before the page is built again."""
    store = store_in(tmp_path)
    first = take(store, source)
    template = source / "templates" / "home.html"
    template.write_text(template.read_text() + "\n<!-- -->\n")

    second = take(store, source)

    assert first.split("-")[0] == second.split("-")[0]
    assert first != second


@pytest.mark.parametrize("broken", ["built/manifest.json", "templates/vote.html", "text/cy.json"])
def test_what_is_not_whole_is_never_taken(tmp_path: Path, source: Path, broken: str) -> None:
    """Nothing of it is left behind."""
    (source / broken).write_text("{{ nothing }}")

    with pytest.raises(PageFault):
        take(store_in(tmp_path), source)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_version_that_was_damaged_is_put_right(tmp_path: Path, source: Path) -> None:
    """By whoever takes it next."""
    store = store_in(tmp_path)
    name = take(store, source)
    (script,) = (tmp_path / "kept" / name / "built").glob("vote-*.js")
    script.write_bytes(b"evil()")

    assert take(store, source) == name
    assert script.read_bytes() == CONTENTS["vote.js"]


def test_the_last_versions_stay_and_those_in_use(tmp_path: Path, source: Path) -> None:
    """Others go, and so does what a crash left."""
    names: list[str] = []
    store = store_in(tmp_path, in_use=names[:1])
    left = tmp_path / "kept" / ".draft-left"
    left.mkdir()
    os.utime(left, (1, 1))
    for number in range(VERSIONS_KEPT + 3):
        build(source, number)
        names.append(take(store, source))
        os.utime(tmp_path / "kept" / names[-1], (number, number))
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {*names[-VERSIONS_KEPT:]}

    spared = store_in(tmp_path, in_use=[names[-VERSIONS_KEPT]])
    build(source, 100)
    names.append(take(spared, source))
    assert names[-VERSIONS_KEPT - 1] in {path.name for path in (tmp_path / "kept").iterdir()}


def test_what_was_chosen_stays_when_the_next_is_no_page(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is alarmed once, and the next good one is taken."""
    alarms: list[object] = []
    monkeypatch.setattr(page_store.log, "alarm", lambda _what, **facts: alarms.append(facts["kept"]))
    monkeypatch.setattr(built_page, "FOLDER", source / "built")
    monkeypatch.setattr(PageStore.take, "__defaults__", (source, None))
    chosen = Chosen(store_in(tmp_path), tmp_path / "named")
    chosen.take()
    first = chosen.name
    assert named_in(tmp_path / "named") == first != ""

    (source / "built" / "manifest.json").unlink()
    chosen.take()
    chosen.take()
    assert (alarms, named_in(tmp_path / "named")) == ([first], first)

    make(source / "built", more="x")
    chosen.take()
    assert named_in(tmp_path / "named") == chosen.name != first


async def test_a_page_that_is_built_later_is_served_then(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the parent and by the process that waits for it, without a restart."""
    monkeypatch.setattr(page_store, "LOOK_S", 0.01)
    monkeypatch.setattr(page_finder, "LOOK_S", 0.01)
    monkeypatch.setattr(built_page, "FOLDER", source / "built")
    monkeypatch.setattr(PageStore.take, "__defaults__", (source, None))
    (source / "built").rename(source / "not-yet")
    stop = Stop()
    chosen = Chosen(store_in(tmp_path), tmp_path / "named")
    chosen.take()
    adopted: list[BuiltPage | None] = []

    def adopt(page: BuiltPage | None, renderer: Renderer | None) -> None:
        assert renderer is not None
        adopted.append(page)

    finder = Finder(adopt, tmp_path / "kept", tmp_path / "named")
    finder.look()
    assert (chosen.name, adopted) == ("", [None])

    (source / "not-yet").rename(source / "built")
    looking = asyncio.create_task(chosen.keep_looking(stop))
    await asyncio.wait_for(finder.look_until_found(SystemClock()), 10)
    stop.request()
    await looking

    assert adopted == [None, built_page.read(source / "built")]
    assert chosen.name
