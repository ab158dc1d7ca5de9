"""Settings are read once, and everything wrong with them is said at once."""

from __future__ import annotations

import click
import pytest

from runtime.addresses import configured
from runtime.environment import Environment


def test_defaults_hold_when_nothing_is_set() -> None:
    """An empty environment is no fault."""
    env = Environment({})

    assert env.text("A", "x") == "x"
    assert env.integer("B", 7, 1, 9) == 7
    assert env.seconds("C", 0.5) == 0.5
    assert env.flag("D", default=True) is True
    assert env.url("E", "http://localhost:8080") == "http://localhost:8080"
    env.done()


def test_values_are_read() -> None:
    """Each kind of setting is read as what it is."""
    env = Environment({"A": "b", "B": "3", "C": "1.5", "D": "off", "E": "https://vote.example"})

    assert env.text("A", choices=("a", "b")) == "b"
    assert env.integer("B", 7, 1, 9) == 3
    assert env.seconds("C", 0.5) == 1.5
    assert env.flag("D", default=True) is False
    assert env.url("E") == "https://vote.example"
    env.done()


def test_all_faults_are_reported_at_once() -> None:
    """One exception names every bad setting; a URL, which may hold a password, is not repeated."""
    env = Environment(
        {"A": "c", "B": "10", "C": "soon", "D": "maybe", "E": "ftp://u:hunter2@h", "F": "\u0661"}
    )
    env.text("A", choices=("a", "b"))
    env.integer("B", 7, 1, 9)
    env.seconds("C", 0.5)
    env.flag("D")
    env.url("E")
    env.integer("F", 1, 0, 9)

    with pytest.raises(click.ClickException) as caught:
        env.done()

    lines = caught.value.message.splitlines()
    assert [line[0] for line in lines] == ["A", "B", "C", "D", "E", "F"]
    assert "hunter2" not in caught.value.message


THREE = {
    "BALLOT_VALKEY_URL": "rediss://admin:s%40crt@queue.example/2",
    "BALLOT_VOTERDB_URL": "postgresql://db1.example:6432/votes?sslmode=verify-full",
    "BALLOT_USERDB_URL": "postgresql://db2.example",
}


def test_configured_servers_are_parsed() -> None:
    """Host, port, database, TLS and userinfo come from the URLs; what is absent has the usual default."""
    found = configured(THREE)

    assert found is not None
    assert found.valkey.url == "rediss://queue.example:6379/2"
    assert (found.voterdb.port, found.voterdb.database, found.voterdb.sslmode) == (
        6432,
        "votes",
        "verify-full",
    )
    assert (found.userdb.port, found.userdb.database, found.userdb.sslmode) == (5432, "userdb", "prefer")
    assert list(found.userinfo) == ["valkey"]
    assert found.userinfo["valkey"].password.reveal() == "s@crt"
    assert "s@crt" not in repr(found)


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    """Several hosts share one user and password; each gets the usual port unless it names its own."""
    env = {
        **THREE,
        "BALLOT_VALKEY_URL": "valkeys-cluster://worker:s%40crt@a.example:7001,b.example,[::1]:7003",
    }
    found = configured(env)

    assert found is not None
    assert found.valkey.cluster
    assert found.valkey.tls
    assert found.valkey.seeds == (("a.example", 7001), ("b.example", 6379), ("::1", 7003))
    assert (found.valkey.host, found.valkey.port) == ("a.example", 7001)
    assert found.valkey.url == "valkeys-cluster://a.example:7001,b.example:6379,[::1]:7003"
    assert found.userinfo["valkey"].password.reveal() == "s@crt"


@pytest.mark.parametrize(
    "address", ["u:hunter2@a:1,:2", "u:hunter2@a:1,,b:2", "u:hunter2@a:x,b:2", "u:hunter2@"]
)
def test_a_cluster_with_a_host_that_is_none_is_a_mistake(address: str) -> None:
    """One sentence says what is expected; it repeats nothing of the address, which may hold a password."""
    env = {**THREE, "BALLOT_VALKEY_URL": f"valkey-cluster://{address}"}

    with pytest.raises(click.ClickException, match="BALLOT_VALKEY_URL must be an address such as") as caught:
        configured(env)

    assert "hunter2" not in caught.value.message


def test_a_cluster_has_one_database() -> None:
    """A database number at the end of a Cluster's address is refused."""
    env = {**THREE, "BALLOT_VALKEY_URL": "valkey-cluster://a:1,b:2/3"}

    with pytest.raises(click.ClickException, match="a Cluster has the database 0 alone"):
        configured(env)


def test_no_configured_server_means_embedded() -> None:
    """With none of the three set there is nothing configured."""
    assert configured({"BALLOT_HOME": "x", "BALLOT_VALKEY_URL": ""}) is None


@pytest.mark.parametrize("left_out", list(THREE))
def test_some_but_not_all_is_a_mistake(left_out: str) -> None:
    """Two of three URLs are refused with a sentence that names the third."""
    env = {name: url for name, url in THREE.items() if name != left_out}

    with pytest.raises(click.ClickException, match=f"{left_out} must be set too"):
        configured(env)


@pytest.mark.parametrize("url", ["http://queue", "redis://", "redis://h:0", "redis://h:x", "redis://h/queue"])
def test_a_wrong_url_is_a_mistake(url: str) -> None:
    """A URL of another scheme, without host or with an impossible port is refused by its setting's name."""
    with pytest.raises(click.ClickException, match="BALLOT_VALKEY_URL"):
        configured({**THREE, "BALLOT_VALKEY_URL": url})
