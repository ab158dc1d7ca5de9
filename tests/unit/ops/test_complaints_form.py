"""`ballot up` and a home without a complaints key: made where the desk is, said elsewhere, else nothing."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from ballot import complaint
from ballot.encoding import b64decode
from ops.complaints_form import see_to_form
from runtime.home import Home
from scrutineer.desk_key import desk_key

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home whose desk key was made before there were complaints."""
    found = Home(tmp_path / "home")
    found.make()
    desk_key(found)
    monkeypatch.setenv("BALLOT_HOME", str(found.path))
    return found


def test_an_older_home_gets_its_form_when_it_starts(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is made and published as by a desk act, once; there is nothing to say."""
    see_to_form(home)
    published = home.complaints_key_file.read_bytes()
    desk = json.loads(home.public_key_file.read_bytes())["public_key"]
    assert complaint.verify_key(json.loads(published), b64decode(desk))
    see_to_form(home)
    assert home.complaints_key_file.read_bytes() == published
    assert capsys.readouterr().err == ""


def test_where_the_key_cannot_be_made_a_line_says_so(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """The complaints key lost, or the desk's on another machine: one warning, and `ballot up` goes on."""
    with home.keys_made.open("a") as made:
        made.write("complaints.key\n")
    see_to_form(home)
    said = capsys.readouterr().err
    assert "complaints.key is missing" in said
    assert "no complaint form" in said
    see_to_form(Home(home.path, embedded=False))
    assert "no complaint form" in capsys.readouterr().err
    assert not home.complaints_key_file.exists()


def test_a_home_whose_desk_did_nothing_yet_is_left_as_it_is(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its first desk act makes both keys; until then there is no ballot to complain of."""
    for each in (home.secrets, home.public):
        shutil.rmtree(each)
    home.make()
    see_to_form(home)
    assert (capsys.readouterr().err, list(home.secrets.iterdir())) == ("", [])
