"""What PostgreSQL says, as the errors a model can act on. In the worker and nowhere else."""

from typing import Any

from psycopg import pq

from sandbox_sdk.databases.worker.driver import Call
from tool_plugins.errors import ErrorCode, ToolError

MULTIPLE_COMMANDS = "cannot insert multiple commands"
SYNTAX_ERROR = "42601"
IN_FAILED_TRANSACTION = "25P02"

_CODES = {
    "25006": ErrorCode.PERMISSION_DENIED,  # read_only_sql_transaction
    "40001": ErrorCode.CONFLICT,  # serialization_failure
    "40P01": ErrorCode.CONFLICT,  # deadlock_detected
    "42501": ErrorCode.PERMISSION_DENIED,  # insufficient_privilege
    "53100": ErrorCode.QUOTA_EXCEEDED,  # disk_full
    "53200": ErrorCode.TOO_LARGE,  # out_of_memory
    "53300": ErrorCode.BUSY,  # too_many_connections
    "53400": ErrorCode.QUOTA_EXCEEDED,  # configuration_limit_exceeded, such as temp_file_limit
    "57014": ErrorCode.TIMEOUT,  # query_canceled
}

_HINTS = {
    "25006": "use database_execute for what writes",
    "40001": "begin again and repeat every statement",
    "40P01": "begin again and repeat every statement",
    "42501": "database_schema shows what may be used",
    "42P18": "say what the placeholder is: $1::text",
    "53100": "ask for less at once",
    "53200": "ask for less at once",
    "53400": "ask for less at once: sort or join fewer rows",
    "57014": "ask for less at once, or raise timeout_s",
}

_FIELDS = {
    "detail": pq.DiagnosticField.MESSAGE_DETAIL,
    "schema": pq.DiagnosticField.SCHEMA_NAME,
    "table": pq.DiagnosticField.TABLE_NAME,
    "column": pq.DiagnosticField.COLUMN_NAME,
    "type": pq.DiagnosticField.DATATYPE_NAME,
    "constraint": pq.DiagnosticField.CONSTRAINT_NAME,
}

# Words of libpq and of a server with English messages: neither gives a code for these.
_BAD_CREDENTIAL = ("password authentication failed", "no password supplied")
_NO_ROOM = ("too many clients", "too many connections", "connection slots are reserved")
_OUT_OF_MEMORY = ("out of memory", "cannot allocate memory", "lost synchronization with server")


class ConnectionLostError(Exception):
    """The connection is gone. `answered`: it was still there when the exchange began."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered

    def for_caller(self, *, sent: bool) -> ToolError:
        """The error to show; `sent` says if the statement may have run."""
        message = str(self)
        if any(words in message for words in _OUT_OF_MEMORY):
            return too_large()
        return unavailable(message, sent=sent)


def failed(result: pq.abc.PGresult) -> bool:
    """Whether the server refused it."""
    return result.status == pq.ExecStatus.FATAL_ERROR


def sqlstate(result: pq.abc.PGresult) -> str:
    """The five characters that name the error; empty if it is one of libpq's own."""
    return _text(result, pq.DiagnosticField.SQLSTATE)


def statement_error(result: pq.abc.PGresult, query: str, *, prefix: int = 0) -> ToolError:
    """What went wrong with a model's statement, in the server's own words.

    `prefix` characters were put in front of `query` when it was sent.
    """
    message = _text(result, pq.DiagnosticField.MESSAGE_PRIMARY) or _plain(result)
    if any(words in message for words in _OUT_OF_MEMORY):
        return too_large()
    state = sqlstate(result)
    details: dict[str, Any] = {"sqlstate": state}
    details |= {name: text for name, field in _FIELDS.items() if (text := _text(result, field))}
    position = _text(result, pq.DiagnosticField.STATEMENT_POSITION)
    if position.isdigit() and (at := int(position) - prefix) > 0:
        before = query[: at - 1]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        details |= {"position": at, "line": line, "column": column}
        message = f"{message} (line {line}, column {column})"
    elif "detail" in details:
        message = f"{message} ({details['detail'].rstrip('.')})"
    hint = _text(result, pq.DiagnosticField.MESSAGE_HINT) or _HINTS.get(state, "")
    if MULTIPLE_COMMANDS in message:
        hint = "send one statement per call; database_execute takes a list of them"
    return ToolError(_CODES.get(state, ErrorCode.QUERY_ERROR), message, hint=hint, details=details)


def in_call(error: ToolError, call: Call) -> ToolError:
    """The error, or that the call took too long if that is why the server stopped."""
    stopped = error.code == ErrorCode.TIMEOUT and (call.cancelled or not call.remaining_s)
    return call.timeout() if stopped else error


def not_here(command: str) -> ToolError:
    """The statement steers the transaction or the session, which is not the model's to steer."""
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        f"{command or 'an empty statement'} is not possible here: transaction control and settings "
        "of the session are not statements of their own; it had no effect",
        hint="use database_begin, database_commit and database_rollback; one call of "
        "database_execute is a transaction by itself",
        details={"command": command},
    )


def unavailable(message: str, *, sent: bool, credential: bool = False) -> ToolError:
    """No connection, or no longer."""
    first = message.strip().splitlines()[0] if message.strip() else "the connection was lost"
    details: dict[str, Any] = {"sent": sent}
    if credential:
        details["credential"] = True
    what = "while the statement ran" if sent else "before the statement was sent"
    return ToolError(
        ErrorCode.DATABASE_UNAVAILABLE,
        f"the database cannot be reached ({what}): {first}",
        hint="look whether it took effect before trying again" if sent else "try again",
        details=details,
    )


def connect_error(message: str) -> ToolError:
    """Why no connection could be made, from libpq's words."""
    text = " ".join(message.split())
    if any(words in text for words in _NO_ROOM):
        return ToolError(
            ErrorCode.BUSY,
            f"the database takes no further connection: {text}",
            hint="end what is open, or try again later",
            details={"sent": False},
        )
    credential = any(words in text for words in _BAD_CREDENTIAL)
    return unavailable(text, sent=False, credential=credential)


def too_large() -> ToolError:
    """An answer does not fit into this process."""
    return ToolError(
        ErrorCode.TOO_LARGE,
        "the answer does not fit into memory",
        hint="select fewer or shorter columns; length(), left() and substring() help",
    )


def _text(result: pq.abc.PGresult, field: pq.DiagnosticField) -> str:
    value = result.error_field(field)
    return value.decode("utf-8", "replace") if value else ""


def _plain(result: pq.abc.PGresult) -> str:
    return result.get_error_message("utf-8").strip() or "the server gave no reason"
