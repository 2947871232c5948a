"""A shop on a real server: what it holds, who may do what, and how to try it as a sandbox."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from psycopg import sql

from sandbox_sdk.databases.access import Access, Database, TableAccess
from sandbox_sdk.databases.population.contents import Fixture, Population, Row, Script
from sandbox_sdk.databases.postgres.provisioner import PostgresProvisioner
from sandbox_sdk.databases.provisioner import Copy, Place
from tests.services.postgres import PostgresServer

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, name text, ssn text, tenant text NOT NULL);
CREATE TABLE orders (
    id serial PRIMARY KEY, user_id int REFERENCES users, total numeric, status text DEFAULT 'new'
);
CREATE TABLE secrets (k text PRIMARY KEY, v text);
CREATE TABLE events (id int, tenant text) PARTITION BY LIST (tenant);
CREATE TABLE events_acme PARTITION OF events FOR VALUES IN ('acme');
CREATE TABLE events_evil PARTITION OF events FOR VALUES IN ('evil');
CREATE SCHEMA sales;
CREATE TABLE sales.targets (region text PRIMARY KEY, amount int);
CREATE VIEW everybody AS SELECT * FROM users;
CREATE VIEW people AS SELECT id, name FROM users;
CREATE MATERIALIZED VIEW frozen AS SELECT 1 AS one;
CREATE FUNCTION leak() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    AS 'SELECT count(*) FROM public.secrets';
CREATE FUNCTION honest() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.secrets';
CREATE FUNCTION counted() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.orders';
INSERT INTO secrets VALUES ('k', 'top');
INSERT INTO events VALUES (1, 'acme'), (2, 'evil');
INSERT INTO sales.targets VALUES ('north', 5);
GRANT SELECT ON secrets TO PUBLIC;
GRANT SELECT (ssn) ON users TO PUBLIC;
GRANT ALL ON SCHEMA sales TO PUBLIC;
"""
FOLDER = Path("/population")

ACME = "tenant = 'acme' -- and nobody else"
READER = Access(
    default="read",
    tables={
        "users": TableAccess(select=("id", "name", "tenant"), rows=ACME),
        "events": TableAccess(select=True, rows=ACME),
        "secrets": "none",
    },
)
WRITER = Access(
    tables={
        "users": TableAccess(
            select=("id", "name", "tenant"),
            insert=("id", "name", "tenant"),
            update=("name", "tenant"),
            delete=True,
            rows=ACME,
        ),
        "orders": TableAccess(select=True, insert=("user_id", "total"), update=("status",)),
    },
)
OWNER = Access(default="owner")


def script(text: str, *, line: int = 1, name: str = "schema.sql") -> Script:
    """A script as if it stood in a file."""
    return Script(FOLDER / name, line, text)


def fixture(
    table: str, rows: list[dict[str, Any]], *, watch: Callable[[], None] = lambda: None
) -> Fixture:
    """Rows as if each stood on a line of a file; `watch` is called as they begin to be read."""
    file = FOLDER / f"{table}.jsonl"

    def iterate() -> Iterator[Row]:
        watch()
        for line, values in enumerate(rows, start=1):
            yield Row(values, file, line)

    return Fixture(table, file, 0, iterate)


USERS = [
    {"id": 1, "name": "ann", "ssn": "s-1", "tenant": "acme"},
    {"id": 2, "name": "bob", "ssn": "s-2", "tenant": "evil"},
    {"id": 3, "name": "cleo", "ssn": "s-3", "tenant": "acme"},
]
ORDERS = [{"user_id": 1, "total": "10.50"}, {"user_id": 2, "total": "7"}]


def population(digest: str = "5", **parts: Any) -> Population:
    """The shop's, or another one; one digest stands for one content."""
    given = {
        "schema": (script(SCHEMA),),
        "fixtures": (fixture("orders", ORDERS), fixture("users", USERS)),
    }
    return Population("shop", FOLDER / "shop.yaml", (digest * 64)[:64], **(given | parts))


def provisioner(
    server: PostgresServer | str,
    *,
    access: Access = READER,
    content: Population | None = None,
    report: Callable[[str], None] = lambda line: None,
    **fields: Any,
) -> PostgresProvisioner:
    """One for the shop; `server` may be the url of the operator."""
    url = server if isinstance(server, str) else server.url
    given = {"name": "shop", "engine": "postgres", "url": url, "access": access} | fields
    database = Database.model_validate(given)
    PostgresProvisioner.check(database)
    place = Place(FOLDER, cast(Any, None), report)
    return PostgresProvisioner(database, content, place)


def connect(copy: Copy, **changes: str) -> psycopg.Connection[Any]:
    """A connection as the sandbox's role, in autocommit."""
    settings: Mapping[str, Any] = copy.settings["conninfo"] | changes
    return psycopg.connect(**settings, autocommit=True)


def run(copy: Copy, *statements: str) -> list[Any]:
    """Runs texts of statements in one session; the rows of the last one."""
    with connect(copy) as connection:
        for each in statements:
            cursor = connection.execute(text(each))
        return cursor.fetchall() if cursor.description else []


def refused(copy: Copy, *statements: str) -> str:
    """Why the server refuses the last of these; those before it must pass."""
    with connect(copy) as connection:
        for each in statements[:-1]:
            connection.execute(text(each))
        try:
            connection.execute(text(statements[-1]))
        except psycopg.Error as exc:
            return str(exc)
    raise AssertionError(f"not refused: {statements[-1]}")


def as_operator(server: PostgresServer, *statements: str, dbname: str = "postgres") -> list[Any]:
    """The rows of the last statement, run as the superuser."""
    with psycopg.connect(server.url, dbname=dbname, autocommit=True) as connection:
        for each in statements:
            cursor = connection.execute(text(each))
        return cursor.fetchall() if cursor.description else []


def text(statement: str) -> sql.SQL:
    """A statement that only a test knows."""
    return sql.SQL(cast(LiteralString, statement))


def leftovers(server: PostgresServer) -> dict[str, list[Any]]:
    """Everything on the server that a sandbox could leave outside of its own database."""
    queries = {
        "databases": "SELECT datname FROM pg_database WHERE datname !~ '^sbxt_[0-9a-f]{16}$'",
        "roles": "SELECT rolname FROM pg_roles",
        "settings": "SELECT setdatabase, setrole FROM pg_db_role_setting",
        "members": "SELECT roleid, member FROM pg_auth_members",
        "dependencies": "SELECT dbid, classid, objid, refobjid FROM pg_shdepend "
        "WHERE dbid NOT IN (SELECT oid FROM pg_database WHERE datname ~ '^sbxt_') AND objid "
        "NOT IN (SELECT oid FROM pg_database WHERE datname ~ '^sbxt_')",
    }
    with psycopg.connect(server.url, autocommit=True) as connection:
        return {
            name: sorted(connection.execute(text(query)).fetchall())
            for name, query in queries.items()
        }
