"""The operator's connections to one server. Blocking; used by the provisioner's threads.

A connection kept open may have died with its server in the meantime, so one is looked at before it
is used again. Messages carry the server's primary message only: the longer text quotes statements.
"""

import logging
import random
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar, cast

import psycopg
from psycopg import errors, sql

from tool_plugins.errors import ConfigurationError, EngineError

from .url import Server

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
Answer = TypeVar("Answer")

STATEMENT_TIMEOUT_S = 600
LOCK_TIMEOUT_S = 5
KEPT = 4
ATTEMPTS = 8
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
CANCEL_TIMEOUT_S = 10.0
CANCEL_INTERVAL_S = 0.1

# Two that work on one object at once; the loser only has to look again.
COLLISIONS = (
    errors.DuplicateDatabase,
    errors.DuplicateObject,
    errors.UniqueViolation,
    errors.InvalidCatalogName,
    errors.DeadlockDetected,
    errors.LockNotAvailable,
    errors.ObjectInUse,
    errors.TooManyConnections,
    errors.CannotConnectNow,
)
CONCURRENT_CHANGE = "tuple concurrently"
# What libpq says when another try cannot help. Errors of connecting carry no SQLSTATE.
HOPELESS = (
    "password authentication failed",
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "server does not support SSL",
    "certificate",
    "permission denied",
)


class Stopped(Exception):
    """Nobody waits for this work any more."""


class Admin:
    """Connects as the operator. Thread-safe."""

    def __init__(self, server: Server, *, maintenance: str) -> None:
        self.server = server
        self.maintenance = maintenance
        self._idle: list[Connection] = []
        self._seeding: set[Connection] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def maintaining(self) -> Iterator[Connection]:
        """A connection to the database for maintenance, reused when it can be; autocommit.

        Raises:
            ConfigurationError: the server does not accept the operator.
            EngineError: it cannot be reached.
        """
        connection = self._take() or self._connect(self.maintenance, _quiet_options())
        try:
            yield connection
        except BaseException:
            connection.close()  # in whatever state the block left it
            raise
        with self._lock:
            if len(self._idle) < KEPT and not self._stop.is_set():
                self._idle.append(connection)
                return
        connection.close()

    @contextmanager
    def connected(self, dbname: str, *, quiet: bool = True) -> Iterator[Connection]:
        """A new connection to any database; autocommit.

        `quiet` means that no name is looked up in a schema of that database, and no statement
        takes for ever. Seeding is the other case.

        Raises:
            ConfigurationError: the server does not accept the operator.
            EngineError: it cannot be reached.
        """
        connection = self._connect(dbname, _quiet_options() if quiet else "")
        with connection:
            if quiet:
                yield connection
                return
            with self._lock:
                self._seeding.add(connection)
            try:
                yield connection
            finally:
                with self._lock:
                    self._seeding.discard(connection)

    def stop(self) -> None:
        """Ends what is being seeded; no further work begins. What is short comes to its end.

        A seed is ended again until it notices: between two statements nothing is there to end.
        """
        self._stop.set()
        deadline = time.monotonic() + CANCEL_TIMEOUT_S
        while (seeding := self._seeds()) and time.monotonic() < deadline:
            for connection in seeding:
                _cancel(connection)
            time.sleep(CANCEL_INTERVAL_S)

    def _seeds(self) -> list[Connection]:
        with self._lock:
            return list(self._seeding)

    def close(self) -> None:
        """Closes what is kept open. Idempotent."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def pause(self, seconds: float) -> None:
        """Waits.

        Raises:
            Stopped: `stop` was called before or meanwhile.
        """
        if self._stop.wait(seconds):
            raise Stopped

    def repeat(self, work: Callable[[], Answer]) -> Answer:
        """Does idempotent work, again if it met other work or a connection that had died.

        Raises:
            ConfigurationError: the server refuses it.
            EngineError: the server cannot be reached, or is still in the way after some seconds.
        """
        pause = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            self.pause(0)
            try:
                return work()
            except psycopg.Error as exc:
                if not _transient(exc) or attempt == ATTEMPTS:
                    raise translated(exc) from exc
            self.pause(pause * random.uniform(0.5, 1))  # noqa: S311 - only spreads retries
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _take(self) -> Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if _alive(connection):
                return connection
            connection.close()

    def _connect(self, dbname: str, options: str) -> Connection:
        self.pause(0)
        settings: dict[str, Any] = {**self.server.conninfo(dbname), "client_encoding": "UTF8"}
        try:
            return psycopg.connect(**settings, options=options, autocommit=True)
        except psycopg.OperationalError as exc:
            text = reason(exc)
            if any(each in text for each in HOPELESS):
                raise ConfigurationError(f"PostgreSQL refuses the operator: {text}") from None
            raise EngineError(f"PostgreSQL cannot be reached: {text}") from None


def execute(connection: Connection, statements: Sequence[sql.Composable]) -> None:
    """Runs statements without parameters in one round trip, all or nothing."""
    if statements:
        connection.execute(sql.SQL(";\n").join(statements))


def raw(text: str) -> sql.SQL:
    """Statements as they are: written by the server's own quoting, or by the operator."""
    return sql.SQL(cast(LiteralString, text))


def reason(exc: psycopg.Error) -> str:
    """What the server said, on one line and without the statement."""
    text = exc.diag.message_primary or str(exc)
    return " ".join(text.split())


def translated(exc: psycopg.Error) -> ConfigurationError | EngineError:
    """An error of ours for one that another try does not mend."""
    # Class 42: a rule does not fit the database, or the operator lacks a right.
    if isinstance(exc, psycopg.ProgrammingError):
        return ConfigurationError(f"PostgreSQL refuses it: {reason(exc)}")
    return EngineError(f"PostgreSQL could not do it: {reason(exc)}")


def _transient(exc: psycopg.Error) -> bool:
    if isinstance(exc, COLLISIONS) or CONCURRENT_CHANGE in reason(exc):
        return True
    # The connection is gone: its server was restarted, or ended the session.
    lost = isinstance(exc, psycopg.OperationalError) and exc.sqlstate is None
    return lost or isinstance(exc, errors.AdminShutdown | errors.CrashShutdown)


def _cancel(connection: Connection) -> None:
    try:
        connection.cancel_safe(timeout=CANCEL_TIMEOUT_S)
    except psycopg.Error as exc:
        logger.warning("a statement could not be ended: %s", reason(exc))


def _alive(connection: Connection) -> bool:
    """Whether nothing arrived while it was idle: a server that ends a session says so."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _quiet_options() -> str:
    milliseconds = {
        "statement_timeout": STATEMENT_TIMEOUT_S * 1000,
        "lock_timeout": LOCK_TIMEOUT_S * 1000,
    }
    settings = {"search_path": "pg_catalog", **milliseconds}
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
