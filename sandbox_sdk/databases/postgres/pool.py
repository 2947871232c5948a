"""Connections of one database, kept and handed out. What one caller left in a connection is gone
before another gets it, and nobody waits for that: it is done after the answer was sent.
"""

import threading
import time
from collections import deque

from psycopg import pq
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

from .errors import ConnectionLostError, failed, unavailable
from .session import GLANCE_S, Session, connect
from .settings import Settings


class Pool:
    """SQLAlchemy's `QueuePool` over sessions. Thread-safe.

    A session that was used lies in `_used`, still counted as taken, until `clean` has reset it;
    only then can the queue hand it out again. `_places` counts as the queue does and exists
    because a wait for it can end early: with the call, or because a used session can be cleaned.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._making = threading.local()
        self._places = threading.Semaphore(settings.pool_size + settings.max_overflow)
        self._used: deque[Session] = deque()
        self._proxies: dict[Session, PoolProxiedConnection] = {}
        self._closed = False
        self._queue = QueuePool(
            self._make,  # pyright: ignore[reportArgumentType] - a session closes as a DBAPI one
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            timeout=settings.pool_timeout,
            recycle=settings.pool_recycle,  # pyright: ignore[reportArgumentType] - may be a float
            reset_on_return=None,
            use_lifo=True,
        )

    def take(self, call: Call) -> Session:
        """A session nobody else has, with nothing in it. Give it back with `give_back`.

        Raises:
            ToolError: BUSY after `pool_timeout`, TIMEOUT, DATABASE_UNAVAILABLE.
        """
        if self._closed:
            raise unavailable("its connections were closed", sent=False)
        self._wait(call)
        self._making.call = call
        try:
            proxy = self._queue.connect()
        except PoolTimeoutError:
            self._places.release()
            raise self._busy() from None
        except BaseException:
            self._places.release()
            raise
        session = proxy.dbapi_connection
        assert isinstance(session, Session)  # what `_make` made
        self._proxies[session] = proxy
        return session

    def give_back(self, session: Session) -> None:
        """Ends its use. It is reset by the next `clean`."""
        self._used.append(session)

    def clean(self) -> None:
        """Resets every used session and makes it free."""
        while True:
            try:
                session = self._used.popleft()
            except IndexError:
                return
            proxy = self._proxies.pop(session)
            try:
                if self._closed or not _reset(session):
                    proxy.invalidate()
                else:
                    proxy.close()
            finally:
                self._places.release()

    def close(self) -> None:
        """Closes what is free; what is in use is closed when it is given back."""
        self._closed = True
        self.clean()
        self._queue.dispose()

    def _make(self) -> Session:
        return connect(self._settings, self._making.call)

    def _wait(self, call: Call) -> None:
        if self._places.acquire(blocking=False):
            return
        deadline = time.monotonic() + self._settings.pool_timeout
        while True:
            self.clean()
            left = min(deadline - time.monotonic(), call.remaining_s)
            if self._places.acquire(timeout=max(0.0, min(GLANCE_S, left))):
                return
            call.check()
            if time.monotonic() >= deadline:
                raise self._busy()

    def _busy(self) -> ToolError:
        most = self._settings.pool_size + self._settings.max_overflow
        return ToolError(
            ErrorCode.BUSY,
            f"all {most} connections are in use, and none became free within "
            f"{self._settings.pool_timeout:g} s",
            hint="end open transactions, or make fewer calls at once",
        )


def _reset(session: Session) -> bool:
    """Takes everything out of a session that a statement can leave there. False: close it.

    A cancelled one is closed: the cancel request may still be on its way, and would hit what the
    next caller does.
    """
    session.fresh = False
    if session.lost or session.cancelled:
        return False
    try:
        if session.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            session.run(b"ROLLBACK")
        return not failed(session.run(b"DISCARD ALL"))
    except ConnectionLostError:
        return False
