"""What SQLite's errors mean to the caller. The engine's own words stay in the message."""

import sqlite3

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

TOO_LARGE_HINT = "select less of it, for example with substr"
_FAILURES = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOTADB,
)
_CODES = {
    sqlite3.SQLITE_FULL: (
        ErrorCode.QUOTA_EXCEEDED,
        "the database has reached its size limit; delete rows first",
    ),
    sqlite3.SQLITE_BUSY: (ErrorCode.CONFLICT, "another transaction is writing; try again"),
    sqlite3.SQLITE_LOCKED: (ErrorCode.CONFLICT, "another transaction is writing; try again"),
    sqlite3.SQLITE_TOOBIG: (ErrorCode.TOO_LARGE, TOO_LARGE_HINT),
    sqlite3.SQLITE_NOMEM: (ErrorCode.TOO_LARGE, TOO_LARGE_HINT),
    sqlite3.SQLITE_READONLY: (
        ErrorCode.PERMISSION_DENIED,
        "this reads only; use database_execute to write",
    ),
}


def primary(error: Exception) -> int:
    """SQLite's result code without its extension; 0 if the error is Python's own."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: Exception) -> bool:
    """Whether it failed because of another connection's lock, and may be tried again."""
    return primary(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def translate(error: Exception, call: Call, *, denied: str = "", hint: str = "") -> ToolError:
    """The `ToolError` for what `sqlite3` raised.

    `denied` is what the authorizer refused, `hint` what is allowed.
    """
    code, words = primary(error), str(error)
    details = {"engine_code": getattr(error, "sqlite_errorname", type(error).__name__)}
    if code == sqlite3.SQLITE_INTERRUPT:
        return call.timeout()
    if denied or code == sqlite3.SQLITE_AUTH:
        message = words if not denied else f"{words}: {denied}"
        return ToolError(ErrorCode.PERMISSION_DENIED, message, hint=hint, details=details)
    if code == sqlite3.SQLITE_CONSTRAINT and words.startswith("prohibited: "):
        return ToolError(ErrorCode.PERMISSION_DENIED, words, hint=hint, details=details)
    if isinstance(error, MemoryError):
        return ToolError(ErrorCode.TOO_LARGE, "out of memory", hint=TOO_LARGE_HINT)
    if code in _CODES:
        mapped, advice = _CODES[code]
        return ToolError(mapped, words, hint=advice, details=details)
    if code in _FAILURES:
        return ToolError(ErrorCode.DATABASE_UNAVAILABLE, words, details={**details, "sent": True})
    return ToolError(ErrorCode.QUERY_ERROR, words, details=details)
