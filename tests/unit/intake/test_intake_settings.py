"""Settings: defaults without any, and every fault in one go."""

import click
import pytest

from intake.settings import Settings


def test_defaults() -> None:
    """Nothing needs to be set."""
    assert Settings.from_environment({}) == Settings()


def test_all_faults_at_once() -> None:
    """Every wrong setting is named in the one message."""
    wrong = {"BALLOT_CONFIRM_SECONDS": "soon", "BALLOT_PROXY_HOPS": "-1", "BALLOT_INFLIGHT_MAX": "0"}

    with pytest.raises(click.ClickException) as caught:
        Settings.from_environment(wrong)

    assert all(name in caught.value.message for name in wrong)
