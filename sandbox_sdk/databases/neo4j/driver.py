"""Neo4j for a worker: one database as one sandbox's user.

The access mode of each transaction is set here, out of the reach of any statement; the server
refuses what it does not allow.
"""

import uuid
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import Any

import neo4j

from sandbox_sdk.databases.worker.driver import Call, Driver, Sink, Statement, Transaction
from tool_plugins.errors import ErrorCode, ToolError

from .connect import FAILURES, ServiceUnavailable, SessionExpired, connect
from .errors import translated
from .schema import read_schema
from .transaction import Neo4jTransaction

STOP_CONNECT_TIMEOUT_S = 2.0
IDLE_CHECK_S = 5.0
READ_VERBS = ["select"]
WRITE_VERBS = ["select", "insert", "update", "delete"]
WRITING = ("write", "owner")


class Neo4jDriver(Driver):
    """`settings` are those of `connect`, and: database; access ("none", "read", "write" or
    "owner"); pool_size; pool_timeout, pool_recycle, connection_timeout and transaction_s (how long
    a transaction may stay open) in seconds."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._access: str = settings["access"]
        self._driver = connect(
            settings,
            max_connection_pool_size=settings["pool_size"],
            connection_acquisition_timeout=settings["pool_timeout"],
            max_connection_lifetime=settings["pool_recycle"],
            connection_timeout=settings["connection_timeout"],
            liveness_check_timeout=IDLE_CHECK_S,
        )
        self._stopping: neo4j.Driver | None = None
        self._lock = Lock()

    def begin(self, call: Call, *, read_only: bool, isolation: str | None) -> Transaction:
        if isolation not in (None, "read committed"):
            raise ToolError(
                ErrorCode.UNSUPPORTED,
                f"neo4j has no isolation level {isolation!r}",
                hint="leave isolation out: it is read committed",
            )
        writes = self._access in WRITING and not read_only
        session, transaction, stop = self._open(
            call, writes=writes, timeout_s=self._settings["transaction_s"]
        )
        return Neo4jTransaction(
            session, transaction, writes=writes, schema=self._access == "owner", stop=stop
        )

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        session, transaction, stop = self._open(call, writes=False, timeout_s=call.remaining_s)
        reading = Neo4jTransaction(session, transaction, writes=False, schema=False, stop=stop)
        try:
            reading.query(call, statement, sink)
        finally:
            reading.rollback()

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        session, transaction, stop = self._open(call, writes=False, timeout_s=call.remaining_s)
        verbs = WRITE_VERBS if self._access in WRITING else READ_VERBS
        with translated(call), session, transaction, call.cancelling(stop):
            return read_schema(
                transaction, pattern=pattern, detail=detail, limit=limit, verbs=verbs
            )

    def close(self) -> None:
        with self._lock:
            drivers = [self._driver, self._stopping]
            self._stopping = None
        for driver in drivers:
            if driver is not None:
                with suppress(*FAILURES):
                    driver.close()

    def _open(
        self, call: Call, *, writes: bool, timeout_s: float
    ) -> tuple[neo4j.Session, neo4j.Transaction, Callable[[], None]]:
        """A transaction, and what ends at once whatever it runs."""
        if self._access == "none":
            raise ToolError(ErrorCode.PERMISSION_DENIED, "this sandbox may not use this database")
        call.check()
        mode = neo4j.WRITE_ACCESS if writes else neo4j.READ_ACCESS
        mark = uuid.uuid4().hex
        with translated(call, sent=False):
            try:
                session, transaction = self._begin(mode, mark, timeout_s)
            except (ServiceUnavailable, SessionExpired):
                # The pool held a connection that the server had closed, and has dropped it now.
                call.check()
                session, transaction = self._begin(mode, mark, timeout_s)
        return session, transaction, lambda: self._end(mark)

    def _begin(
        self, mode: str, mark: str, timeout_s: float
    ) -> tuple[neo4j.Session, neo4j.Transaction]:
        session = self._driver.session(
            database=self._settings["database"], default_access_mode=mode
        )
        try:
            transaction = session.begin_transaction(
                metadata={"call": mark}, timeout=max(0.001, timeout_s)
            )
        except BaseException:
            session.close()
            raise
        return session, transaction

    def _end(self, mark: str) -> None:
        """Asks the server to end a transaction, from a connection that no pool limits.

        One that cannot be found (a statement may overwrite its metadata) is ended by the host.
        """
        with suppress(*FAILURES), self._side().session(database=self._settings["database"]) as side:
            found = side.run(
                "SHOW TRANSACTIONS YIELD transactionId, metaData WHERE metaData.call = $mark "
                "RETURN transactionId",
                mark=mark,
            ).value()
            if found:
                side.run("TERMINATE TRANSACTIONS $found", found=found).consume()

    def _side(self) -> neo4j.Driver:
        with self._lock:
            if self._stopping is None:
                self._stopping = connect(
                    self._settings,
                    max_connection_pool_size=1,
                    connection_acquisition_timeout=STOP_CONNECT_TIMEOUT_S,
                    connection_timeout=STOP_CONNECT_TIMEOUT_S,
                )
            return self._stopping
