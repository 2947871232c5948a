"""Giving a database to a role: everything in it but what extensions and the engine own."""

from psycopg import sql

from .admin import Connection, raw

# A sequence of a column follows its table, a table's row type too.
OBJECTS = """
SELECT format('ALTER SCHEMA %%I OWNER TO %%I', n.nspname, %(role)s::text)
FROM pg_namespace n WHERE n.nspname !~ '^(pg_|information_schema$)' AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid
          AND e.deptype = 'e')
UNION ALL
SELECT format('ALTER %%s %%I.%%I OWNER TO %%I',
              CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                   WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE'
                   WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END,
              n.nspname, c.relname, %(role)s::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^(pg_|information_schema$)' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c')
      AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid
          AND e.deptype = 'e')
      AND NOT (c.relkind = 'S' AND EXISTS (
          SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
          AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')))
UNION ALL
SELECT format('ALTER TYPE %%I.%%I OWNER TO %%I', n.nspname, t.typname, %(role)s::text)
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname !~ '^(pg_|information_schema$)' AND t.typtype IN ('d', 'e', 'r') AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid
          AND e.deptype = 'e')
UNION ALL
SELECT format('ALTER %%s %%I.%%I(%%s) OWNER TO %%I',
              CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END,
              n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), %(role)s::text)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^(pg_|information_schema$)' AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid
          AND e.deptype = 'e')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                      AND d.objid = p.oid AND d.deptype = 'i')
"""  # noqa: E501 - one statement to read


def ownership_statements(connection: Connection, role: str) -> list[sql.Composable]:
    """Statements that make a role the owner of what is in the connected database.

    Functions too: one that runs with its owner's rights must not keep a superuser's, when the
    role decides what stands around it. The database itself stays the operator's, so that the
    role can install no extension.
    """
    rows = connection.execute(raw(OBJECTS), {"role": role}).fetchall()
    return [raw(text) for (text,) in rows]
