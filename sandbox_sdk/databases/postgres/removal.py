"""Removing a sandbox's role, whatever it left behind."""

import time

from psycopg import errors, sql

from .admin import Admin, Connection, execute, raw

TERMINATION_S = 5.0
POLL_S = 0.02

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"

WHERE_IT_IS_NAMED = """
SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
JOIN pg_roles r ON r.oid = s.refobjid
WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = %s AND d.datallowconn
"""

PREPARED = (
    "SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts "
    "WHERE database = current_database()"
)


def end_sessions(admin: Admin, connection: Connection, role: str) -> None:
    """Ends a role's sessions with what they run, and waits until they are gone."""
    deadline = time.monotonic() + TERMINATION_S
    while connection.execute(raw(END_SESSIONS), [role]).fetchall() and time.monotonic() < deadline:
        admin.pause(POLL_S)


def role_exists(connection: Connection, role: str) -> bool:
    """Whether there is a role of that name."""
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    return found is not None


def drop_role(admin: Admin, connection: Connection, role: str) -> None:
    """Drops a role, and first what it owns or was granted in any database. Idempotent."""
    statement = sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role))
    try:
        connection.execute(statement)
    except errors.DependentObjectsStillExist:
        places = connection.execute(raw(WHERE_IT_IS_NAMED), [role]).fetchall()
        for (place,) in places:
            with admin.connected(place) as inside:
                execute(inside, [disown(role)])
        connection.execute(statement)


def disown(role: str) -> sql.Composed:
    """Drops what a role owns in the connected database, and takes what it was granted there."""
    return sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role))


def end_prepared(admin: Admin, dbname: str) -> None:
    """Rolls back transactions prepared in a database; they would keep it from being dropped."""
    with admin.connected(dbname) as inside:
        rows = inside.execute(raw(PREPARED)).fetchall()
        for (text,) in rows:
            inside.execute(raw(text))
