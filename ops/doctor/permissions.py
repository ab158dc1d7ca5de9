"""Who may do what on the running servers, against what the migrations and users.acl say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ops.doctor import rights
from ops.doctor.finding import Finding
from ops.doctor.kept_rights import KEPT
from ops.doctor.looking import database, looked, queue
from runtime.addresses import ADMIN, CLUSTERS, OWNER
from runtime.preparation import VALKEY, migration_files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import asyncpg

    from runtime.addresses import Cluster

ACL_FILE = VALKEY / "users.acl"
RUN_ONCE = "run any `ballot` command on the machine that holds the owner's and the admin's passwords"
TAKE_AWAY = "find out who gave it, and take it away"
UNGIVEN = " may replicate"
NAMED_MAX = 20

_ROLE = re.compile(r"CREATE ROLE (\w+) LOGIN")
_REVOKED = re.compile(r"REVOKE EXECUTE ON FUNCTION\s+(.*?)\s+FROM PUBLIC", re.DOTALL)
_FUNCTION = re.compile(r"pg_catalog\.\w+\([^)]*\)")

ROLES = """
SELECT rolname, rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls AS may_all FROM pg_roles
 WHERE rolcanlogin AND rolname <> $1
"""
PUBLIC_MAY = """
SELECT f FROM unnest($1::text[]) AS f WHERE EXISTS (
  SELECT FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
   WHERE p.oid = f::regprocedure AND a.grantee = 0 AND a.privilege_type = 'EXECUTE')
"""


def permissions(home: Path) -> Iterator[Finding]:
    """Roles and functions of both clusters, and the users of the queue."""
    for cluster in CLUSTERS:
        yield from _of_cluster(home, cluster)

    async def of_queue() -> list[Finding]:
        async with queue(home, ADMIN) as client:
            lines = [_text(line) for line in await client.acl_list()]
        return list(users(lines, ACL_FILE.read_text("utf-8")))

    yield from looked("permissions of the queue", of_queue)


def _of_cluster(home: Path, cluster: Cluster) -> list[Finding]:
    async def of_cluster() -> list[Finding]:
        async with database(home, cluster) as connection:
            return [finding async for finding in _look(connection, cluster)]

    return looked(f"permissions of {cluster}", of_cluster)


async def _look(connection: asyncpg.Connection, cluster: Cluster) -> AsyncIterator[Finding]:
    text = "".join(path.read_text("utf-8") for path in migration_files(cluster))
    rows = await connection.fetch(ROLES, OWNER)
    found = {row["rolname"]: row["may_all"] for row in rows}
    wrong = list(roles(cluster, found, set(_ROLE.findall(text))))
    named = [name for each in _REVOKED.findall(text) for name in _FUNCTION.findall(each)]
    may = [row[0] for row in await connection.fetch(PUBLIC_MAY, named)]
    wrong += [Finding("permissions", f"{cluster}: everybody may call {name}", RUN_ONCE) for name in may]
    wrong += compared(cluster, await rights.found(connection), KEPT[cluster])
    for finding in wrong:
        yield finding
    if not wrong:
        said = (
            f"{len(found)} roles as the migrations make them; {len(named)} functions taken from everybody;"
            f" {len(KEPT[cluster])} rights, functions and triggers, and no others"
        )
        yield Finding("permissions", f"{cluster}: {said}")


def roles(cluster: str, found: dict[str, bool], wanted: set[str]) -> Iterator[Finding]:
    """Compare the roles that may log in with those that the migrations make."""
    for name in sorted(wanted - found.keys()):
        yield Finding("permissions", f"{cluster}: the role {name} is missing", RUN_ONCE)
    for name in sorted(found.keys() - wanted):
        if not found[name]:
            yield Finding("permissions", f"{cluster}: the role {name} is none of ours", TAKE_AWAY)
    for name in sorted(name for name in found.keys() & wanted if found[name]):
        yield Finding("permissions", f"{cluster}: the role {name} may do anything", TAKE_AWAY)


def compared(cluster: str, found: frozenset[str], kept: frozenset[str]) -> list[Finding]:
    """Compare the rights in a cluster with those that the migrations give, at most some of each.

    What PostgreSQL itself lets do may be missing: not every owner may give it.
    """
    more = [f"{cluster}: {right}, by no migration" for right in sorted(found - kept)]
    less = [
        f"{cluster}: no longer so: {right}"
        for right in sorted(kept - found)
        if not right.endswith(UNGIVEN) and "pg_catalog." not in right
    ]
    return [
        *(Finding("permissions", says, TAKE_AWAY) for says in _few(more)),
        *(Finding("permissions", says, RUN_ONCE) for says in _few(less)),
    ]


def _few(lines: list[str]) -> list[str]:
    more = len(lines) - NAMED_MAX
    return lines if more <= 0 else [*lines[:NAMED_MAX], f"{lines[0].partition(':')[0]}: and {more} more"]


def users(lines: list[str], file: str) -> Iterator[Finding]:
    """Compare the queue's users with the file: as many, and of each exactly these rules."""
    wanted = dict(map(_rules, (line for line in file.splitlines() if line.startswith("user "))))
    found = dict(map(_rules, lines))
    default = found.pop("default", frozenset())
    wrong = []
    if "on" in default:
        wrong.append(Finding("permissions", "queue: the user default is on", "ACL SETUSER default off"))
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            wrong.append(Finding("permissions", f"queue: the user {name} is missing", RUN_ONCE))
        elif name not in wanted:
            wrong.append(Finding("permissions", f"queue: the user {name} is none of ours", TAKE_AWAY))
        elif more := found[name] - wanted[name] - {"on"}:
            said = f"queue: the user {name} may more than users.acl says: {' '.join(sorted(more))}"
            wrong.append(Finding("permissions", said, RUN_ONCE))
        elif (hashes := _hashes(lines, name)) > 1:
            said = f"queue: the user {name} has {hashes} passwords"
            wrong.append(Finding("permissions", said, TAKE_AWAY))
        elif less := wanted[name] - found[name] - {"on"}:
            said = f"queue: the user {name} may less than users.acl says: {' '.join(sorted(less))}"
            wrong.append(Finding("permissions", said, RUN_ONCE))
    yield from wrong or [Finding("permissions", f"queue: {len(wanted)} users as users.acl has them")]


def _rules(line: str) -> tuple[str, frozenset[str]]:
    """A user and its rules, in any order, as the server or the file spells them; never a password's hash."""
    _, name, *rest = re.findall(r"\([^)]*\)|\S+", line)
    kept = {_spelt(rule) for rule in rest if not rule.startswith(("#", ">", "!"))}
    return name, frozenset(kept - {"sanitize-payload", "resetchannels", "resetkeys", "-@all", "allkeys"})


def _hashes(lines: list[str], name: str) -> int:
    """How many passwords a user may log in with."""
    return sum(rule.startswith("#") for line in lines if line.split()[1] == name for rule in line.split()[2:])


def _spelt(rule: str) -> str:
    """A selector's rules in one order; other rules as they are."""
    if not rule.startswith("("):
        return rule
    parts = set(rule[1:-1].split()) - {"resetchannels", "-@all"}
    return f"({' '.join(sorted(parts))})"


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
