"""One transaction of a sandbox on Neo4j.

Neo4j has no savepoints: any error the server answers with ends the transaction, and what comes
after it is refused with TRANSACTION_ENDED. An error that ended it has details {"ended": true}.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import neo4j

from sandbox_sdk.databases.worker.driver import Call, Done, Sink, Statement, Transaction
from sandbox_sdk.databases.worker.values import decode_param
from tool_plugins.errors import ErrorCode, ToolError

from .connect import FAILURES
from .errors import translated
from .plan import plan_text
from .values import plain, type_name

_SCHEMA = ("indexes_added", "indexes_removed", "constraints_added", "constraints_removed")
_COUNTED = (
    "nodes_created",
    "nodes_deleted",
    "relationships_created",
    "relationships_deleted",
    "properties_set",
    "labels_added",
    "labels_removed",
    *_SCHEMA,
)
_WRITING = ("w", "rw")


class Neo4jTransaction(Transaction):
    """An open transaction on a session of its own. `stop` ends at once what it runs.

    `writes` says whether its access mode is write; `schema` whether it may change indexes and
    constraints.
    """

    def __init__(
        self,
        session: neo4j.Session,
        transaction: neo4j.Transaction,
        *,
        writes: bool,
        schema: bool,
        stop: Callable[[], None],
    ) -> None:
        self._session = session
        self._transaction = transaction
        self._writes = writes
        self._schema = schema
        self._stop = stop
        self._over = ""

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """See `Transaction.query`. Where the access mode is write, the server is asked first
        what kind of statement it is."""
        if self._writes:
            self._refuse_to_write(self._run(call, _explaining(statement), None))
        summary = self._run(call, statement, sink)
        if self._writes:
            self._refuse_to_write(summary, ran=True)

    def execute(self, call: Call, statement: Statement, sink: Sink) -> Done:
        summary = self._run(call, statement, sink)
        self._refuse_beyond_rights(summary.counters)
        return Done(_status(summary))

    def explain(self, call: Call, statement: Statement) -> str:
        plan = self._run(call, _explaining(statement), None).plan
        if plan is None:
            raise ToolError(ErrorCode.QUERY_ERROR, "the database has no plan for this statement")
        return plan_text(plan)

    def commit(self, call: Call) -> None:
        """See `Transaction.commit`. A connection that was killed answers a commit with success,
        and has done nothing: only a bookmark confirms one."""
        self._check_open()
        with self._ending(), translated(call):
            self._transaction.commit()
            confirmed = bool(self._session.last_bookmarks().raw_values)
            self._over = "it was committed" if confirmed else "its commit was not confirmed"
            self._session.close()
        if not confirmed:
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE,
                "the database ended the connection before it committed",
                details={"sent": True, "ended": True},
            )

    def rollback(self) -> None:
        self._over = self._over or "it was rolled back"
        with suppress(*FAILURES):
            self._transaction.close()
        with suppress(*FAILURES):
            self._session.close()

    def _run(self, call: Call, statement: Statement, sink: Sink | None) -> neo4j.ResultSummary:
        """Runs a statement to its end. What its rows are too many for is not fetched."""
        self._check_open()
        parameters = _parameters(statement)
        with self._ending(), translated(call), call.cancelling(self._stop):
            result = self._transaction.run(cast("Any", statement.query), parameters)
            if sink is not None:
                _take(result, sink)
            return result.consume()

    def _refuse_to_write(self, summary: neo4j.ResultSummary, *, ran: bool = False) -> None:
        changed = summary.counters.contains_updates or summary.counters.contains_system_updates
        if summary.query_type not in _WRITING and not changed:
            return
        if ran:
            self._end("a query tried to write")
        raise ToolError(
            ErrorCode.PERMISSION_DENIED,
            "the database says that this statement writes; a query only reads",
            hint="use database_execute",
            details={"ended": ran},
        )

    def _refuse_beyond_rights(self, counters: neo4j.SummaryCounters) -> None:
        """What a statement changed is known before it is committed, from the server's counters."""
        if counters.contains_system_updates:
            beyond = "users and databases of the server"
        elif not self._schema and any(getattr(counters, name) for name in _SCHEMA):
            beyond = "indexes and constraints"
        else:
            return
        self._end(f"a statement changed {beyond}")
        raise ToolError(
            ErrorCode.PERMISSION_DENIED,
            f"this sandbox may not change {beyond}; the transaction was rolled back",
            details={"ended": True},
        )

    def _check_open(self) -> None:
        if self._over:
            raise ToolError(
                ErrorCode.TRANSACTION_ENDED,
                f"the transaction has ended: {self._over}",
                hint="begin another with database_begin",
            )

    def _end(self, reason: str) -> None:
        self._over = reason
        self.rollback()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Notes that an error inside ended the transaction, where it did."""
        try:
            yield
        except ToolError as error:
            if self._transaction.closed() or error.code != ErrorCode.INVALID_ARGUMENT:
                error.details = {**error.details, "ended": True}
                self._end(f"rolled back after an error: {error.message.splitlines()[0]}")
            raise


def _explaining(statement: Statement) -> Statement:
    return Statement(f"EXPLAIN {statement.query}", statement.params)


def _parameters(statement: Statement) -> dict[str, Any]:
    if isinstance(statement.params, list):
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            "Cypher has no positional parameters",
            hint='write $name in the query and pass an object: {"name": value}',
        )
    return decode_param(statement.params or {})


def _take(result: neo4j.Result, sink: Sink) -> None:
    """Hands rows on until there are none, or one too many. Types are those of the first row."""
    names = result.keys()
    first = result.peek()
    values = first.values() if first is not None else [None] * len(names)
    sink.columns([(name, type_name(value)) for name, value in zip(names, values, strict=True)])
    for record in result:
        if not sink.row([plain(value) for value in record.values()]):
            return


def _status(summary: neo4j.ResultSummary) -> str:
    counts = ((name, getattr(summary.counters, name)) for name in _COUNTED)
    return (
        ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts if n) or "nothing changed"
    )
