"""Transactions that span calls. They are kept here by id and end by themselves."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tool_plugins.errors import ErrorCode, ToolError

from .alarms import Alarms
from .driver import Transaction
from .statements import TransactionOver

REMEMBERED = 100


class Handle:
    """One open transaction. Times are seconds; `ends_at` is monotonic."""

    def __init__(
        self, database: str, transaction: Transaction, idle_s: float, total_s: float
    ) -> None:
        self.database = database
        self.transaction = transaction
        self.idle_s = idle_s
        self.total_s = total_s
        self.ends_at = time.monotonic() + total_s
        self.lock = threading.Lock()
        self.used_at = time.monotonic()
        self.over = ""

    @property
    def remaining_s(self) -> float:
        """Until it is rolled back, used or not."""
        return max(0.0, self.ends_at - time.monotonic())


class Handles:
    """The open transactions of a worker. `notify` tells the host that one ended, and why."""

    def __init__(self, alarms: Alarms, notify: Callable[[str, str], None]) -> None:
        self._alarms = alarms
        self._notify = notify
        self._open: dict[str, Handle] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    def add(self, identity: str, handle: Handle) -> None:
        """Keeps a transaction that was just begun."""
        self._open[identity] = handle
        self._rest(identity, handle)

    def remaining_s(self, identity: str) -> float:
        """How long a call in it may take.

        Raises:
            ToolError: TRANSACTION_ENDED.
        """
        return self._find(identity).remaining_s

    @contextmanager
    def use(self, identity: str) -> Iterator[Handle]:
        """The transaction, for one call at a time.

        `TransactionOver` raised inside ends it, and the error it holds goes on. So does setting
        `over`, which is why it ended.

        Raises:
            ToolError: BUSY, another call uses it; TRANSACTION_ENDED.
        """
        handle = self._find(identity)
        if not handle.lock.acquire(blocking=False):
            raise ToolError(
                ErrorCode.BUSY,
                "another call is running in this transaction",
                hint="wait for its answer, then call again",
            )
        try:
            if handle.over:
                raise _ended(identity, handle.over)
            self._alarms.clear(identity)
            yield handle
        except TransactionOver as exc:
            handle.over = exc.reason
            raise exc.error from exc
        finally:
            self._leave(identity, handle)
            handle.lock.release()

    def end_all(self, database: str, reason: str) -> None:
        """Rolls back every transaction of a database."""
        for identity, handle in list(self._open.items()):
            if handle.database == database:
                with handle.lock:
                    handle.over = handle.over or reason
                    self._leave(identity, handle)

    def _find(self, identity: str) -> Handle:
        handle = self._open.get(identity)
        if handle is None:
            raise _ended(identity, self._ended.get(identity, "it is not known"))
        return handle

    def _leave(self, identity: str, handle: Handle) -> None:
        if not handle.over and handle.remaining_s <= 0:
            handle.over = f"rolled back: open for {handle.total_s:g} s"
        if not handle.over:
            self._rest(identity, handle)
        elif self._open.pop(identity, None) is not None:
            self._alarms.clear(identity)
            handle.transaction.rollback()
            self._remember(identity, handle.over)

    def _rest(self, identity: str, handle: Handle) -> None:
        handle.used_at = time.monotonic()
        after = min(handle.idle_s, handle.remaining_s)
        self._alarms.set(identity, after, lambda: self._expire(identity, handle))

    def _expire(self, identity: str, handle: Handle) -> None:
        # A call that uses it, or did so since the alarm rang, has set the alarm anew at its end.
        if handle.lock.acquire(blocking=False):
            try:
                idle = time.monotonic() - handle.used_at >= handle.idle_s
                if idle and not handle.over:
                    handle.over = f"rolled back: not used for {handle.idle_s:g} s"
                if handle.over or handle.remaining_s <= 0:
                    self._leave(identity, handle)
            finally:
                handle.lock.release()

    def _remember(self, identity: str, reason: str) -> None:
        self._ended[identity] = reason
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)
        self._notify(identity, reason)


def _ended(identity: str, reason: str) -> ToolError:
    return ToolError(
        ErrorCode.TRANSACTION_ENDED,
        f"transaction {identity} has ended: {reason}",
        hint="begin another with database_begin",
    )
