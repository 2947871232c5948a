"""The transactions of one sandbox as the host knows them: which are open, why others ended."""

import secrets
from collections import OrderedDict

from tool_plugins.errors import ErrorCode, ToolError

REMEMBERED = 256


class OpenTransactions:
    """Ids by database, and a bounded memory of those that ended."""

    def __init__(self) -> None:
        self._open: dict[str, str] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()

    @property
    def ids(self) -> tuple[str, ...]:
        """Those that are open, oldest first."""
        return tuple(self._open)

    @staticmethod
    def new_id() -> str:
        """An id nobody can guess."""
        return f"tx-{secrets.token_hex(16)}"

    def add(self, identity: str, database: str) -> None:
        """A transaction was begun."""
        self._open[identity] = database

    def database(self, identity: str) -> str:
        """Where a transaction runs.

        Raises:
            ToolError: TRANSACTION_ENDED, with the reason; NOT_FOUND, there never was one.
        """
        if identity in self._open:
            return self._open[identity]
        if identity in self._ended:
            raise ToolError(
                ErrorCode.TRANSACTION_ENDED,
                f"transaction {identity} has ended: {self._ended[identity]}",
                hint="begin another with database_begin",
            )
        raise ToolError(
            ErrorCode.NOT_FOUND,
            f"there is no transaction {identity}",
            hint="use the transaction_id that database_begin returned",
        )

    def end(self, identity: str, reason: str) -> None:
        """A transaction ended. The first reason stands."""
        if self._open.pop(identity, None) is not None:
            self._ended[identity] = reason
            while len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)

    def end_all(self, reason: str, *, database: str | None = None) -> None:
        """All ended, or all of one database."""
        for identity, place in list(self._open.items()):
            if database in (None, place):
                self.end(identity, reason)
