"""How statements run on any engine: all or nothing, tried again where that is safe."""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from tool_plugins.errors import ErrorCode, ToolError

from .driver import Call, Driver, Statement, Transaction
from .rows import Budget, Collecting, FileSink
from .values import check_text

CONFLICT_ATTEMPTS = 3
FIRST_PAUSE_S = 0.01

Answer = TypeVar("Answer")
Fields = dict[str, Any]


class TransactionOver(Exception):
    """The transaction of a handle cannot go on. `error` is for the caller, `reason` for later."""

    def __init__(self, error: ToolError, reason: str) -> None:
        super().__init__(reason)
        self.error = error
        self.reason = reason


def statement_of(fields: Fields) -> Statement:
    """A statement as the host sent it.

    Raises:
        ToolError: INVALID_ARGUMENT, its text holds what no database takes.
    """
    return Statement(check_text(fields["query"], "the statement"), fields.get("params"))


def query(
    driver: Driver, call: Call, statement: Statement, make: Callable[[], Collecting | FileSink]
) -> Fields:
    """Reads outside of a transaction handle, once more if the connection is lost: it only reads."""
    sink = make()

    def once() -> Fields:
        nonlocal sink
        sink = make()
        driver.query(call, statement, sink)
        return sink.fields()

    def may_repeat(error: ToolError) -> bool:
        return not (isinstance(sink, FileSink) and sink.begun)

    return _repeated(call, once, may_repeat)[0]


def query_in(transaction: Transaction, call: Call, statement: Statement, sink: Any) -> Fields:
    """Reads in a transaction handle.

    Raises:
        TransactionOver: the failure ended the transaction.
    """
    try:
        transaction.query(call, statement, sink)
    except ToolError as exc:
        raise _judged(exc) from exc
    return sink.fields()


def explain(driver: Driver, call: Call, statement: Statement) -> Fields:
    """The plan of a statement, outside of a transaction handle."""

    def once() -> Fields:
        transaction = driver.begin(call, read_only=True, isolation=None)
        try:
            return {"plan": transaction.explain(call, statement)}
        finally:
            transaction.rollback()

    return _repeated(call, once, lambda error: True)[0]


def explain_in(transaction: Transaction, call: Call, statement: Statement) -> Fields:
    """The plan of a statement in a transaction handle.

    Raises:
        TransactionOver: the failure ended the transaction.
    """
    try:
        return {"plan": transaction.explain(call, statement)}
    except ToolError as exc:
        raise _judged(exc) from exc


def execute(driver: Driver, call: Call, statements: list[Statement], *, dry_run: bool) -> Fields:
    """Runs a batch in a transaction of its own: all of it takes effect, or nothing.

    It is tried again after a conflict, and once after a connection was lost before the commit was
    sent: nothing took effect then.
    """
    committing = False

    def once() -> Fields:
        nonlocal committing
        committing = False
        transaction = driver.begin(call, read_only=False, isolation=None)
        try:
            done = _batch(transaction, call, statements)
            committing = not dry_run
            if committing:
                _commit(transaction, call)
        finally:
            transaction.rollback()
        return {"statements": done, "committed": not dry_run, "dry_run": dry_run}

    def may_repeat(error: ToolError) -> bool:
        return not committing or error.details.get("sent") is False

    fields, attempts = _repeated(call, once, may_repeat)
    return fields | {"attempts": attempts}


def execute_in(
    transaction: Transaction, call: Call, statements: list[Statement], *, dry_run: bool
) -> Fields:
    """Runs a batch in a transaction handle: all of it, or the transaction is as before.

    Raises:
        TransactionOver: the failure ended the transaction; with several statements that is so
            too on an engine without savepoints.
    """
    undo = transaction.savepoint(call) if dry_run or len(statements) > 1 else None
    if dry_run and undo is None:
        raise ToolError(
            ErrorCode.UNSUPPORTED,
            "this database cannot undo a part of a transaction",
            hint="leave dry_run or transaction_id out",
        )
    try:
        done = _batch(transaction, call, statements)
        if dry_run and undo is not None:
            undo()
    except ToolError as exc:
        raise _undone(exc, undo) from exc
    return {"statements": done, "committed": False, "dry_run": dry_run}


