"""A small shop in SQLite, a provisioner and a driver for it."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sandbox_sdk.databases.access import Database
from sandbox_sdk.databases.population.contents import Fixture, Population, Row, Script
from sandbox_sdk.databases.provisioner import Place
from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from sandbox_sdk.databases.sqlite.provisioner import SqliteProvisioner
from sandbox_sdk.databases.worker.driver import Call, Caps, Done, Params, Sink, Statement
from tool_plugins.errors import ErrorCode, ToolError

SHOP = """
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, ssn TEXT, tenant TEXT);
INSERT INTO users VALUES (1, 'Ann', '111', 'acme'), (2, 'Bob', '222', 'acme'),
                         (3, 'Eve', '333', 'evil');
CREATE TABLE secret(v TEXT);
INSERT INTO secret VALUES ('top');
CREATE TABLE orders(
    id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users(id) ON DELETE CASCADE,
    total REAL DEFAULT 0, status TEXT DEFAULT 'new', code INTEGER DEFAULT '7' UNIQUE,
    made TEXT DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO orders(id, user_id, total, code) VALUES (1, 1, 9.5, 100), (2, 2, 20, 200);
CREATE TABLE archive(v TEXT);
CREATE TABLE users_archive(id INTEGER PRIMARY KEY, name TEXT NOT NULL, ssn TEXT, tenant TEXT);
CREATE VIEW secrets AS SELECT v FROM secret;
CREATE VIEW joined AS SELECT users.name FROM users JOIN (SELECT '111' AS ssn) USING (ssn);
CREATE TABLE notes(m TEXT);
CREATE TRIGGER spread AFTER INSERT ON notes BEGIN INSERT INTO secret VALUES (NEW.m); END;
"""
CAPS = Caps(rows=1000, bytes=1_000_000, cell_chars=10_000)


class Rows(Sink):
    """Keeps rows, `most` at most."""

    def __init__(self, most: int = 10_000) -> None:
        self.names: list[tuple[str, str]] = []
        self.rows: list[tuple[Any, ...]] = []
        self._most = most

    def columns(self, columns: Sequence[tuple[str, str]]) -> None:
        self.names = list(columns)

    def row(self, row: Sequence[Any]) -> bool:
        self.rows.append(tuple(row))
        return len(self.rows) < self._most


def call(timeout_s: float = 20) -> Call:
    return Call(timeout_s=timeout_s, caps=CAPS)


def population(text: str = SHOP, folder: Path = Path("/shop"), **more: Any) -> Population:
    file = folder / "shop.yaml"
    script = Script(folder / "shop.sql", 1, text)
    digest = hashlib.sha256(text.encode() + repr(more).encode()).hexdigest()
    return Population("shop", file, digest, schema=(script,), **more)


def fixture(table: str, *rows: dict[str, Any]) -> Fixture:
    file = Path(f"/shop/{table}.csv")
    return Fixture(
        table, file, 0, lambda: iter(Row(row, file, line) for line, row in enumerate(rows, 2))
    )


def provisioner(
    folder: Path, access: Any, given: Population | None = None, **more: Any
) -> SqliteProvisioner:
    database = Database(name="shop", engine="sqlite", access=access, **more)
    SqliteProvisioner.check(database)
    return SqliteProvisioner(database, given, Place(folder, cast("Any", None), lambda line: None))


def open_shop(
    folder: Path, access: Any = "read", *, text: str = SHOP, sandbox: str = "a", **more: Any
) -> SqliteDriver:
    """A driver of one sandbox's copy (or of the shared file, filled first)."""

    async def create() -> SqliteDriver:
        made = provisioner(folder, access, population(text), **more)
        await made.open()
        copy = await made.create(sandbox, made.database.access)
        return SqliteDriver(copy.settings)

    return asyncio.run(create())


def ask(driver: SqliteDriver, query: str, params: Params = None) -> list[tuple[Any, ...]]:
    rows = Rows()
    driver.query(call(), Statement(query, params), rows)
    return rows.rows


def do(
    driver: SqliteDriver, query: str, params: Params = None, *, commit: bool = True
) -> tuple[Done, list[tuple[Any, ...]]]:
    """Executes one statement in a transaction of its own."""
    rows, limit = Rows(), call()
    transaction = driver.begin(limit, read_only=False, isolation=None)
    try:
        done = transaction.execute(limit, Statement(query, params), rows)
        if commit:
            transaction.commit(limit)
    finally:
        transaction.rollback()
    return done, rows.rows


def refusal(driver: SqliteDriver, query: str, *, write: bool = False) -> ToolError:
    """The error a statement ends with."""
    try:
        found = do(driver, query) if write else ask(driver, query)
    except ToolError as exc:
        return exc
    raise AssertionError(f"allowed: {query!r} gave {found}")


def denied(driver: SqliteDriver, query: str, *, write: bool = False) -> str:
    """The message of a refusal for want of permission."""
    error = refusal(driver, query, write=write)
    assert error.code == ErrorCode.PERMISSION_DENIED, (query, error.code, error.message)
    return error.message
