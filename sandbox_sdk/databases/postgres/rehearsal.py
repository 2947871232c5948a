"""Trying the configured rules before any sandbox is there. Leaves nothing: it is rolled back."""

import secrets

import psycopg
from psycopg import sql

from sandbox_sdk.databases.access import Database
from tool_plugins.errors import ConfigurationError

from .admin import Connection, execute, reason
from .catalog import Catalog
from .grants import Grant, grant_statements, qualified, resolve
from .policies import SEARCH_PATH, policy, prepare_tables, restricted


def rehearse(connection: Connection, database: Database, catalog: Catalog) -> None:
    """Makes a role with the rules' rights in the connected database, and reads with it.

    Raises:
        ConfigurationError: names the rule that PostgreSQL does not take, and why.
    """
    try:
        grants = resolve(database.access, catalog)
        limited = restricted(grants)
        if not limited:
            return
        with connection.transaction(force_rollback=True):
            role = f"sbxr_{secrets.token_hex(8)}"
            execute(connection, [
                sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)),
                sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(role)),
                *grant_statements(grants, role),
                SEARCH_PATH,
                *prepare_tables(connection, limited),
            ])  # fmt: skip
            for grant in limited:
                _try(connection, grant, role)
            for grant in limited:
                _read(connection, grant, role)
    except ConfigurationError as exc:
        raise ConfigurationError(
            f"database {database.name!r}: {exc.message}", hint=exc.hint
        ) from exc.__cause__


def _try(connection: Connection, grant: Grant, role: str) -> None:
    try:
        # Prepared: a condition that closes the bracket and goes on is more than one statement.
        connection.execute(policy(grant, role), prepare=True)
    except psycopg.Error as exc:
        raise _refused(grant, exc) from exc


def _read(connection: Connection, grant: Grant, role: str) -> None:
    """As the role, since a condition may read tables that the role may not."""
    if not grant.rule.select:
        return
    try:
        execute(connection, [
            sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)),
            sql.SQL("SELECT FROM {} LIMIT 0").format(qualified(grant.relation)),
            sql.SQL("RESET ROLE"),
        ])  # fmt: skip
    except psycopg.Error as exc:
        raise _refused(grant, exc) from exc


def _refused(grant: Grant, exc: psycopg.Error) -> ConfigurationError:
    return ConfigurationError(
        f"the condition on rows of table {grant.relation.title!r} does not work: {reason(exc)}"
    )
