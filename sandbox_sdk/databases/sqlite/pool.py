"""The connections of one sandbox to its database: some kept, some more at need, never too many.

Not SQLAlchemy's QueuePool: a connection that reads is another than one that writes (`mode=ro` is
for good), both count against one bound, and a caller stops waiting when its call is cancelled.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

from .connection import Connection, Kind

WAIT_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """See `ConnectionPool`."""

    size: int
    overflow: int
    timeout_s: float
    recycle_s: float


class Pool:
    """Thread-safe."""

    def __init__(self, open_connection: Callable[[Kind], Connection], bounds: Bounds) -> None:
        self._open = open_connection
        self._bounds = bounds
        self._idle: list[Connection] = []
        self._used = 0
        self._closed = False
        self._changed = threading.Condition()

    def acquire(self, kind: Kind, call: Call) -> Connection:
        """A connection that nobody else has, as if it were new.

        Raises:
            ToolError: BUSY, none became free in time; DATABASE_UNAVAILABLE; TIMEOUT.
        """
        connection = self._take(kind, call)
        if connection is not None:
            return connection
        try:
            return self._open(kind)
        except BaseException as exc:
            self._lose()
            if isinstance(exc, sqlite3.Error):
                raise ToolError(
                    ErrorCode.DATABASE_UNAVAILABLE,
                    f"the database cannot be opened: {exc}",
                    details={"sent": False},
                ) from exc
            raise

    def release(self, connection: Connection) -> None:
        """Takes one back, cleaned. Never raises."""
        try:
            connection.clean()
        except sqlite3.Error:
            connection.close()
            self._lose()
            return
        with self._changed:
            self._used -= 1
            keep = len(self._idle) < self._bounds.size and not self._closed
            if keep:
                self._idle.append(connection)
            self._changed.notify()
        if not keep:
            connection.close()

    def close(self) -> None:
        """Closes those that are idle now, and the others when they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for connection in idle:
            connection.close()

    def _take(self, kind: Kind, call: Call) -> Connection | None:
        """An idle connection, or None for leave to open one."""
        until = time.monotonic() + self._bounds.timeout_s
        spare: list[Connection] = []
        with self._changed:
            while not self._closed:
                spare += self._drop_old()
                found = next((each for each in self._idle if each.kind == kind), None)
                most = self._bounds.size + self._bounds.overflow
                if found is not None:
                    self._idle.remove(found)
                elif self._used >= most:
                    self._wait(until, call)
                    continue
                elif self._used + len(self._idle) >= most:
                    spare.append(self._idle.pop(0))
                self._used += 1
                break
            else:
                raise ToolError(
                    ErrorCode.DATABASE_UNAVAILABLE,
                    "the database is closed",
                    details={"sent": False},
                )
        for connection in spare:
            connection.close()
        return found

    def _drop_old(self) -> list[Connection]:
        born_after = time.monotonic() - self._bounds.recycle_s
        old = [each for each in self._idle if each.opened_at < born_after]
        self._idle = [each for each in self._idle if each not in old]
        return old

    def _wait(self, until: float, call: Call) -> None:
        call.check()
        left = until - time.monotonic()
        if left <= 0:
            raise ToolError(
                ErrorCode.BUSY,
                f"all {self._used} connections to the database are in use",
                hint="commit or roll back open transactions, or try again",
            )
        self._changed.wait(min(left, WAIT_STEP_S))

    def _lose(self) -> None:
        with self._changed:
            self._used -= 1
            self._changed.notify()
