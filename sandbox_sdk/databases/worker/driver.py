"""What a database engine is to the worker. Runs in the worker process; blocking, many threads.

A driver acts as one sandbox's restricted principal on one database. It raises `ToolError` for
everything the caller can mend, and lets nothing of its library's exceptions out:

    PERMISSION_DENIED     the engine refused it; the message holds the engine's own words
    QUERY_ERROR           the statement is wrong; details {"sqlstate", "position", ...} if known
    CONFLICT              deadlock or serialisation failure; nothing of the transaction took effect
    DATABASE_UNAVAILABLE  no connection; details {"sent": bool} says if the statement may have run
    BUSY                  no connection became free within `pool_timeout`
    TIMEOUT               the call's deadline passed, or it was cancelled
    TOO_LARGE             an answer does not fit into the worker's memory
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

Params = list[Any] | dict[str, Any] | None
"""As the caller sent them: JSON, where `{"base64": ...}` stands for bytes."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a model, and the values for its placeholders."""

    query: str
    params: Params = None


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of a result is wanted."""

    rows: int
    bytes: int
    cell_chars: int


class Call:
    """One request on its way. Made by the worker, handed to the driver."""

    def __init__(self, *, timeout_s: float, caps: Caps) -> None:
        self.caps = caps
        self.cancelled = False
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; never negative."""
        return max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        """Ends the call if nobody waits for it any more.

        Raises:
            ToolError: TIMEOUT.
        """
        if self.cancelled or self.remaining_s <= 0:
            raise self.timeout()

    def timeout(self) -> ToolError:
        """The error of a call that took too long."""
        return ToolError(
            ErrorCode.TIMEOUT,
            f"the database did not answer within {self._timeout_s:g} s; the statement was ended",
            hint="ask for less at once, or raise timeout_s",
        )

    @contextmanager
    def cancelling(self, stop: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `cancel` calls `stop`, from another thread and at most once."""
        with self._lock:
            self._stop = stop
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._stop = None

    def cancel(self) -> None:
        """Asks the driver to stop. Called by the worker at the deadline or on request."""
        self.cancelled = True
        with self._lock:
            if self._stop is not None:
                stop, self._stop = self._stop, None
                stop()


class Sink(ABC):
    """Takes the rows of one result as they come (see `rows.py`)."""

    @abstractmethod
    def columns(self, columns: Sequence[tuple[str, str]]) -> None:
        """Name and type of each column, before the first row."""

    @abstractmethod
    def row(self, row: Sequence[Any]) -> bool:
        """Takes a row of Python values. False: take no more; there was one too many."""


@dataclass(slots=True)
class Done:
    """What one executed statement did; its rows went into its sink."""

    status: str
    rows_affected: int | None = None


class Transaction(ABC):
    """An open transaction. Used by one thread at a time."""

    @abstractmethod
    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """Runs a statement of which the engine itself holds that it does not write."""

    @abstractmethod
    def execute(self, call: Call, statement: Statement, sink: Sink) -> Done:
        """Runs a statement that may write.

        Raises:
            ToolError: the transaction is then as before the statement (a savepoint), unless the
                code is CONFLICT or DATABASE_UNAVAILABLE: then it is over.
        """

    @abstractmethod
    def explain(self, call: Call, statement: Statement) -> str:
        """The plan of a statement, which is not run."""

    def savepoint(self, call: Call) -> Callable[[], None] | None:
        """Marks this point. The answer undoes everything since; None: the engine has no such thing.

        It makes a call of several statements all-or-nothing in a transaction that spans calls.
        """
        return None

    @abstractmethod
    def commit(self, call: Call) -> None:
        """Ends it for good; the connection goes back clean."""

    @abstractmethod
    def rollback(self) -> None:
        """Ends it and undoes everything. Never raises; idempotent; also after `commit`."""


class Driver(ABC):
    """One database as one principal. Thread-safe."""

    transactions = True

    @abstractmethod
    def begin(self, call: Call, *, read_only: bool, isolation: str | None) -> Transaction:
        """Opens a transaction on a connection of its own."""

    @abstractmethod
    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        """`items`, `total` and `truncated` of a `SchemaResult`: only what the principal may use."""

    @abstractmethod
    def close(self) -> None:
        """Closes every connection. Open transactions are rolled back by the engine."""

    def query(self, call: Call, statement: Statement, sink: Sink) -> None:
        """Reads outside of a transaction handle. Retried by the worker where that is safe."""
        transaction = self.begin(call, read_only=True, isolation=None)
        try:
            transaction.query(call, statement, sink)
        finally:
            transaction.rollback()

    def settle(self) -> None:  # noqa: B027 - most drivers have nothing to do here
        """Called after an answer has been sent: the place for clean-up nobody should wait for."""


class VectorDriver(ABC):
    """A vector database as one principal. Thread-safe. Arguments and answers are those of the
    tools `vector.*`, as plain data; `schema` and `close` are as in `Driver`."""

    transactions = False

    @abstractmethod
    def search(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """The fields of a `VectorSearchResult`."""

    @abstractmethod
    def upsert(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """The fields of a `VectorChangeResult`."""

    @abstractmethod
    def delete(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        """The fields of a `VectorChangeResult`."""

    @abstractmethod
    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        """See `Driver.schema`."""

    @abstractmethod
    def close(self) -> None:
        """See `Driver.close`."""


@dataclass(slots=True)
class Collected:
    """A result as it is sent to the host: the fields of a `QueryResult` or `StatementResult`."""

    columns: list[dict[str, str]] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    truncated: bool = False
    truncated_by: str | None = None
    clipped_cells: int = 0
