"""Databases that copies are made from: built once, found again, never seen half built.

A template is built under another name and renamed at the end, so its name means that it is
complete. An advisory lock lets one builder work and the others wait; it ends with the builder's
connection, so a builder that died is in nobody's way, and what it left is dropped by the next.
Locks are per database: builders that maintain from different databases build under different
names, and the first to rename wins.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import errors, sql

from sandbox_sdk.databases.population.contents import Population
from sandbox_sdk.databases.population.seeding import seed
from tool_plugins.errors import ConfigurationError

from .admin import Admin, Connection, execute
from .hardening import harden
from .names import LOCK_KEY
from .roles import Operator
from .target import PostgresTarget

LOCK_INTERVAL_S = 0.2
INVOKER_VIEWS_FROM = 150000
STRATEGIES_FROM = 150000

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A database to build. `closed`: nobody connects to it any more, it is only copied."""

    name: str
    population: Population | None
    comment: str
    closed: bool


@contextmanager
def locked(admin: Admin, report: Report) -> Iterator[Connection]:
    """Holds the lock of builders; the block's connection is the one that holds it.

    Raises:
        Stopped: while it waited.
    """
    with admin.connected(admin.maintenance) as connection:
        waiting = False
        while not _try_lock(connection):
            if not waiting:
                report("waiting for another group that prepares databases on this server")
            waiting = True
            admin.pause(LOCK_INTERVAL_S)
        yield connection


def _try_lock(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK_KEY]).fetchone()
    return row is not None and row[0]


def build(
    admin: Admin, connection: Connection, plan: Plan, operator: Operator, report: Report
) -> None:
    """Builds the database of a plan, unless it is there. Call it with the lock held.

    Raises:
        PopulationError: a file of the population is wrong; nothing of the database is left.
    """
    if exists(connection, plan.name):
        return
    made = _temporary_name(connection, plan.name)
    drop_database(connection, made)
    try:
        create_database(connection, made, "template0", operator)
        execute(connection, [close_to_everybody(made)])
        with admin.connected(made, quiet=False) as inside:
            _fill(inside, plan, operator, report)
        _finish(connection, made, plan)
    except BaseException:
        if not connection.closed:
            drop_database(connection, made)
        raise


def _fill(connection: Connection, plan: Plan, operator: Operator, report: Report) -> None:
    if plan.population is not None:
        report(f"{plan.population.database}: filling a new template from {plan.population.file}")
        seed(plan.population, PostgresTarget(connection), report)
    harden(connection, views=operator.version >= INVOKER_VIEWS_FROM)
    if plan.population is not None:
        connection.execute("VACUUM (ANALYZE)")


def _finish(connection: Connection, made: str, plan: Plan) -> None:
    name = sql.Identifier(made)
    statements: list[sql.Composable] = [
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(plan.comment)),
        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(name, sql.Identifier(plan.name)),
    ]
    if plan.closed:
        # Not marked as a template: then everybody who may create databases could copy it.
        statements.insert(0, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    try:
        execute(connection, statements)
    except errors.DuplicateDatabase:
        drop_database(connection, made)


def create_database(connection: Connection, name: str, source: str, operator: Operator) -> None:
    """Makes a database from another one. Nobody but superusers can connect at first."""
    options = sql.SQL("")
    if operator.version >= STRATEGIES_FROM:
        options = sql.SQL(" STRATEGY wal_log")
    connection.execute(
        sql.SQL("CREATE DATABASE {} TEMPLATE {}{} CONNECTION LIMIT 0").format(
            sql.Identifier(name), sql.Identifier(source), options
        )
    )


def close_to_everybody(name: str) -> sql.Composed:
    """Makes a database one that only those can connect to who were granted it."""
    return sql.SQL(
        "REVOKE ALL ON DATABASE {name} FROM PUBLIC; ALTER DATABASE {name} CONNECTION LIMIT -1"
    ).format(name=sql.Identifier(name))


def drop_database(connection: Connection, name: str) -> None:
    """Drops a database and ends the sessions in it. Idempotent."""
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def exists(connection: Connection, name: str) -> bool:
    """Whether there is a database of that name."""
    found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
    return found is not None


@contextmanager
def tried(
    admin: Admin, connection: Connection, source: str, operator: Operator
) -> Iterator[Connection]:
    """A connection to a copy of a template that is dropped again. Call it with the lock held."""
    name = f"{_temporary_name(connection, source)}_try"
    drop_database(connection, name)
    create_database(connection, name, source, operator)
    try:
        execute(connection, [close_to_everybody(name)])
        with admin.connected(name) as inside:
            yield inside
    finally:
        if not connection.closed:
            drop_database(connection, name)


def comment_of(connection: Connection, name: str) -> str | None:
    """The comment on a database; "" if it has none, None if there is no such database."""
    row = connection.execute(
        "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database "
        "WHERE datname = %s",
        [name],
    ).fetchone()
    return row[0] if row is not None else None


def _temporary_name(connection: Connection, name: str) -> str:
    row = connection.execute(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    if row is None:
        raise ConfigurationError("the database for maintenance is gone")
    return f"{name[:40]}_new_{row[0]}"
