"""The server's and the library's errors as ours. The server's own words go into the message."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from neo4j.exceptions import (
    ConnectionAcquisitionTimeoutError,
    DriverError,
    IncompleteCommit,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
)

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

_POSITION = re.compile(r"\(line (\d+), column (\d+) \(offset: (\d+)\)\)")

_DENIED = (
    "Neo.ClientError.Statement.AccessMode",
    "Neo.ClientError.General.WriteOnReadOnlyAccessDatabase",
    "Neo.ClientError.Statement.ExternalResourceFailed",
    "Neo.ClientError.Security.Forbidden",
    "Neo.ClientError.Security.AuthorizationFailed",
)
_LOGIN = "Neo.ClientError.Security.Unauthorized"
_TIMED_OUT = (
    "Neo.ClientError.Transaction.TransactionTimedOut",
    "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
)
_TERMINATED = (
    "Neo.TransientError.Transaction.Terminated",
    "Neo.ClientError.Transaction.Terminated",
)
_CONFLICTS = (
    "Neo.TransientError.Transaction.DeadlockDetected",
    "Neo.TransientError.Transaction.LockClientStopped",
    "Neo.TransientError.Transaction.Outdated",
    "Neo.ClientError.Transaction.LockAcquisitionTimeout",
    "Neo.TransientError.Transaction.LockAcquisitionTimeout",
)
_TOO_LARGE = (
    "Neo.TransientError.General.MemoryPoolOutOfMemoryError",
    "Neo.TransientError.General.TransactionOutOfMemoryError",
    "Neo.TransientError.General.OutOfMemoryError",
)
_UNAVAILABLE = (
    "Neo.TransientError.General.DatabaseUnavailable",
    "Neo.TransientError.Database.DatabaseUnavailable",
)


@contextmanager
def translated(call: Call, *, sent: bool = True) -> Iterator[None]:
    """Lets no error of the library out. `sent`: whether a statement may have run when it came.

    Raises:
        ToolError: see `worker.driver`.
    """
    try:
        yield
    except Neo4jError as error:
        raise refusal(error, call) from error
    except ConnectionAcquisitionTimeoutError as error:
        raise ToolError(
            ErrorCode.BUSY,
            "every connection to the database is in use",
            hint="end a transaction, or call again later",
        ) from error
    except (DriverError, OSError) as error:
        raise lost(error, call, sent=sent) from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT, f"a parameter cannot be sent to the database: {error}"
        ) from error


def refusal(error: Neo4jError, call: Call) -> ToolError:
    """What the server answered."""
    code, words = error.code or "", (error.message or str(error)).strip()
    if code in _TERMINATED and (call.cancelled or call.remaining_s <= 0):
        return call.timeout()
    if code in _TIMED_OUT:
        return call.timeout()
    details: dict[str, Any] = {"sqlstate": error.gql_status, "code": code}
    if code in _DENIED:
        return ToolError(ErrorCode.PERMISSION_DENIED, words, details=details)
    if code in _CONFLICTS:
        return ToolError(
            ErrorCode.CONFLICT,
            f"{words}; nothing of the transaction took effect",
            hint="run the transaction again",
            details=details,
        )
    if code in _TOO_LARGE:
        return ToolError(ErrorCode.TOO_LARGE, words, hint="ask for less at once", details=details)
    if code in (*_UNAVAILABLE, *_TERMINATED):
        return ToolError(ErrorCode.DATABASE_UNAVAILABLE, words, details={**details, "sent": True})
    if code == _LOGIN:
        return ToolError(
            ErrorCode.DATABASE_UNAVAILABLE,
            "the server refuses the login of this sandbox",
            details={**details, "sent": False, "credential": True},
        )
    if place := position(error):
        details["line"], details["column"], details["position"] = place
    return ToolError(ErrorCode.QUERY_ERROR, words, details=details)


def lost(error: Exception, call: Call, *, sent: bool) -> ToolError:
    """There is no connection, or none any more."""
    if call.cancelled:
        return call.timeout()
    sent = sent or isinstance(error, IncompleteCommit)
    known = isinstance(error, ServiceUnavailable | SessionExpired | OSError)
    what = "cannot be reached" if known else "could not be used"
    words = next(iter(str(error).splitlines()), type(error).__name__)
    return ToolError(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the database {what}: {words}",
        hint="call again",
        details={"sent": sent},
    )


def position(error: Neo4jError) -> tuple[int, int, int] | None:
    """Line and column from 1 and offset from 0 of what the server points at."""
    found = _POSITION.search(error.message or "")
    if found is None or found[1] == "0":
        return None
    return int(found[1]), int(found[2]), int(found[3])
