"""What the driver's tests share: a database with restricted roles, sinks and calls."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from sandbox_sdk.databases.worker.driver import (
    Call,
    Caps,
    Done,
    Params,
    Sink,
    Statement,
    Transaction,
)
from tests.services.postgres import PostgresServer

ROLES = ("ro", "rw", "owner")

TABLES = """
CREATE TABLE users (
    id int PRIMARY KEY, name text, ssn text, tenant text NOT NULL, born date,
    boss int REFERENCES users,
    CONSTRAINT has_name CHECK (name <> '')
);
INSERT INTO users SELECT g, 'n' || g, 'ssn' || g,
    CASE WHEN g % 2 = 0 THEN 'acme' ELSE 'evil' END, date '2000-01-01' + g
    FROM generate_series(1, 100) g;
CREATE TABLE orders (
    id serial PRIMARY KEY, user_id int REFERENCES users, total numeric(10, 2),
    secret_id int
);
CREATE TABLE secrets (k text PRIMARY KEY, v text);
INSERT INTO secrets VALUES ('k', 'top');
ALTER TABLE orders ADD COLUMN k text REFERENCES secrets;
CREATE INDEX by_total ON orders (total, user_id);
CREATE INDEX by_half_ssn ON users (left(ssn, 3));
CREATE SCHEMA sales;
CREATE TABLE sales.visits (id int PRIMARY KEY, at timestamptz DEFAULT now());
CREATE VIEW names WITH (security_invoker = true) AS SELECT id, name FROM users;
ANALYZE;
"""

RIGHTS = """
REVOKE ALL ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
GRANT USAGE ON SCHEMA public, sales TO {ro}, {rw};
GRANT SELECT (id, name, tenant, born) ON users TO {ro};
GRANT SELECT ON orders, names, sales.visits TO {ro};
GRANT SELECT, INSERT, UPDATE, DELETE ON users, orders TO {rw};
GRANT USAGE ON SEQUENCE orders_id_seq TO {rw};
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY ro ON users FOR SELECT TO {ro} USING (tenant = 'acme');
CREATE POLICY rw ON users TO {rw} USING (true) WITH CHECK (tenant <> 'nobody');
GRANT ALL ON SCHEMA public TO {owner};
GRANT USAGE ON LANGUAGE plpgsql TO {owner};
REVOKE EXECUTE ON FUNCTION lo_from_bytea, lo_import(text), lo_export FROM PUBLIC;
"""


@dataclass
class Shop:
    """A database of a server, with the roles NAME_ro, NAME_rw and NAME_owner."""

    server: PostgresServer
    name: str

    def create(self) -> "Shop":
        self.admin(f"CREATE DATABASE {self.name}", database="postgres")
        for role in ROLES:
            self.admin(f"CREATE ROLE {self.name}_{role} LOGIN PASSWORD 'pw' NOINHERIT")
        self.admin(TABLES)
        self.admin(RIGHTS.format(**{role: f"{self.name}_{role}" for role in ROLES}))
        self.admin(f"REVOKE ALL ON DATABASE {self.name} FROM PUBLIC")
        for role in ROLES:
            self.admin(f"GRANT CONNECT ON DATABASE {self.name} TO {self.name}_{role}")
        return self

    def drop(self) -> None:
        self.admin(f"DROP DATABASE {self.name} WITH (FORCE)", database="postgres")
        for role in ROLES:
            self.admin(f"DROP ROLE {self.name}_{role}", database="postgres")

    def admin(self, statements: str, *, database: str | None = None) -> list[tuple[Any, ...]]:
        with self.admin_connection(database) as connection:
            cursor = connection.execute(statements.encode())
            return cursor.fetchall() if cursor.description else []

    def admin_connection(self, database: str | None = None) -> psycopg.Connection[Any]:
        return psycopg.connect(self.server.url, dbname=database or self.name, autocommit=True)

    def count(self, table: str = "orders") -> int:
        with self.admin_connection() as connection:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            row = connection.execute(query).fetchone()
            return row[0] if row else 0

    def settings(self, role: str, *, conninfo: dict[str, str] | None = None, **other: Any) -> Any:
        pool = {
            "pool_size": 2,
            "max_overflow": 2,
            "pool_timeout": 5.0,
            "pool_recycle": 1800.0,
            "max_connections": None,
            "connection_timeout": 5.0,
        }
        settings = {
            "conninfo": {
                "host": "127.0.0.1",
                "port": str(self.server.port),
                "user": f"{self.name}_{role}",
                "password": "pw",
                "dbname": self.name,
                **(conninfo or {}),
            },
            "pool": {**pool, **{key: other.pop(key) for key in list(other) if key in pool}},
            "require_tls": False,
            "writable": role != "ro",
            "timeout_s": 15.0,
        }
        return {**settings, **other}

    def driver(self, role: str, **settings: Any) -> PostgresDriver:
        return PostgresDriver(self.settings(role, **settings))


@dataclass
class ListSink(Sink):
    """Keeps rows, and stops at one more than `most`."""

    most: int = 100
    names: list[tuple[str, str]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    more: bool = False

    def columns(self, columns: Sequence[tuple[str, str]]) -> None:
        assert not self.names
        self.names = list(columns)

    def row(self, row: Sequence[Any]) -> bool:
        if len(self.rows) == self.most:
            self.more = True
            return False
        self.rows.append(tuple(row))
        return True


def call(timeout_s: float = 10.0) -> Call:
    return Call(timeout_s=timeout_s, caps=Caps(rows=100, bytes=100_000, cell_chars=2000))


def read(
    on: PostgresDriver | Transaction, query: str, params: Params = None, *, most: int = 100
) -> ListSink:
    """Runs a query as the worker does: the answer, then what nobody waits for."""
    sink = ListSink(most)
    try:
        on.query(call(), Statement(query, params), sink)
    finally:
        if isinstance(on, PostgresDriver):
            on.settle()
    return sink


def write(
    transaction: Transaction, query: str, params: Params = None, sink: ListSink | None = None
) -> Done:
    return transaction.execute(call(), Statement(query, params), sink or ListSink())
