"""What is in an SQLite file, read by the engine's own means. For connections without authorizer."""

import sqlite3
from dataclasses import dataclass
from typing import Literal

from .rules import fold, quoted

Kind = Literal["table", "view", "shadow", "virtual"]
_GENERATED = (2, 3)
_HIDDEN = 1


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column. `default` is an expression, `key` its place in the primary key, from 1."""

    name: str
    type: str
    nullable: bool
    default: str | None
    key: int
    generated: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view of the main database. `has_rowid` is false of WITHOUT ROWID."""

    name: str
    kind: Kind
    has_rowid: bool
    columns: tuple[TableColumn, ...]

    @property
    def rowid(self) -> str | None:
        """A name that means the row's number; None if columns took them all, or it has none."""
        taken = {fold(column.name) for column in self.columns}
        free = (name for name in ("rowid", "_rowid_", "oid") if name not in taken)
        return next(free, None) if self.has_rowid else None

    @property
    def row_number_column(self) -> str | None:
        """The column that is the row's number (INTEGER PRIMARY KEY), if there is one."""
        key = [column for column in self.columns if column.key]
        if self.has_rowid and len(key) == 1 and key[0].type.upper() == "INTEGER":
            return key[0].name
        return None

    @property
    def key(self) -> tuple[str, ...]:
        """What finds one row again."""
        if (rowid := self.rowid) is not None:
            return (rowid,)
        keys = sorted((column for column in self.columns if column.key), key=lambda c: c.key)
        return tuple(column.name for column in keys)


def tables(connection: sqlite3.Connection) -> list[Table]:
    """Every table and view but SQLite's own, by name."""
    listed = connection.execute("PRAGMA main.table_list").fetchall()
    return [
        Table(name, kind, kind == "table" and not without, _columns(connection, name, kind))
        for schema, name, kind, _, without, _ in sorted(listed, key=lambda each: each[1])
        if schema == "main" and not fold(name).startswith("sqlite_")
    ]


def _columns(connection: sqlite3.Connection, table: str, kind: Kind) -> tuple[TableColumn, ...]:
    try:
        found = connection.execute(f"PRAGMA main.table_xinfo({quoted(table)})").fetchall()
    except sqlite3.Error:
        if kind == "table":
            raise
        return ()  # a view of what is gone, which an owner may leave behind
    return tuple(
        TableColumn(
            name, declared, not (required or key), default, key, generated=hidden in _GENERATED
        )
        for _, name, declared, required, default, key, hidden in found
        if hidden != _HIDDEN
    )


def modules(connection: sqlite3.Connection) -> frozenset[str]:
    """The modules of virtual tables; some are there under their own name without being created."""
    return frozenset(fold(name) for (name,) in connection.execute("PRAGMA module_list"))


def sources(connection: sqlite3.Connection) -> dict[str, str]:
    """The text of each view and trigger, by its name."""
    found = connection.execute(
        "SELECT name, sql FROM main.sqlite_master WHERE type IN ('view', 'trigger')"
    )
    return dict(found.fetchall())


def stored_default(connection: sqlite3.Connection, column: TableColumn) -> str:
    """The default as SQL for exactly the value that would be stored ("7" may become 7)."""
    if column.default is None:
        return "NULL"
    connection.execute("SAVEPOINT stored_default")
    try:
        connection.execute(
            f"CREATE TEMP TABLE stored_default(value {column.type} DEFAULT ({column.default}))"
        )
        connection.execute("INSERT INTO temp.stored_default DEFAULT VALUES")
        value = connection.execute("SELECT quote(value) FROM temp.stored_default").fetchone()[0]
    finally:
        connection.execute("ROLLBACK TO stored_default")
        connection.execute("RELEASE stored_default")
    return value


def functions_in(connection: sqlite3.Connection, expression: str) -> set[str]:
    """The functions an expression without columns calls. Takes the connection's authorizer."""
    called: set[str] = set()

    def note(
        action: int, _a: str | None, b: str | None, _db: str | None, _context: str | None
    ) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            called.add((b or "").lower())
        return sqlite3.SQLITE_OK

    connection.set_authorizer(note)
    try:
        connection.execute(f"EXPLAIN SELECT ({expression})").close()
    finally:
        connection.set_authorizer(None)
    return called
