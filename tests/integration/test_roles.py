"""Verbs by role, read from the catalogues of the running clusters: what no role may do, who may come in."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Literal

import asyncpg
import pytest

from runtime import postgres
from runtime.addresses import BACKUP, CLUSTERS, OWNER

if TYPE_CHECKING:
    from runtime.addresses import Cluster
    from tests.conftest import Stack

ROLES: dict[Cluster, tuple[str, ...]] = {
    "voterdb": (
        "ballot_worker",
        "ballot_desk",
        "ballot_monitor",
        "ballot_checker",
        "ballot_trimmer",
        "ballot_recovery",
        "ballot_backup",
    ),
    "userdb": ("ballot_people", "ballot_complaints", "ballot_backup"),
}
Verb = Literal["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"]
STATEMENTS: dict[Verb, str] = {
    "SELECT": "SELECT * FROM ballot.votes",
    "INSERT": "INSERT INTO ballot.votes DEFAULT VALUES",
    "UPDATE": "UPDATE ballot.votes SET sealed = ''",
    "DELETE": "DELETE FROM ballot.votes",
    "TRUNCATE": "TRUNCATE ballot.votes",
}
CHANGING = """
SELECT r.rolname, c.oid::regclass::text AS relation, p AS verb
FROM pg_roles r, pg_class c, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
WHERE r.rolname <> $1 AND r.rolname NOT LIKE 'pg\\_%' AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND c.relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND (has_table_privilege(r.oid, c.oid, p)
       OR (p = 'UPDATE' AND has_any_column_privilege(r.oid, c.oid, p)))
"""
POWERS = """
SELECT rolname FROM pg_roles
WHERE rolname <> $1 AND rolname NOT LIKE 'pg\\_%'
  AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls
       OR (rolreplication AND rolname <> 'ballot_backup'))
"""
MEMBERSHIPS = """
SELECT member::regrole::text FROM pg_auth_members
WHERE member::regrole::text NOT LIKE 'pg\\_%' AND member::regrole::text <> $1
"""


@pytest.mark.parametrize("verb", list(STATEMENTS))
async def test_the_worker_has_no_verb_on_votes(stack: Stack, verb: Verb) -> None:
    """As the worker's role every statement on the votes table is refused."""
    connection = await postgres.connect(stack.servers, "voterdb", "ballot_worker")
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(STATEMENTS[verb])
    finally:
        await connection.close()


@pytest.mark.parametrize("cluster", CLUSTERS)
async def test_nobody_but_the_owner_can_change_or_remove_a_row(stack: Stack, cluster: Cluster) -> None:
    """No other role may update, delete, truncate or hook into any table or column, now or by membership."""
    connection = await postgres.connect(stack.servers, cluster, OWNER)
    try:
        assert await connection.fetch(CHANGING, OWNER) == []
        assert await connection.fetch(POWERS, OWNER) == []
        assert await connection.fetch(MEMBERSHIPS, OWNER) == []
    finally:
        await connection.close()


@pytest.mark.parametrize("cluster", CLUSTERS)
async def test_connect_is_revoked_from_public(stack: Stack, cluster: Cluster) -> None:
    """A role without a grant of its own can connect to none of the cluster's databases."""
    connection = await postgres.connect(stack.servers, cluster, OWNER)
    try:
        await connection.execute("CREATE ROLE nobody_in_particular")
        open_to_all = await connection.fetch(
            "SELECT datname FROM pg_database WHERE datallowconn "
            "AND has_database_privilege('nobody_in_particular', oid, 'CONNECT')"
        )
        assert open_to_all == []
    finally:
        await connection.execute("DROP ROLE nobody_in_particular")
        await connection.close()


@pytest.mark.parametrize("cluster", CLUSTERS)
async def test_no_role_exists_on_both_clusters(stack: Stack, cluster: Cluster) -> None:
    """Each cluster has its own roles and no more; only owner and backup are on both, with other passwords."""
    connection = await postgres.connect(stack.servers, cluster, OWNER)
    try:
        rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'")
    finally:
        await connection.close()

    assert {row["rolname"] for row in rows} == {OWNER, *ROLES[cluster]}
    for both in (OWNER, BACKUP):
        passwords = {stack.home.password(f"{name}-{both}").reveal() for name in CLUSTERS}
        assert len(passwords) == len(CLUSTERS)


@pytest.mark.parametrize(("cluster", "other"), list(itertools.permutations(CLUSTERS)))
async def test_one_clusters_credentials_do_not_open_the_other(
    stack: Stack, cluster: Cluster, other: Cluster
) -> None:
    """Every role's user and password, the owner's too, are refused by the other cluster."""
    for role in (*ROLES[cluster], OWNER):
        _, password = stack.servers.credentials(cluster, role)
        address = stack.servers.postgres(other)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=address.host,
                port=address.port,
                user=role,
                password=password.reveal(),
                database=address.database,
                ssl=False,
            )


async def test_no_role_reaches_another_database(stack: Stack) -> None:
    """A service's role is let into its one database only, not into those that every cluster has."""
    for cluster, roles in ROLES.items():
        address = stack.servers.postgres(cluster)
        for role in roles:
            _, password = stack.servers.credentials(cluster, role)
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await asyncpg.connect(
                    host=address.host,
                    port=address.port,
                    user=role,
                    password=password.reveal(),
                    database="postgres",
                    ssl=False,
                )


async def test_no_function_is_open_to_everybody(stack: Stack) -> None:
    """A function of ours is executed by the roles it was granted to, never by PUBLIC."""
    connection = await postgres.connect(stack.servers, "voterdb", OWNER)
    try:
        rows = await connection.fetch(
            "SELECT p.oid::regprocedure::text FROM pg_proc p, "
            "LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a "
            "WHERE p.pronamespace::regnamespace::text = 'ballot' AND a.grantee = 0"
        )
    finally:
        await connection.close()

    assert rows == []


NOBODY_MAY = {
    "a temporary table": "CREATE TEMP TABLE t (a int)",
    "a large object": "SELECT lo_create(0)",
    "a large object of its own": "SELECT lo_from_bytea(0, 'x')",
    "the turnout reader's place": "SELECT pg_try_advisory_lock(7126401853)",
    "the place, shared": "SELECT pg_try_advisory_lock_shared(7126401853)",
    "the place, for a transaction": "SELECT pg_advisory_xact_lock(7126401853)",
    "an attempt's address": "SELECT sealed_ip FROM ballot.attempts",
    "a vote's address": "SELECT sealed_ip FROM ballot.ip_records",
}


@pytest.mark.parametrize("statement", NOBODY_MAY.values(), ids=NOBODY_MAY)
@pytest.mark.parametrize("role", ROLES["voterdb"])
async def test_what_no_role_may_do(stack: Stack, role: str, statement: str) -> None:
    """Room outside the tables, the turnout reader's place and any address are refused to every role."""
    connection = await postgres.connect(stack.servers, "voterdb", role)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ["ballot_desk", "ballot_checker"])
async def test_attempts_are_read_without_their_address(stack: Stack, role: str) -> None:
    """Whoever looks at the books sees what was tried, when and with which credential; not from where."""
    connection = await postgres.connect(stack.servers, "voterdb", role)
    try:
        await connection.fetch("SELECT ballot, kind, outcome, credential_digest, at_us FROM ballot.attempts")
        await connection.fetchval("SELECT count(*) FROM ballot.attempts")
    finally:
        await connection.close()
