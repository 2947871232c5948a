"""One sandbox's SQLite database, as its restricted principal. Runs in the worker.

Settings (JSON):
    path, shared          the file; whether other sandboxes use it too
    rules                 see `rules`
    max_bytes             of the file; 0: not bounded here
    pool                  {"size", "overflow", "timeout_s", "recycle_s"}
"""

import secrets
import sqlite3
from pathlib import Path
from typing import Any

from sandbox_sdk.databases.worker.driver import Call, Driver
from tool_plugins.errors import ErrorCode, ToolError

from .connection import Connection, Kind, Site
from .errors import is_busy, translate
from .pool import Bounds, Pool
from .rules import Rules
from .schema import schema_of
from .transaction import SqliteTransaction


class SqliteDriver(Driver):
    """See `Driver`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        rules = Rules.of(settings["rules"])
        self._site = Site(
            path=Path(settings["path"]),
            rules=rules,
            # Letters first: it is never mistaken for a number, and needs no quotes.
            token=f"guard_{secrets.token_hex(16)}_",
            shared=settings["shared"],
            max_bytes=settings["max_bytes"],
        )
        self._pool = Pool(lambda kind: Connection(self._site, kind), Bounds(**settings["pool"]))

    def begin(self, call: Call, *, read_only: bool, isolation: str | None) -> SqliteTransaction:
        """See `Driver.begin`. SQLite's transactions are serializable, whatever is asked for."""
        call.check()
        kind: Kind = "read" if read_only or not self._site.rules.writable else "write"
        if kind == "write":
            self._check_log()
        connection = self._pool.acquire(kind, call)
        try:
            begin = "BEGIN IMMEDIATE" if kind == "write" else "BEGIN DEFERRED"
            connection.own_patiently(begin, call)
        except BaseException as exc:
            self._pool.release(connection)
            if isinstance(exc, sqlite3.Error):
                raise _not_begun(exc, call) from exc
            raise
        return SqliteTransaction(self._pool, connection, read_only=kind == "read")

    def schema(self, call: Call, *, pattern: str, detail: str, limit: int) -> dict[str, Any]:
        """See `Driver.schema`."""
        call.check()
        try:
            return schema_of(self._site, call, pattern=pattern, detail=detail, limit=limit)
        except sqlite3.Error as exc:
            raise translate(exc, call) from exc

    def close(self) -> None:
        """See `Driver.close`."""
        self._pool.close()

    def _check_log(self) -> None:
        """Refuses to write while the log of changes, which readers keep alive, is too long."""
        log = Path(f"{self._site.path}-wal")
        most = self._site.max_bytes
        if most and log.exists() and log.stat().st_size > most:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                "the database's log of changes has reached the size limit",
                hint="end transactions that read, then try again",
            )


def _not_begun(error: sqlite3.Error, call: Call) -> ToolError:
    if is_busy(error):
        return ToolError(
            ErrorCode.BUSY,
            f"{error}: another transaction is writing",
            hint="commit or roll back open transactions, or try again",
        )
    return translate(error, call)
