"""The role of one sandbox: what it is, what is set for it, and that it is a stranger elsewhere.

A role may change its own password and most of its own settings, for good. Its attributes, the
settings only a superuser may change, and what it was granted it cannot change; only these are
relied on. The others are comfort, and are set anew with each new password.
"""

import math
import secrets
from dataclasses import dataclass

from psycopg import sql

from sandbox_sdk.databases.access import Access, Database

from .admin import Connection, execute, raw

PASSWORD_BYTES = 32
EXPOSED_CONNECTIONS = 10
"""Connections of programs in the sandbox, beside those of the tools."""
GRACE_S = 5
"""How much later than the tools' own deadlines the server's come."""
BARRIER = "sandboxes_may_not_use_this_database"

# Attributes only a superuser may name of a role that exists, and a sandbox's role never gains.
BORN_WITH = "NOSUPERUSER NOREPLICATION NOBYPASSRLS"

FOREIGN_DATABASES = """
SELECT datname::text FROM pg_database
WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT') AND datname <> %s
      AND datname !~ '^(sbx_[a-z2-7]{26}_|sbxt_[0-9a-f]{16})'
"""

SETTINGS_ELSEWHERE = """
SELECT format('ALTER ROLE %%1$I%%2$s RESET ALL', r.rolname, ' IN DATABASE ' || quote_ident(d.datname))
FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
LEFT JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = %s
"""  # noqa: E501 - one statement to read

MEMBERSHIPS = """
SELECT format('REVOKE %%I FROM %%I', g.rolname, m.rolname)
FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE (g.rolname = %(role)s AND m.rolname <> current_user) OR m.rolname = %(role)s
"""


@dataclass(frozen=True, slots=True)
class Operator:
    """What the operator's role may do on its server; `version` as in server_version_num."""

    version: int
    superuser: bool
    creates_databases: bool
    creates_roles: bool
    limits_files: bool
    bars_databases: bool


def read_operator(connection: Connection) -> Operator:
    """What the connected role may do."""
    version = connection.info.server_version
    row = connection.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    superuser, databases, roles = row if row is not None else (False, False, False)

    def sets(parameter: str) -> bool:
        if superuser or version < 150000:
            return superuser
        answer = connection.execute(
            "SELECT has_parameter_privilege(%s, 'SET')", [parameter]
        ).fetchone()
        return answer is not None and answer[0]

    return Operator(
        version=version,
        superuser=superuser,
        creates_databases=superuser or databases,
        creates_roles=superuser or roles,
        limits_files=sets("temp_file_limit"),
        bars_databases=sets("session_preload_libraries"),
    )


def new_password() -> str:
    """256 bits nobody can guess, in characters that need no quoting anywhere."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


def connection_limit(database: Database) -> int:
    """How many sessions the server accepts for one sandbox."""
    pool = database.pool
    if pool.max_connections is not None:
        return pool.max_connections
    return pool.pool_size + pool.max_overflow + (EXPOSED_CONNECTIONS if database.expose else 0)


def put_role(
    connection: Connection,
    role: str,
    password: str,
    *,
    home: str,
    operator: Operator,
    database: Database,
    access: Access,
) -> None:
    """Makes the role, or makes the one that exists as if it were new. All or nothing.

    `home` is the only database it may use. Its grants are not changed here.
    """
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone()
    statements: list[sql.Composable] = []
    if found is not None:
        for query in (SETTINGS_ELSEWHERE, MEMBERSHIPS):
            parameters = {"role": role} if query is MEMBERSHIPS else [role]
            rows = connection.execute(raw(query), parameters).fetchall()
            statements += [raw(text) for (text,) in rows if text is not None]
    statements.append(_attributes(connection, role, password, database, new=found is None))
    if not operator.superuser:
        statements.append(sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)))
    if found is not None:
        statements.append(sql.SQL("ALTER ROLE {} RESET ALL").format(sql.Identifier(role)))
    statements += _settings(role, operator, database, access)
    if operator.bars_databases:
        rows = connection.execute(raw(FOREIGN_DATABASES), [home]).fetchall()
        statements += [_barrier(role, datname) for (datname,) in rows]
    execute(connection, statements)


def _attributes(
    connection: Connection, role: str, password: str, database: Database, *, new: bool
) -> sql.Composed:
    # The server gets what it checks the password with; the password itself never travels.
    verifier = connection.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    )
    return sql.SQL(
        "{} ROLE {} WITH LOGIN NOCREATEDB NOCREATEROLE NOINHERIT {} CONNECTION LIMIT {} PASSWORD {}"
    ).format(
        sql.SQL("CREATE") if new else sql.SQL("ALTER"),
        sql.Identifier(role),
        sql.SQL(BORN_WITH) if new else sql.SQL(""),
        sql.Literal(connection_limit(database)),
        sql.Literal(verifier.decode()),
    )


def _settings(
    role: str, operator: Operator, database: Database, access: Access
) -> list[sql.Composable]:
    limits = database.limits
    settings = {
        "statement_timeout": _milliseconds(limits.timeout_s),
        "idle_in_transaction_session_timeout": _milliseconds(limits.transaction_s),
    }
    if not access.writable:
        settings["default_transaction_read_only"] = "on"
    if operator.limits_files:
        settings["temp_file_limit"] = f"{limits.temp_mb}MB"
    return [
        sql.SQL("ALTER ROLE {} SET {} = {}").format(
            sql.Identifier(role), sql.Identifier(name), sql.Literal(value)
        )
        for name, value in settings.items()
    ]


def _barrier(role: str, datname: str) -> sql.Composed:
    """Ends the role's sessions in a database that everybody may connect to, when they begin.

    A library that does not exist cannot be loaded, and only a superuser may say which libraries
    are. To take CONNECT from everybody instead would change what others may do.
    """
    return sql.SQL("ALTER ROLE {} IN DATABASE {} SET session_preload_libraries = {}").format(
        sql.Identifier(role), sql.Identifier(datname), sql.Literal(BARRIER)
    )


def _milliseconds(seconds: float) -> str:
    return f"{math.ceil((seconds + GRACE_S) * 1000)}ms"
