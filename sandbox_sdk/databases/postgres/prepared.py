"""A model's statement inside an open transaction, where it must not end that transaction.

The server decides, not a parser of ours:

1. `PREPARE name AS <statement>` takes, by PostgreSQL's own grammar, nothing but SELECT, INSERT,
   UPDATE, DELETE, MERGE and VALUES. What it took is then bound and executed by the protocol.
2. What it refused for its syntax is sent to be parsed only, while a savepoint's work has failed.
   In that state the server takes nothing but what ends a transaction or goes back to a savepoint:
   whatever it *takes* is refused here, without having run. What it refuses for that state is a
   utility statement, such as CREATE TABLE. It runs; then the server's own name for what it did
   says if it may stay. If not, the savepoint takes it back.

Both ways the statement travels by the extended protocol: two statements are an error there.
"""

from collections.abc import Sequence
from functools import partial

import psycopg
from psycopg import pq

from sandbox_sdk.databases.worker.driver import Call, Sink, Statement
from tool_plugins.errors import ToolError

from .errors import (
    IN_FAILED_TRANSACTION,
    MULTIPLE_COMMANDS,
    SYNTAX_ERROR,
    failed,
    in_call,
    not_here,
    sqlstate,
    statement_error,
)
from .rows import Feeder, Types, parameter_oids, type_oids
from .session import Answer, Rows, Session
from .values import Bound, bind

NAME = b"sandbox_statement"
DEALLOCATE = b"DEALLOCATE sandbox_statement"
SAVEPOINT = b"SAVEPOINT sandbox_statement"
UNDO = b"ROLLBACK TO SAVEPOINT sandbox_statement"
RELEASE = b"RELEASE SAVEPOINT sandbox_statement"
READ_ONLY = b"; SET TRANSACTION READ ONLY"
"""For the work of a savepoint: nothing in there can take it back; leaving the savepoint does."""
FAIL = b"SELECT 1/0"

