"""Settings: defaults without any, and every fault in one go."""

import click
import pytest

from intake.settings import Settings
from ops.supervisor import STOP_SECONDS


def test_defaults() -> None:
    """Nothing needs to be set."""
    assert Settings.from_environment({}) == Settings()


def test_processes_share_what_one_address_may_try() -> None:
    """More processes never let more refusals through, rounding apart; one process keeps the whole."""
    whole = Settings(failures_per_minute=10)

    shares = [whole.of_one(processes).failures_per_minute for processes in (1, 2, 3, 20)]
    assert shares == [10, 5, 4, 1]


def test_stopping_waits_for_whatever_may_be_under_way() -> None:
    """A head, its body and the queue, all as slow as allowed; with the defaults `ballot up` is as patient."""
    slow = Settings(head_s=120.0, body_s=120.0, confirm_s=60.0)

    assert slow.drain_s > slow.head_s + slow.body_s + slow.confirm_s
    assert slow.stop_s > slow.drain_s
    assert Settings().stop_s < STOP_SECONDS


def test_all_faults_at_once() -> None:
    """Every wrong setting is named in the one message."""
    wrong = {"BALLOT_CONFIRM_SECONDS": "soon", "BALLOT_PROXY_HOPS": "-1", "BALLOT_INFLIGHT_MAX": "0"}

    with pytest.raises(click.ClickException) as caught:
        Settings.from_environment(wrong)

    assert all(name in caught.value.message for name in wrong)


def test_settings_that_do_not_go_together() -> None:
    """A certificate without a key, and two ways of knowing the client's address, are refused."""
    wrong = {
        "BALLOT_TLS_CERTIFICATE": "vote.pem",
        "BALLOT_PROXY_HOPS": "1",
        "BALLOT_PROXY_PROTOCOL": "required",
    }

    with pytest.raises(click.ClickException) as caught:
        Settings.from_environment(wrong)

    told = caught.value.message.splitlines()
    assert len(told) == 2
    assert "BALLOT_TLS_KEY" in told[0]
    assert "BALLOT_PROXY_PROTOCOL and BALLOT_PROXY_HOPS" in told[1]
    assert Settings.from_environment({"BALLOT_PROXY_PROTOCOL": "required"}).proxied
