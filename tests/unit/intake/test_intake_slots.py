"""The map of a Cluster, read from what one of its nodes says."""

from redis.crc import key_slot

from ballot import handoff
from intake.routing import Map, name_of, parse, slot_of

OK = b"cluster_state:ok\r\ncluster_current_epoch:7\r\n"
ASKED = ("seed", 7000)


def node(
    port: int, *, role: bytes = b"master", health: bytes = b"online", host: bytes = b"10.0.0.1"
) -> list[object]:
    """One node as CLUSTER SHARDS lists it."""
    return [
        *(b"id", b"x", b"port", port, b"tls-port", port + 1, b"ip", host, b"endpoint", host),
        *(b"role", role, b"replication-offset", 1, b"health", health),
    ]


def shard(slots: list[int], *nodes: list[object]) -> list[object]:
    """One shard as CLUSTER SHARDS lists it."""
    return [b"slots", slots, b"nodes", list(nodes), b"id", b"y"]


def read(*shards: list[object], tls: bool = False) -> Map:
    """The map of a working Cluster."""
    found = parse(OK, shards, asked=ASKED, tls=tls)
    assert found is not None
    return found


def test_slots_have_owners_and_replicas_have_none() -> None:
    """Both ends of a range are in it; a primary without slots is known; a slot nobody has leaves a gap."""
    found = read(
        shard([0, 99, 200, 200], node(1), node(2, role=b"replica")),
        shard([100, 199], node(3)),
        shard([], node(4)),
        shard([], node(5, health=b"fail")),
    )

    assert found.owners[0] == found.owners[99] == found.owners[200] == ("10.0.0.1", 1)
    assert found.owners[100] == ("10.0.0.1", 3)
    assert found.owners[201] is None
    assert not found.whole
    assert {port for _, port in found.primaries} == {1, 3, 4}
    assert {port for _, port in found.deciding} == {1, 3}
    assert found.epoch == 7


def test_a_failed_primary_keeps_its_slots_until_another_has_them() -> None:
    """Until then its votes are refused; they belong nowhere else."""
    found = read(shard([0, 16_383], node(1, health=b"fail"), node(2, role=b"replica")))

    assert found.whole
    assert {port for _, port in found.deciding} == {1}


def test_a_node_without_a_name_is_where_we_asked() -> None:
    """A lone node was told no address; `?` is how others say that they have none."""
    for unnamed in (b"", b"?"):
        found = read(shard([0, 16_383], node(6, host=unnamed)))
        assert name_of(next(iter(found.deciding))) == "seed:6"


def test_tls_has_ports_of_its_own() -> None:
    """With TLS the other port is used."""
    assert read(shard([0, 16_383], node(6)), tls=True).owners[0] == ("10.0.0.1", 7)


def test_who_sees_no_working_cluster_tells_nothing() -> None:
    """A node cut off from the majority has an old map."""
    assert parse(b"cluster_state:fail\r\n", [], asked=ASKED, tls=False) is None


def test_a_shard_is_in_one_slot() -> None:
    """All its keys are in the slot of its tag; MOVED corrects the map for that slot alone."""
    keys = handoff.shard_keys("b", 3)
    assert {key_slot(key.encode()) for key in keys} == {slot_of("b", 3)}

    found = read(shard([0, 16_383], node(1)))
    found.moved(5, ("other", 9))
    assert (found.owners[4], found.owners[5]) == (("10.0.0.1", 1), ("other", 9))
