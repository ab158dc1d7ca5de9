"""The desk's key: made once, its public half pinned, and neither ever replaced."""

from pathlib import Path

import click
import pytest

from runtime.home import Home
from scrutineer.desk_key import desk_key


def test_the_desks_pinned_key_is_never_replaced(tmp_path: Path) -> None:
    """A lost desk key, or another's public file, is named; neither file is made anew."""
    home = Home(tmp_path / "home")
    home.make()
    desk_key(home)
    pinned, key = home.public_key_file.read_bytes(), home.secrets / "desk.key"
    kept = key.read_text()

    key.unlink()
    with pytest.raises(click.ClickException, match=r"desk\.key is missing"):
        desk_key(home)
    key.write_text("00" * 32 + "\n")
    with pytest.raises(click.ClickException, match=r"desk\.json does not hold the public half of"):
        desk_key(home)

    assert home.public_key_file.read_bytes() == pinned
    key.write_text(kept)
    desk_key(home)
