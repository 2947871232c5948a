"""One transaction on one connection of a sandbox."""

import sqlite3
from typing import Any

from sandbox_sdk.databases.worker.driver import Call, Done, Sink, Statement, Transaction
from tool_plugins.errors import ErrorCode, ToolError

from .authorizer import Mode
from .connection import Connection
from .errors import translate
from .parameters import bind, bind_nothing
from .pool import Pool

_VERBS = ("INSERT", "UPDATE", "DELETE")


class SqliteTransaction(Transaction):
    """Made by `SqliteDriver.begin`, which has begun it."""

    def __init__(self, pool: Pool, connection: Connection, *, read_only: bool) -> None:
        self._pool = pool
        self._connection: Connection | None = connection
        self._read_only = read_only
        self._marks = 0

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """See `Transaction.query`."""
        connection = self._open()
        connection.run(
            call, statement.query, bind(statement), "read", lambda cursor: _pour(cursor, sink)
        )

    def execute(self, call: Call, statement: Statement, sink: Sink) -> Done:
        """See `Transaction.execute`."""
        connection = self._open()
        bound = bind(statement)
        mode: Mode = "read" if self._read_only else "write"
        before = connection.changes
        undo = self.savepoint(call)
        try:
            connection.run(call, statement.query, bound, mode, lambda cursor: _pour(cursor, sink))
        except BaseException as exc:
            if connection.in_transaction:
                undo()
            elif isinstance(exc, ToolError):
                raise ToolError(
                    exc.code,
                    f"{exc.message}; the whole transaction was rolled back",
                    hint=exc.hint,
                    details={**exc.details, "ended": True},
                ) from exc
            raise
        seen = connection.seen
        changed = None
        if any(verb in _VERBS for verb in seen):
            changed = 0
            if connection.changes != before:
                changed = connection.own("SELECT changes()").fetchone()[0]
        connection.own(f"RELEASE mark{self._marks}")
        return Done(_status(seen), changed)

    def explain(self, call: Call, statement: Statement) -> str:
        """See `Transaction.explain`."""
        bound = bind(statement) if statement.params else bind_nothing(statement.query)
        query = f"EXPLAIN QUERY PLAN {statement.query}"
        rows = self._open().run(call, query, bound, "write", lambda cursor: cursor.fetchall())
        return _plan(rows)

    def savepoint(self, call: Call) -> Any:
        """See `Transaction.savepoint`."""
        connection = self._open()
        self._marks += 1
        name = f"mark{self._marks}"
        connection.own(f"SAVEPOINT {name}")

        def undo() -> None:
            if not connection.in_transaction:
                raise _ended()
            connection.own(f"ROLLBACK TO {name}")
            connection.own(f"RELEASE {name}")

        return undo

    def commit(self, call: Call) -> None:
        """See `Transaction.commit`."""
        connection = self._open()
        try:
            connection.own_patiently("COMMIT", call)
        except sqlite3.Error as exc:
            self.rollback()
            raise translate(exc, call) from exc
        self._leave()

    def rollback(self) -> None:
        """See `Transaction.rollback`."""
        self._leave()

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.release(connection)

    def _open(self) -> Connection:
        if self._connection is None or not self._connection.in_transaction:
            raise _ended()
        return self._connection


def _pour(cursor: sqlite3.Cursor, sink: Sink) -> None:
    """Hands the rows over. A column's type is the storage class of its first value."""
    if cursor.description is None:
        return
    names = [column[0] for column in cursor.description]
    first = cursor.fetchone()
    kinds = [""] * len(names) if first is None else [_kind(value) for value in first]
    sink.columns(list(zip(names, kinds, strict=True)))
    if first is not None and sink.row(first):
        for row in cursor:
            if not sink.row(row):
                return


def _kind(value: Any) -> str:
    """What SQLite's `typeof` says."""
    kinds = {int: "integer", float: "real", str: "text", bytes: "blob"}
    return kinds.get(type(value), "null")


def _status(seen: list[str]) -> str:
    """What the statement was, from what SQLite asked about it, as a word or two."""
    definition = next((each for each in seen if " " in each or each == "REINDEX"), None)
    if definition is not None:
        return definition
    written = next((each for each in seen if each in _VERBS), None)
    return written or ("ANALYZE" if "ANALYZE" in seen else "SELECT")


def _plan(rows: list[Any]) -> str:
    depth = {0: -1}
    lines: list[str] = []
    for identity, parent, _, detail in rows:
        depth[identity] = depth.get(parent, -1) + 1
        lines.append("  " * depth[identity] + str(detail))
    return "\n".join(lines)


def _ended() -> ToolError:
    return ToolError(
        ErrorCode.TRANSACTION_ENDED,
        "the database rolled this transaction back",
        hint="begin another with database_begin",
        details={"ended": True},
    )
