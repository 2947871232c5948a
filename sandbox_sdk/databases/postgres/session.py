"""One connection, spoken to through libpq: round trips, rows as they come, cancelling.

The cursors of psycopg wait for each command before they send the next. Here several commands go
out together (a libpq pipeline), which makes a guarded statement as quick as a bare one. Everything
a model writes travels by the extended protocol, in which the server takes one statement only.
"""

import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import pq

from sandbox_sdk.databases.worker.driver import Call

from .errors import ConnectionLostError, connect_error, failed, too_large, unavailable
from .settings import Settings

CHUNK_ROWS = 10
"""Rows in memory at once: a chunk of rows of ten megabytes still fits into a worker."""
CANCEL_TIMEOUT_S = 0.5
GLANCE_S = 0.1
"""How often a wait looks whether its caller is still there."""

Step = Callable[[], None]
TakeRows = Callable[[pq.abc.PGresult], bool]

_WITH_ROWS = (pq.ExecStatus.TUPLES_CHUNK, pq.ExecStatus.TUPLES_OK)
_COPYING = (pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH)
_WAITS = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}


@dataclass(slots=True)
class Answer:
    """What one step ended with. `tag` is the server's name for what it did: "INSERT 0 1"."""

    result: pq.abc.PGresult
    tag: str

    @property
    def failed(self) -> bool:
        """Whether the server refused it."""
        return failed(self.result)


@dataclass(slots=True)
class Rows:
    """Takes the rows of one step of an exchange.

    `take` gets each chunk, the first one also if it is empty, and says whether it wants more. What
    follows is thrown away; with `may_cancel` the server is asked to stop making it.
    """

    take: TakeRows
    may_cancel: bool
    stopped: bool = False
    error: BaseException | None = field(default=None)

    def give(self, result: pq.abc.PGresult) -> None:
        """Hands a chunk on, unless it was said that there are enough."""
        if self.stopped:
            return
        try:
            self.stopped = not self.take(result)
        except MemoryError:
            self.stopped, self.error = True, too_large()
        except Exception as exc:  # the protocol is brought to its end first, then it is raised
            self.stopped, self.error = True, exc


