"""An open PostgreSQL transaction, in which one statement's failure harms nothing else."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from psycopg import pq

from sandbox_sdk.databases.worker.driver import Call, Done, Sink, Statement, Transaction
from sandbox_sdk.databases.worker.values import check_text
from tool_plugins.errors import ErrorCode, ToolError

from .errors import ConnectionLostError, failed, in_call, sqlstate, statement_error, unavailable
from .pool import Pool
from .prepared import DEALLOCATE, READ_ONLY, RELEASE, SAVEPOINT, UNDO, StatementRun
from .rows import Types
from .session import Answer, Rows, Session
from .values import bind

MARK = b"SAVEPOINT sandbox_call"
BACK_TO_MARK = b"ROLLBACK TO SAVEPOINT sandbox_call"
EXPLAIN = "EXPLAIN (COSTS) "
"""With the brackets, nothing behind them can add ANALYZE."""
AFFECTING = ("INSERT", "UPDATE", "DELETE", "MERGE")
CANCELED = "57014"
UNDO_ATTEMPTS = 3
"""A cancel request that comes late can hit the undoing itself."""


class PostgresTransaction(Transaction):
    """Holds one session of the pool until it ends."""

    def __init__(self, pool: Pool, types: Types, session: Session, *, read_only: bool) -> None:
        self._pool = pool
        self._types = types
        self._session = session
        self._read_only = read_only
        self._over = False

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """See `Transaction.query`. The work of the statement is read only and taken back."""
        self._run(call, statement, sink, reading=True)

    def execute(self, call: Call, statement: Statement, sink: Sink) -> Done:
        """See `Transaction.execute`."""
        tag = self._run(call, statement, sink, reading=self._read_only).tag
        affected = int(tag.split()[-1]) if tag.startswith(AFFECTING) else None
        return Done(status=tag, rows_affected=affected)

    def explain(self, call: Call, statement: Statement) -> str:
        """See `Transaction.explain`."""
        lines: list[bytes] = []

        def take(result: pq.abc.PGresult) -> bool:
            lines.extend(result.get_value(row, 0) or b"" for row in range(result.ntuples))
            return True

        check_text(statement.query, "the statement")
        bound = bind(statement.params)
        conn, text = self._session.pgconn, f"{EXPLAIN}{statement.query}".encode()
        with self._savepoint(reading=True):
            step = partial(conn.send_query_params, text, bound.values, bound.types)
            (answer,) = self._session.exchange(call, [step], rows=Rows(take, may_cancel=True))
            if answer.failed:
                error = statement_error(answer.result, statement.query, prefix=len(EXPLAIN))
                raise in_call(error, call)
        return b"\n".join(lines).decode("utf-8", "replace")

    def savepoint(self, call: Call) -> Callable[[], None]:
        """See `Transaction.savepoint`."""
        call.check()
        with self._losing():
            self._own(MARK)
        return self._back

    def commit(self, call: Call) -> None:
        """See `Transaction.commit`.

        Raises:
            ToolError: a deferred constraint or another transaction forbids it: nothing of it took
                effect. DATABASE_UNAVAILABLE: nobody knows.
        """
        self._check_open()
        with self._losing(), call.cancelling(self._session.cancel):
            result = self._session.run(b"COMMIT")
        self._end()
        if failed(result):
            raise in_call(statement_error(result, ""), call)
        if result.command_status != b"COMMIT":
            raise _broken()

    def rollback(self) -> None:
        """See `Transaction.rollback`."""
        if self._over:
            return
        try:
            if not self._read_only:  # locks are gone when the caller hears of it
                self._session.run(b"ROLLBACK")
        except ConnectionLostError:
            self._session.close()
        self._end()

    def _run(self, call: Call, statement: Statement, sink: Sink, *, reading: bool) -> Answer:
        check_text(statement.query, "the statement")
        access = self._access(reading=reading)
        run = StatementRun(self._session, self._types, call, statement, sink, access=access)
        with self._savepoint(reading=reading, run=run):
            return run.run(reading=reading)

    @contextmanager
    def _savepoint(self, *, reading: bool, run: StatementRun | None = None) -> Iterator[None]:
        """What happens within is undone if it fails, and always if it is `reading`."""
        self._check_open()
        with self._losing():
            self._own(SAVEPOINT + self._access(reading=reading))
            try:
                yield
                if not reading:
                    self._own(b"; ".join([RELEASE, *_leftovers(run)]))
            except ToolError as exc:
                if exc.code == ErrorCode.CONFLICT:
                    self.rollback()
                elif self._session.lost:  # what says why: an answer libpq has no memory for
                    raise ConnectionLostError(exc.message, answered=True) from None
                else:
                    self._undo(run)
                raise
            except ConnectionLostError:
                raise
            except BaseException:
                self._undo(run)
                raise
            if reading:
                self._undo(run)

    def _access(self, *, reading: bool) -> bytes:
        return READ_ONLY if reading and not self._read_only else b""

    def _undo(self, run: StatementRun | None) -> None:
        sql = b"; ".join([UNDO, RELEASE, *_leftovers(run)])
        for _ in range(UNDO_ATTEMPTS):
            result = self._session.run(sql)
            if not failed(result):
                return
            if sqlstate(result) != CANCELED:
                break
        self.rollback()
        raise _broken()

    def _back(self) -> None:
        self._check_open()
        with self._losing():
            self._own(BACK_TO_MARK)

    def _own(self, sql: bytes) -> None:
        """Runs our own SQL. It fails only in a transaction that is broken, and ends it."""
        result = self._session.run(sql)
        if failed(result):
            error = statement_error(result, "")
            self.rollback()
            raise ToolError(ErrorCode.CONFLICT, error.message, details=error.details)

    @contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except ConnectionLostError as lost:
            self._session.close()
            self._end()
            raise unavailable(str(lost), sent=True) from None

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self._pool.give_back(self._session)

    def _check_open(self) -> None:
        if self._over:
            raise ToolError(
                ErrorCode.TRANSACTION_ENDED,
                "the transaction has ended",
                hint="begin a new one and repeat its statements",
            )


def _leftovers(run: StatementRun | None) -> list[bytes]:
    """What else is to be taken out of the session."""
    return [DEALLOCATE] if run is not None and run.prepared else []


def _broken() -> ToolError:
    return ToolError(
        ErrorCode.CONFLICT,
        "the transaction could not go on and was rolled back; nothing of it took effect",
        hint="begin again and repeat its statements",
    )
