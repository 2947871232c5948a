"""What PostgreSQL lets everybody do in a database, and how to take it away.

Every role may by default run anonymous code blocks, write large objects to the disk, hold advisory
locks and more, whatever it was granted. A database of our own is hardened; in one that others use
too the same gaps are only named, with the statements that close them, since closing them changes
what those others may do.
"""

from dataclasses import dataclass

from psycopg import sql

from .admin import Connection, execute, raw

VERSION = 1
"""Part of the names of templates: raise it when what `harden` does changes."""

FUNCTIONS = (
    # Large objects: written to the disk even in a read-only transaction.
    r"lo\_%", "loread", "lowrite",
    # Locks in a table that all databases of the server share.
    r"pg\_advisory\_%", r"pg\_try\_advisory\_%",
    # Settings and pauses hidden inside of a query, signals to other sessions.
    "set_config", r"pg\_sleep%", "pg_notify", "pg_cancel_backend", "pg_terminate_backend",
    # Functions that run a query given as text.
    r"query\_to\_xml%", r"cursor\_to\_xml%", r"table\_to\_xml%", r"schema\_to\_xml%",
    r"database\_to\_xml%", "ts_stat",
    # The write-ahead log, and snapshots that keep rows from being cleaned up.
    "pg_logical_emit_message", "pg_export_snapshot", r"pg\_create\_%", r"pg\_switch\_%",
    # The server's files, its configuration, further servers: not everybody's by default.
    r"pg\_read\_%", r"pg\_ls\_%", r"pg\_stat\_file", r"pg\_file\_%", "pg_reload_conf",
    r"pg\_rotate\_logfile%", r"dblink%",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Gap:
    """Something everybody may do. `remedy` is the statement that ends it."""

    what: str
    remedy: str


FUNCTION_GAPS = """
SELECT p.proname::text,
       format('%%s %%I.%%I(%%s)', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
              n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prokind <> 'a' AND p.proname LIKE ANY (%(names)s)
      AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1, 2
"""

# A trigger's function cannot be called, but whoever may use it can make a trigger of it.
DEFINER_GAPS = """
SELECT format('%%I.%%I', n.nspname, p.proname),
       format('%%s %%I.%%I(%%s)', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END,
              n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname !~ '^(pg_|information_schema$)'
      AND has_function_privilege('public', p.oid, 'EXECUTE')
      AND (%(own)s OR p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype))
ORDER BY 1, 2
"""

LANGUAGE_GAPS = """
SELECT lanname::text, format('LANGUAGE %%I', lanname) FROM pg_language
WHERE lanpltrusted AND has_language_privilege('public', oid, 'USAGE') ORDER BY 1
"""

SCHEMA_GAPS = """
SELECT format('%%I', n.nspname), format('SCHEMA %%I', n.nspname) FROM pg_namespace n
WHERE n.nspname !~ '^(pg_|information_schema$)' AND (has_schema_privilege('public', n.oid, 'CREATE')
                       OR %(own)s AND has_schema_privilege('public', n.oid, 'USAGE'))
ORDER BY 1
"""

# An extension's tables are its own matter: it cannot work without what it grants.
TABLE_GAPS = """
SELECT format('%%I.%%I', n.nspname, c.relname),
       format('%%s %%I.%%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
              n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^(pg_|information_schema$)' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
      AND (EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
           OR EXISTS (SELECT FROM pg_attribute t, aclexplode(t.attacl) a
                      WHERE t.attrelid = c.oid AND a.grantee = 0))
ORDER BY 1
"""

TEMPORARY_GAP = """
SELECT datname::text, format('TEMPORARY ON DATABASE %%I', datname) FROM pg_database
WHERE datname = current_database() AND has_database_privilege('public', oid, 'TEMPORARY')
"""

KINDS = (
    ("EXECUTE ON", "call {}", FUNCTION_GAPS),
    ("EXECUTE ON", "call {}, which has its owner's rights", DEFINER_GAPS),
    ("USAGE ON", "write code in the languages {}", LANGUAGE_GAPS),
    ("ALL ON", "use or create things in schema {}", SCHEMA_GAPS),
    ("ALL ON", "use {}", TABLE_GAPS),
    ("", "create temporary tables in database {}", TEMPORARY_GAP),
)

VIEWS_OF_THEIR_OWNER = """
SELECT format('ALTER VIEW %I.%I SET (security_invoker = true)', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND n.nspname !~ '^(pg_|information_schema$)'
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                      AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""


def find_gaps(connection: Connection, *, own: bool) -> list[Gap]:
    """What everybody may do in the connected database and should not.

    `own`: nobody but sandboxes uses it, so that even looking into a schema counts.
    """
    gaps: list[Gap] = []
    parameters = {"names": list(FUNCTIONS), "own": own}
    for privilege, what, query in KINDS:
        rows = connection.execute(raw(query), parameters).fetchall()
        gaps += _gaps(privilege, what, rows)
    return gaps


def _gaps(privilege: str, what: str, rows: list[tuple[str, str]]) -> list[Gap]:
    """One gap for each kind of object, since one statement can only name one kind."""
    by_kind: dict[str, tuple[list[str], list[str]]] = {}
    for name, target in rows:
        kind, _, target_name = target.partition(" ")
        names, targets = by_kind.setdefault(kind, ([], []))
        names.append(name)
        targets.append(target_name)
    gaps: list[Gap] = []
    for kind, (names, targets) in by_kind.items():
        statement = f"REVOKE {privilege} {kind} {', '.join(targets)} FROM PUBLIC"
        gaps.append(Gap(what.format(", ".join(dict.fromkeys(names))), " ".join(statement.split())))
    return gaps


def harden(connection: Connection, *, views: bool) -> None:
    """Takes away from everybody what nobody granted, as far as the operator may.

    `views` makes views act with the rights of who uses them (servers from version 15 on).
    """
    statements: list[sql.Composable] = [raw(gap.remedy) for gap in find_gaps(connection, own=True)]
    if views:
        rows = connection.execute(raw(VIEWS_OF_THEIR_OWNER)).fetchall()
        statements += [raw(text) for (text,) in rows]
    execute(connection, statements)