class Session:
    """One connection as the restricted principal. One thread at a time; `cancel` from any."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self.pgconn = pgconn
        self.connection = psycopg.Connection(pgconn)
        self.fresh = True
        """Nothing was done with it yet, so it cannot have become stale."""
        self.cancelled = False
        self._readable = select.poll()
        self._readable.register(pgconn.socket, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(pgconn.socket, select.POLLIN | select.POLLOUT)

    @property
    def lost(self) -> bool:
        """Whether the connection is gone."""
        return self.pgconn.status != pq.ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open and not failed."""
        return self.pgconn.transaction_status == pq.TransactionStatus.INTRANS

    def close(self) -> None:
        """Ends the connection. The server rolls back what was open."""
        self.connection.close()

    def cancel(self) -> None:
        """Asks the server to stop what it is doing for this connection."""
        self.cancelled = True
        with suppress(psycopg.Error):  # then the deadline of the worker's host ends it
            self.connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)

    def run(self, sql: bytes) -> pq.abc.PGresult:
        """One round trip with our own SQL, by the simple protocol.

        Raises:
            ConnectionLostError: with `answered` False.
        """
        if self.lost:
            raise ConnectionLostError("the connection was closed", answered=False)
        result = self.pgconn.exec_(sql)
        if self.lost:
            raise ConnectionLostError(_words(self.pgconn, result), answered=False)
        return result

    def exchange(
        self, call: Call, steps: Sequence[Step], *, rows: Rows | None = None
    ) -> list[Answer]:
        """Sends all steps in one message; what each ended with. The server skips what comes
        after a failed one. `rows` takes those of the last step.

        Raises:
            ToolError: TIMEOUT before anything was sent, or what `rows` raised.
            ConnectionLostError: `answered` says if the first step was answered.
        """
        answers: list[Answer] = []
        with call.cancelling(self.cancel):
            try:
                self._send(steps)
                for _ in steps[:-1]:
                    answers.append(self._collect(None))
                answers.append(self._collect(rows))
                self._next()  # the pipeline's end
                self.pgconn.exit_pipeline_mode()
            except psycopg.Error as exc:
                raise self._loss(answers, exc) from None
        if rows is not None and rows.error is not None:
            raise rows.error
        return answers

    def _send(self, steps: Sequence[Step]) -> None:
        self.pgconn.enter_pipeline_mode()
        for step in steps:
            step()
        self.pgconn.pipeline_sync()
        while self.pgconn.flush():
            self._writable.poll()
            self.pgconn.consume_input()

    def _loss(self, answers: Sequence[Answer], exc: psycopg.Error) -> ConnectionLostError:
        refused = next((each.result for each in answers if each.failed), None)
        words = _words(self.pgconn, refused) if refused else str(exc)
        self.connection.close()  # libpq is in the middle of a message
        answered = bool(answers) and not answers[0].failed
        return ConnectionLostError(words, answered=answered)

    def _collect(self, rows: Rows | None) -> Answer:
        if rows is not None:
            self.pgconn.set_chunked_rows_mode(CHUNK_ROWS)
        last: pq.abc.PGresult | None = None
        tag = b""
        while (result := self._next()) is not None:
            last, status = result, result.status
            tag = result.command_status or tag  # libpq puts it on the last chunk that has rows
            if status in _COPYING:
                raise psycopg.OperationalError("COPY to or from the client is not possible")
            if rows is not None and status in _WITH_ROWS:
                rows.give(result)
                if rows.stopped and rows.may_cancel and self.pgconn.is_busy():
                    rows.may_cancel = False
                    self.cancel()
        if last is None:
            raise psycopg.OperationalError("the server gave no answer")
        return Answer(last, tag.decode())

    def _next(self) -> pq.abc.PGresult | None:
        while self.pgconn.is_busy():
            self._readable.poll()
            self.pgconn.consume_input()
        return self.pgconn.get_result()


def connect(settings: Settings, call: Call) -> Session:
    """A new connection, within `connection_timeout` and the call's deadline.

    Raises:
        ToolError: DATABASE_UNAVAILABLE (details "credential" if the password is wrong), BUSY or
            TIMEOUT.
    """
    pgconn = pq.PGconn.connect_start(settings.conninfo)
    try:
        _finish_connecting(pgconn, settings, call)
        private = pgconn.host.startswith((b"/", b"@"))  # a unix socket: nobody can listen
        if settings.require_tls and not private and not pgconn.ssl_in_use:
            raise unavailable("the server offers no TLS, and TLS is required", sent=False)
    except BaseException:
        pgconn.finish()
        raise
    pgconn.nonblocking = 1
    return Session(pgconn)


def _finish_connecting(pgconn: pq.abc.PGconn, settings: Settings, call: Call) -> None:
    deadline = time.monotonic() + settings.connection_timeout
    status = pq.PollingStatus.WRITING if pgconn.status != pq.ConnStatus.BAD else None
    while status in _WAITS:
        waiting = select.poll()
        waiting.register(pgconn.socket, _WAITS[pq.PollingStatus(status)])
        while not waiting.poll(GLANCE_S * 1000):
            call.check()
            if time.monotonic() > deadline:
                took = f"no answer within {settings.connection_timeout:g} s"
                raise unavailable(took, sent=False)
        status = pgconn.connect_poll()
    if status != pq.PollingStatus.OK:
        raise connect_error(pgconn.get_error_message("utf-8"))


def _words(pgconn: pq.abc.PGconn, result: pq.abc.PGresult | None) -> str:
    said = result.get_error_message("utf-8") if result is not None else ""
    return said or pgconn.get_error_message("utf-8")
