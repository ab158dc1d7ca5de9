"""What the model of the queue loses and keeps when it is killed, copied, followed and promoted.

No server is asked here: when a real one loses what is decided by its disk, and the model is told.
"""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as ConnectionLostError
from redis.exceptions import ReadOnlyError

from ballot import handoff
from intake.durability import QUESTIONS, Durability, Facts
from intake.gate import Unready
from tests.simulation.queue_model import STILL, Pending, QueueModel, Session

STREAM = handoff.votes_key("b", 0)
NOW_US = 1_750_000_000_000_000


def model() -> QueueModel:
    """An empty server."""
    return QueueModel(lambda: NOW_US)


def written(server: QueueModel, *values: int) -> Session:
    """A session that wrote these fields."""
    session = server.session()
    for value in values:
        server.execute(session, ("HSET", "h", str(value), "1"))
    return session


def fields(server: QueueModel) -> list[bytes]:
    """What the server holds."""
    found: list[bytes] = server.execute(server.session(), ("HKEYS", "h"))
    return found


def test_what_was_not_synced_is_lost_with_the_server() -> None:
    """A crash keeps what is on disk, and no more than it is told of the rest; its connections are gone."""
    server = model()
    session = written(server, 1)
    server.sync()
    server.execute(session, ("HSET", "h", "2", "1"))
    server.execute(session, ("HSET", "h", "3", "1"))

    server.crash(keep=2)

    with pytest.raises(ConnectionLostError):
        server.execute(session, ("PING",))
    with pytest.raises(ConnectionLostError):
        server.session()
    server.restart("2" * 40)
    assert fields(server) == [b"1", b"2"]
    assert server.run_id == server.replication_id == "2" * 40


def test_a_transaction_is_on_disk_whole_or_not_at_all() -> None:
    """What EXEC does is one place in the log, as it is one block in the server's file."""
    server = model()
    session = server.session()
    for command in (("MULTI",), ("HSET", "h", "1", "1"), ("HSET", "h", "2", "1")):
        server.execute(session, command)
    assert server.position == 0
    assert server.execute(session, ("EXEC",)) == [1, 1]
    assert server.position == 1


def test_an_older_state_comes_back_as_it_was() -> None:
    """A copy is of its moment, groups and all, whatever the server does afterwards."""
    server = model()
    session = written(server, 1)
    server.execute(session, ("XADD", STREAM, "*", "k", "v"))
    server.execute(session, ("XGROUP", "CREATE", STREAM, "workers", "0"))
    server.execute(session, ("XREADGROUP", "GROUP", "workers", "one", "STREAMS", STREAM, ">"))
    copy = server.copy()
    pending = server.execute(session, ("XPENDING", STREAM, "workers"))
    server.execute(session, ("XACK", STREAM, "workers", pending[1]))
    server.execute(session, ("DEL", "h"))
    server.sync()

    server.restore(copy)
    server.restart("2" * 40)

    assert fields(server) == [b"1"]
    assert server.execute(server.session(), ("XPENDING", STREAM, "workers")) == pending
    assert server.execute(server.session(), ("XADD", STREAM, "*", "k", "v")) == b"%d-1" % (NOW_US // 1000)


def test_a_wait_ends_when_the_replica_has_it_on_disk() -> None:
    """WAIT and WAITAOF are for what their own connection wrote, and may end with less than was asked."""
    server, replica = model(), model()
    replica.follow(server)
    session = written(server, 1)
    server.sync()
    assert server.execute(server.session(), ("WAIT", 1, 10)) == 1, "this connection wrote nothing"

    taken: Any = server.execute(session, ("WAIT", 1, 10))
    kept: Any = server.execute(session, ("WAITAOF", 1, 1, 10))
    assert isinstance(taken, Pending)
    assert isinstance(kept, Pending)
    assert (taken.timeout_us, kept.timeout_us) == (10_000, 10_000)
    assert replica.receive() == 1
    assert taken.poll() is STILL, "the replica has not said so yet"
    replica.acknowledge()
    assert taken.poll() == 1
    assert kept.poll() is STILL
    assert kept.expire() == [1, 0]
    replica.sync()
    replica.acknowledge()
    assert kept.poll() == [1, 1]
    assert server.execute(session, ("WAITAOF", 1, 1, 10)) == [1, 1]


def test_a_promoted_replica_lacks_what_it_did_not_receive() -> None:
    """It goes on with its own run and another history; until then it takes no writes."""
    server, replica = model(), model()
    replica.follow(server)
    written(server, 1)
    server.sync()
    replica.receive()
    written(server, 2)
    server.crash()
    assert isinstance(replica.execute(replica.session(), ("HSET", "h", "3", "1")), ReadOnlyError)

    replica.promote("3" * 40)

    assert fields(replica) == [b"1"]
    written(replica, 3)
    server.restart("2" * 40)
    server.follow(replica)
    assert fields(server) == [b"1", b"3"]
    assert server.replication_id == "3" * 40


def test_the_edges_checks_understand_what_it_says_of_itself() -> None:
    """An edge finds it durable alone, and in want of replicas or with one too many when it is so."""
    server = model()
    facts = Facts.of([server.execute(server.session(), question) for question in QUESTIONS])
    Durability().require(facts, known_run="")
    assert facts.run == handoff.run_name("1" * 40, "1" * 40)
    with pytest.raises(Unready, match="0 replicas in step"):
        Durability(replicas=1).require(facts, known_run="")
    model().follow(server)
    facts = Facts.of([server.execute(server.session(), question) for question in QUESTIONS])
    Durability(replicas=1).require(facts, known_run="")
    with pytest.raises(Unready, match="has replicas"):
        Durability().require(facts, known_run="")