def commit(transaction: Transaction, call: Call) -> None:
    """Commits a transaction handle.

    Raises:
        TransactionOver: it failed.
    """
    try:
        _commit(transaction, call)
    except ToolError as exc:
        raise TransactionOver(exc, f"its commit failed: {exc.message}") from exc


def _commit(transaction: Transaction, call: Call) -> None:
    try:
        transaction.commit(call)
    except ToolError as exc:
        if exc.code == ErrorCode.DATABASE_UNAVAILABLE and exc.details.get("sent") is not False:
            lost = "the connection was lost in the commit: it may have taken effect"
            hint = "look whether it took effect before you do it again"
            raise _amended(exc, f"{exc.message}; {lost}", hint=hint) from exc
        raise


def _batch(transaction: Transaction, call: Call, statements: list[Statement]) -> list[Fields]:
    budget = Budget(call.caps)
    answers: list[Fields] = []
    for index, statement in enumerate(statements):
        sink = Collecting(call.caps, budget)
        try:
            call.check()
            done = transaction.execute(call, statement, sink)
        except ToolError as exc:
            message = exc.message
            if len(statements) > 1:
                place = f"statement {index + 1} of {len(statements)}"
                message = f"{place} failed, so none took effect: {message}"
            raise _amended(exc, message, index=index) from exc
        answers.append(
            {"status": done.status, "rows_affected": done.rows_affected, **sink.returned()}
        )
    return answers


def _repeated(
    call: Call, once: Callable[[], Answer], may_repeat: Callable[[ToolError], bool]
) -> tuple[Answer, int]:
    conflicts, lost, attempts = 0, False, 1
    while True:
        try:
            return once(), attempts
        except ToolError as exc:
            if call.cancelled or call.remaining_s <= 0 or not may_repeat(exc):
                raise
            if exc.code == ErrorCode.CONFLICT and conflicts + 1 < CONFLICT_ATTEMPTS:
                conflicts += 1
                # Two that met must not meet again.
                pause = random.uniform(0.5, 1.5) * FIRST_PAUSE_S * 2**conflicts  # noqa: S311
                time.sleep(min(pause, call.remaining_s))
            elif _is_lost_connection(exc) and not lost:
                lost = True
            else:
                raise
        attempts += 1


def _is_lost_connection(error: ToolError) -> bool:
    return error.code == ErrorCode.DATABASE_UNAVAILABLE and not error.details.get("credential")


def _judged(error: ToolError) -> Exception:
    """The error itself, or that it ended the transaction."""
    if error.details.get("ended"):
        return TransactionOver(error, "rolled back by the database after an error")
    if error.code == ErrorCode.CONFLICT:
        return TransactionOver(error, "rolled back: it met a conflict with another transaction")
    if error.code == ErrorCode.DATABASE_UNAVAILABLE:
        return TransactionOver(error, "rolled back: the connection to the database was lost")
    return error


def _undone(error: ToolError, undo: Callable[[], None] | None) -> Exception:
    judged = _judged(error)
    if isinstance(judged, TransactionOver):
        return judged
    if undo is not None:
        try:
            undo()
        except ToolError as exc:
            return TransactionOver(
                error, f"rolled back: a failed call could not be undone: {exc.message}"
            )
    elif error.details.get("index", 0) > 0:
        message = f"{error.message}; the whole transaction was rolled back"
        return TransactionOver(
            _amended(error, message), "rolled back: one of several statements of a call failed"
        )
    return error


def _amended(error: ToolError, message: str, *, hint: str = "", **details: Any) -> ToolError:
    """The same error, saying more."""
    details = {**error.details, **details}
    return ToolError(error.code, message, hint=hint or error.hint, details=details)
