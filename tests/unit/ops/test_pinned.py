"""A published key is what was published, or said to be damaged."""

import json
import os
from pathlib import Path

import click
import pytest

from ballot.encoding import b64encode
from ballot.suite import SigningKey, key_id
from ops.pinned import pinned_key

KEY = SigningKey.from_seed(os.urandom(32)).public
WHOLE = json.dumps({"id": key_id(KEY), "use": "receipts", "alg": "Ed25519", "public_key": b64encode(KEY)})


def test_a_published_key_is_read(tmp_path: Path) -> None:
    """What there is; None is said of what there is not."""
    path = tmp_path / "receipts.json"
    assert pinned_key(path) is None

    path.write_text(WHOLE)

    assert pinned_key(path) == KEY


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", WHOLE[:-20], WHOLE.replace(key_id(KEY), "0" * 16), '{"public_key": 7}', "\u00ff"],
)
def test_a_damaged_key_is_named(tmp_path: Path, content: str) -> None:
    """Cut short, edited or something else: one sentence, and no key."""
    path = tmp_path / "receipts.json"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(click.ClickException, match=r"receipts\.json is damaged"):
        pinned_key(path)
