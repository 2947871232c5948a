"""PostgreSQL as one sandbox's restricted role. What it may do is held by the server: its grants,
its policies, read-only transactions, and the protocol that takes one statement at a time.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from sandbox_sdk.databases.worker.driver import Call, Driver, Sink, Statement, Transaction
from sandbox_sdk.databases.worker.values import check_text
from tool_plugins.errors import ErrorCode, ToolError

from .errors import ConnectionLostError, failed, in_call, not_here, statement_error
from .pool import Pool
from .prepared import first_word, may_stay
from .rows import Feeder, Types, UnknownTypeError, parameter_oids
from .schema import read_schema
from .session import Rows, Session
from .settings import Settings
from .transaction import PostgresTransaction
from .values import Bound, bind

READ_ONLY = b"BEGIN READ ONLY"
FIRST_QUERY = b"SELECT 1"
"""Once a transaction has looked at a query (it need not run) the server refuses SET TRANSACTION
READ WRITE."""
ISOLATION_LEVELS = ("read committed", "repeatable read", "serializable")


class PostgresDriver(Driver):
    """See `Driver`. `settings` are those of `Settings.parse`; connects when it is first used."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._pool = Pool(Settings.parse(settings))
        self._types = Types()

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """See `Driver.query`. One round trip: a read-only transaction, its first query, and the
        statement. The pool's `clean` rolls it back."""
        query = check_text(statement.query, "the statement").encode()
        if first_word(statement.query) == "COPY":  # it would leave the protocol of queries
            raise not_here("COPY")
        missing: list[int] = []
        while True:
            session = self._pool.take(call)
            try:
                if missing:
                    self._types.read(session, missing)
                self._read(session, call, statement, query, sink)
                return
            except UnknownTypeError as exc:
                missing = exc.oids
            except ConnectionLostError as lost:
                if session.fresh or lost.answered:
                    raise lost.for_caller(sent=True) from None
            finally:
                self._pool.give_back(session)

    def begin(self, call: Call, *, read_only: bool, isolation: str | None) -> Transaction:
        """See `Driver.begin`."""
        if isolation is not None and isolation not in ISOLATION_LEVELS:
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"no isolation level {isolation!r}",
                hint=f"one of: {', '.join(ISOLATION_LEVELS)}",
            )
        level = f" ISOLATION LEVEL {isolation.upper()}" if isolation else ""
        access = "READ ONLY" if read_only else "READ WRITE"
        # The first query at once: it bars SET TRANSACTION, and a serializable transaction that
        # took its snapshot in read-only work would count as one that never writes.
        session = self._opened(call, f"BEGIN{level} {access}; SELECT 1".encode())
        return PostgresTransaction(self._pool, self._types, session, read_only=read_only)

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        """See `Driver.schema`."""
        session = self._opened(call, READ_ONLY)
        try:
            return read_schema(
                session, self._types, call, pattern=pattern, detail=detail, limit=limit
            )
        except ConnectionLostError as lost:
            raise lost.for_caller(sent=False) from None
        finally:
            self._pool.give_back(session)

    def close(self) -> None:
        """See `Driver.close`."""
        self._pool.close()

    def settle(self) -> None:
        """See `Driver.settle`."""
        self._pool.clean()

    def _opened(self, call: Call, begin: bytes) -> Session:
        """A session with a transaction begun. A connection that became stale is replaced."""
        while True:
            session = self._pool.take(call)
            try:
                result = session.run(begin)
            except ConnectionLostError as lost:
                fresh = session.fresh
                self._pool.give_back(session)
                if fresh:
                    raise lost.for_caller(sent=False) from None
                continue
            if failed(result):
                self._pool.give_back(session)
                raise statement_error(result, "")
            return session

    def _read(
        self, session: Session, call: Call, statement: Statement, query: bytes, sink: Sink
    ) -> None:
        bound = self._bind(session, statement, query)
        send = session.pgconn.send_query_params
        rows = Rows(Feeder(session, self._types, sink, retry=True).take, may_cancel=True)
        steps = [
            partial(send, READ_ONLY, None),
            partial(session.pgconn.send_prepare, b"", FIRST_QUERY),
            partial(send, query, bound.values, bound.types),
        ]
        answers = session.exchange(call, steps, rows=rows)
        refused = next((each for each in answers if each.failed), None)
        if refused is None:
            tag = answers[-1].tag
            if not session.in_transaction or not may_stay(tag, reading=True):
                raise not_here(tag)
        elif not rows.stopped:
            raise in_call(statement_error(refused.result, statement.query), call)

    @staticmethod
    def _bind(session: Session, statement: Statement, query: bytes) -> Bound:
        bound = bind(statement.params)
        if not any(bound.lists):
            return bound
        conn = session.pgconn  # no transaction is open: a failure here leaves nothing behind
        if failed(conn.prepare(b"", query, bound.open_types)):
            return bound
        return bind(statement.params, parameter_oids(conn.describe_prepared(b"")))
