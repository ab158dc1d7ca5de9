"""Every right that anybody but the owner has in a cluster, a line each; `kept_rights` has the right ones.

Tables, columns, functions, schemas, the database, what future objects would get, memberships, settings,
replication, and objects that are not the owner's. Of what PostgreSQL brings itself what it does not give from
the beginning. And what keeps those rights in bounds, as `kept_functions` has it: every function and trigger
of ours with a digest of what it says, rules, and triggers and constraints that are off.
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
brought AS (SELECT oid, nspname FROM pg_namespace WHERE nspname = 'pg_catalog'),
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
SELECT format('%s may %s %s.%s%s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END,
  lower(a.privilege_type), t.nspname, t.named, CASE WHEN a.is_grantable THEN ' and pass it on' ELSE '' END)
  FROM (
   SELECT n.nspname, p.proname || '/' || p.pronargs AS named, p.proowner AS owner, p.proacl AS rights,
    coalesce(i.initprivs, acldefault('f', p.proowner)) AS given
    FROM pg_proc p JOIN brought n ON n.oid = p.pronamespace
    LEFT JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass
   UNION ALL SELECT n.nspname, c.relname, c.relowner, c.relacl,
    coalesce(i.initprivs, acldefault('r', c.relowner))
    FROM pg_class c JOIN brought n ON n.oid = c.relnamespace
    LEFT JOIN pg_init_privs i ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
   UNION ALL SELECT n.nspname, c.relname || '.' || a.attname, c.relowner, a.attacl, i.initprivs
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN brought n ON n.oid = c.relnamespace
    LEFT JOIN pg_init_privs i
      ON i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = a.attnum
  ) t, aclexplode(t.rights) a LEFT JOIN pg_roles r ON r.oid = a.grantee
 WHERE a.grantee <> t.owner AND (a.grantee = 0 OR r.rolname NOT LIKE 'pg\_%')
   AND NOT EXISTS (SELECT FROM aclexplode(t.given) g WHERE (g.grantee, g.privilege_type, g.is_grantable)
     = (a.grantee, a.privilege_type, a.is_grantable))
UNION
SELECT format('%s may %s %s%s', CASE a.grantee WHEN 0 THEN 'everybody' ELSE a.grantee::regrole::text END,
  lower(a.privilege_type), s.parname, CASE WHEN a.is_grantable THEN ' and pass it on' ELSE '' END)
  FROM pg_parameter_acl s, aclexplode(s.paracl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
 WHERE r.rolname IS DISTINCT FROM $1 AND r.rolsuper IS NOT TRUE
UNION
SELECT format('%s may replicate', rolname) FROM pg_roles
 WHERE rolreplication AND NOT rolsuper AND rolname <> $1
UNION
SELECT format('function %s.%s/%s is %s', n.nspname, p.proname, p.pronargs, left(encode(sha256(convert_to(
  concat_ws(E'\n', pg_get_function_identity_arguments(p.oid), pg_get_function_result(p.oid), l.lanname,
    p.prosecdef, p.provolatile, p.proconfig::text, p.prosrc), 'UTF8')), 'hex'), 16))
  FROM pg_proc p JOIN ours n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
UNION
SELECT format('trigger %s on %s.%s is %s, %s', t.tgname, n.nspname, c.relname,
  CASE t.tgenabled WHEN 'O' THEN 'on' WHEN 'D' THEN 'off' ELSE 'on at times' END,
  left(encode(sha256(convert_to(pg_get_triggerdef(t.oid), 'UTF8')), 'hex'), 16))
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN ours n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal
UNION
SELECT format('constraint %s on %s.%s is off', x.conname, n.nspname, c.relname)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN ours n ON n.oid = c.relnamespace
  JOIN pg_constraint x ON x.oid = t.tgconstraint WHERE t.tgisinternal AND t.tgenabled <> 'O'
UNION
SELECT format('rule %s on %s.%s', w.rulename, n.nspname, c.relname)
  FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN ours n ON n.oid = c.relnamespace
 WHERE w.rulename <> '_RETURN'
UNION
SELECT format('%s is a member of %s', m.rolname, g.rolname)
  FROM pg_auth_members x JOIN pg_roles m ON m.oid = x.member JOIN pg_roles g ON g.oid = x.roleid
 WHERE m.rolname NOT LIKE 'pg\_%' AND m.rolname <> $1
"""


async def found(connection: asyncpg.Connection) -> frozenset[str]:
    """The rights in this cluster, a line each."""
    return frozenset(row["says"] for row in await connection.fetch(RIGHTS, OWNER))