READING = ("SELECT", "SHOW", "EXPLAIN", "CALL", "DO")
"""What may have run where nothing may be written (the transaction being read only)."""
_WRITING = (
    *("INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "COMMENT", "TRUNCATE"),
    *("GRANT", "REVOKE", "REFRESH", "REINDEX", "CLUSTER", "ANALYZE", "LOCK", "SECURITY", "IMPORT"),
    *("REASSIGN",),
)
_NEVER = ("ROLE", "DATABASE", "SYSTEM", "SUBSCRIPTION", "TABLESPACE")
"""As in ALTER ROLE: the principal's own password and settings."""


def may_stay(tag: str, *, reading: bool) -> bool:
    """Whether what the server says a statement did is something a model may do here."""
    words = tag.split()
    if not words or (len(words) > 1 and words[1] in _NEVER):
        return False
    if tag == "SET CONSTRAINTS":
        return not reading
    return words[0] in READING or (words[0] in _WRITING and not reading)


class StatementRun:
    """One statement, from its text to its command tag.

    The caller has set the savepoint, and `access` for the work behind it. Going back to the
    savepoint takes `access` back, so it is set again each time.
    """

    def __init__(
        self,
        session: Session,
        types: Types,
        call: Call,
        statement: Statement,
        sink: Sink,
        *,
        access: bytes = b"",
    ) -> None:
        self._session = session
        self._types = types
        self._call = call
        self._statement = statement
        self._sink = sink
        self._restart = UNDO + access
        self.prepared = False
        """Whether a prepared statement is left in the session."""

    def run(self, *, reading: bool) -> Answer:
        """Executes it. An answer cut short by the sink is a failed one.

        Raises:
            ToolError: the server refused it. What it did is still to be undone.
            ConnectionLostError: see `Session.exchange`.
        """
        bound = bind(self._statement.params)
        refused = self._prepare(bound)
        if refused is None:
            return self._execute(bound, reading=reading)
        state = sqlstate(refused)
        error = self._error(refused, prefix=len(_prepare_prefix(bound.types)))
        if state == SYNTAX_ERROR and MULTIPLE_COMMANDS not in error.message:
            return self._utility(bound, reading=reading)
        raise error

    def _prepare(self, bound: Bound) -> pq.abc.PGresult | None:
        """Prepares it and makes `bound` fit it; the error result if the server refuses."""
        if any(bound.lists):
            refused, known = self._send_prepare(bound.open_types)
            if refused is None:
                fitted = bind(self._statement.params, known)
                bound.values, bound.types = fitted.values, fitted.types
                if fitted.fits(known):
                    return None
                self._own(DEALLOCATE)
                self.prepared = False
            elif sqlstate(refused) == SYNTAX_ERROR:
                return refused
            else:
                self._own(self._restart)
        return self._send_prepare(bound.types)[0]

    def _send_prepare(self, types: Sequence[int]) -> tuple[pq.abc.PGresult | None, list[int]]:
        conn = self._session.pgconn
        text = _prepare_prefix(types) + self._statement.query
        prepared, described = self._session.exchange(
            self._call,
            [
                partial(conn.send_query_params, text.encode(), None),
                partial(conn.send_describe_prepared, NAME),
            ],
        )
        if prepared.failed:
            return prepared.result, []
        self.prepared = True
        columns = type_oids(described.result)
        if not self._types.knows(columns):
            self._types.read(self._session, columns)
        return None, parameter_oids(described.result)

    def _execute(self, bound: Bound, *, reading: bool) -> Answer:
        step = partial(self._session.pgconn.send_query_prepared, NAME, bound.values)
        return self._stream(step, reading=reading)

    def _utility(self, bound: Bound, *, reading: bool) -> Answer:
        query = self._statement.query
        self._own(self._restart)
        self._session.run(FAIL)
        parsed = self._session.pgconn.prepare(b"", query.encode())
        if not failed(parsed):
            raise not_here(first_word(query))
        if sqlstate(parsed) != IN_FAILED_TRANSACTION:
            raise self._error(parsed)
        self._own(self._restart)
        if first_word(query) == "COPY":  # it would leave the protocol of queries
            raise not_here("COPY")
        self._types.read(self._session, [])  # what is no query cannot be described beforehand
        step = partial(
            self._session.pgconn.send_query_params, query.encode(), bound.values, bound.types
        )
        answer = self._stream(step, reading=reading)
        if not answer.failed and not may_stay(answer.tag, reading=reading):
            raise not_here(answer.tag)
        self._types.forget()
        return answer

    def _stream(self, step: partial[None], *, reading: bool) -> Answer:
        feeder = Feeder(self._session, self._types, self._sink, retry=False)
        rows = Rows(feeder.take, may_cancel=reading)
        (answer,) = self._session.exchange(self._call, [step], rows=rows)
        if answer.failed and not (rows.stopped and reading):
            raise self._error(answer.result)
        return answer

    def _own(self, sql: bytes) -> None:
        """Runs our own SQL, which only fails with the transaction."""
        result = self._session.run(sql)
        if failed(result):
            raise self._error(result)

    def _error(self, result: pq.abc.PGresult, *, prefix: int = 0) -> ToolError:
        return in_call(statement_error(result, self._statement.query, prefix=prefix), self._call)


def first_word(query: str) -> str:
    """For messages only: what a statement begins with, if that is a word."""
    word = query.split(maxsplit=1)[0].rstrip(";") if query.strip() else ""
    return word.upper() if word.isalpha() else ""


def _prepare_prefix(types: Sequence[int]) -> str:
    kinds = f" ({', '.join(map(_type_name, types))})" if types else ""
    return f"PREPARE {NAME.decode()}{kinds} AS "


def _type_name(oid: int) -> str:
    info = psycopg.adapters.types.get(oid) if oid else None
    if info is None:
        return "unknown"
    return f"{info.regtype}[]" if info.array_oid == oid else info.regtype
