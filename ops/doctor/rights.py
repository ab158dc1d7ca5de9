"""Every right that anybody but the owner has in a cluster, a line each; `kept_rights` has the right ones.

Tables, columns, functions, schemas, the database, what future objects would get, memberships, and objects
that are not the owner's. Of what PostgreSQL brings itself only what was given to a role by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runtime.addresses import OWNER

if TYPE_CHECKING:
    import asyncpg

RIGHTS = r"""
WITH ours AS (
  SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
   WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'),
things (named, owner, rights) AS (
  SELECT n.nspname || '.' || c.relname, c.relowner,
   coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  UNION ALL SELECT n.nspname || '.' || c.relname || '.' || a.attname, c.relowner, a.attacl
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ours n ON n.oid = c.relnamespace
   WHERE a.attacl IS NOT NULL AND NOT a.attisdropped
  UNION ALL SELECT n.nspname || '.' || p.proname || '/' || p.pronargs, p.proowner,
   coalesce(p.proacl, acldefault('f', p.proowner)) FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace
  UNION ALL SELECT 'schema ' || nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM ours
  UNION ALL SELECT 'the database', datdba, coalesce(datacl, acldefault('d', datdba)) FROM pg_database
   WHERE datname = current_database()
  UNION ALL SELECT 'future objects of kind ' || defaclobjtype::text, defaclrole, defaclacl FROM pg_default_acl
   WHERE defaclacl IS NOT NULL
)
SELECT format('%s may %s %s%s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END,
  lower(a.privilege_type), t.named, CASE WHEN a.is_grantable THEN ' and pass it on' ELSE '' END) AS says
  FROM things t, aclexplode(t.rights) a WHERE a.grantee <> t.owner
UNION
SELECT format('%s owns %s', pg_get_userbyid(owner), named) FROM things
 WHERE named NOT IN ('the database', 'schema public') AND pg_get_userbyid(owner) <> $1
UNION
SELECT format('%s may execute pg_catalog.%s/%s', a.grantee::regrole, p.proname, p.pronargs)
  FROM pg_proc p, aclexplode(p.proacl) a, pg_roles r
 WHERE p.pronamespace = 'pg_catalog'::regnamespace AND r.oid = a.grantee AND a.grantee <> p.proowner
   AND r.rolname NOT LIKE 'pg\_%'
UNION
SELECT format('%s is a member of %s', m.rolname, g.rolname)
  FROM pg_auth_members x JOIN pg_roles m ON m.oid = x.member JOIN pg_roles g ON g.oid = x.roleid
 WHERE m.rolname NOT LIKE 'pg\_%' AND m.rolname <> $1
"""


async def found(connection: asyncpg.Connection) -> frozenset[str]:
    """The rights in this cluster, a line each."""
    return frozenset(row["says"] for row in await connection.fetch(RIGHTS, OWNER))
