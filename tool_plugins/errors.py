"""The one error tree of the project.

    ToolError                    the model can mend it; travels in an Observation, is never a crash
    SandboxError                 the sandbox or its surroundings are at fault; raised
    ├── ConfigurationError       a setting is wrong or asks for what is not built yet (ValueError)
    │   └── UnenforceableLimitError   a required limit this host cannot enforce
    ├── UnknownToolError         no tool of that name (LookupError)
    ├── SandboxNotFoundError     no sandbox of that id for this principal (LookupError)
    ├── SandboxStateError        the call does not fit the state the sandbox is in
    ├── QuotaError               the group's limits leave no room
    ├── EngineError              the container engine failed or cannot be reached
    │   └── ImageError           the sandbox image is missing or cannot be built
    ├── SandboxGoneError         the sandbox ended while it was used; `cause` says why
    ├── ToolCallError            a typed SDK call's ToolError, raised for Python callers
    └── ProtocolError            the container answered something that is not the protocol

Runs on the host and in the container: standard library only.
"""

from enum import StrEnum
from typing import Any


class ErrorCode(StrEnum):
    """Codes of errors a model can act on. The value is what travels on the wire."""

    ALREADY_EXISTS = "ALREADY_EXISTS"
    BINARY_FILE = "BINARY_FILE"
    BUSY = "BUSY"
    CONFLICT = "CONFLICT"
    CONNECTION_ERROR = "CONNECTION_ERROR"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    DEPENDENCY_ERROR = "DEPENDENCY_ERROR"
    DISK_QUOTA = "DISK_QUOTA"
    DNS_ERROR = "DNS_ERROR"
    EGRESS_DENIED = "EGRESS_DENIED"
    ENCODING_ERROR = "ENCODING_ERROR"
    HTTP_ERROR = "HTTP_ERROR"
    INTERNAL = "INTERNAL"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    INVALID_RESULT = "INVALID_RESULT"
    IS_DIRECTORY = "IS_DIRECTORY"
    MULTIPLE_MATCHES = "MULTIPLE_MATCHES"
    NOT_DIRECTORY = "NOT_DIRECTORY"
    NOT_EMPTY = "NOT_EMPTY"
    NOT_FOUND = "NOT_FOUND"
    NOT_REGULAR_FILE = "NOT_REGULAR_FILE"
    NO_MATCH = "NO_MATCH"
    PATH_OUTSIDE_ROOT = "PATH_OUTSIDE_ROOT"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    PIDS_LIMIT = "PIDS_LIMIT"
    PROCESS_NOT_FOUND = "PROCESS_NOT_FOUND"
    QUERY_ERROR = "QUERY_ERROR"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    SCHEMA_ERROR = "SCHEMA_ERROR"
    STALE_FILE = "STALE_FILE"
    TIMEOUT = "TIMEOUT"
    TLS_ERROR = "TLS_ERROR"
    TOOL_RAISED = "TOOL_RAISED"
    TOO_LARGE = "TOO_LARGE"
    TRANSACTION_ENDED = "TRANSACTION_ENDED"
    UNKNOWN_TOOL = "UNKNOWN_TOOL"
    UNSUPPORTED = "UNSUPPORTED"
    UNSUPPORTED_CONTENT = "UNSUPPORTED_CONTENT"


class GoneCause(StrEnum):
    """Why a sandbox is no longer there: the closed set."""

    OOM = "oom"
    DISK_QUOTA = "disk_quota"
    PIDS = "pids"
    TIMEOUT = "timeout"
    IDLE = "idle"
    KILLED = "killed"
    ENGINE_LOST = "engine_lost"
    IMAGE = "image"


class ToolError(Exception):
    """A tool cannot do what was asked and the caller can mend the call.

    `hint` is one sentence that says what to do; `details` holds values a program can use.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        hint: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = details or {}

    def as_dict(self) -> dict[str, Any]:
        """The wire form: `code`, `message`, `hint`, `details`."""
        return {
            "code": str(self.code),
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }


class SandboxError(Exception):
    """Root of everything that is raised. `code` is stable; `retryable` invites another try."""

    code = "SANDBOX_ERROR"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigurationError(SandboxError, ValueError):
    """A setting is wrong, or asks for what is not built yet."""

    code = "INVALID_CONFIGURATION"


class UnenforceableLimitError(ConfigurationError):
    """A required limit cannot be enforced on this host."""

    code = "UNENFORCEABLE_LIMIT"


class UnknownToolError(SandboxError, LookupError):
    """No tool has that name."""

    code = "UNKNOWN_TOOL"


class SandboxNotFoundError(SandboxError, LookupError):
    """The principal has no sandbox of that id. So do other principals' sandboxes look."""

    code = "SANDBOX_NOT_FOUND"


class SandboxStateError(SandboxError):
    """The call does not fit the state of the sandbox (not started yet, already ended)."""

    code = "SANDBOX_STATE"


class QuotaError(SandboxError):
    """The group's limits leave no room for what was asked."""

    code = "QUOTA_EXCEEDED"
    retryable = True


class EngineError(SandboxError):
    """The container engine failed or cannot be reached."""

    code = "ENGINE_ERROR"
    retryable = True


class ImageError(EngineError):
    """The sandbox image is missing or cannot be built."""

    code = "IMAGE_ERROR"
    retryable = False


class SandboxGoneError(SandboxError):
    """The sandbox ended while it was used. `cause` is one of `GoneCause`."""

    code = "SANDBOX_GONE"

    def __init__(self, message: str, *, cause: GoneCause, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.cause = cause


class ToolCallError(SandboxError):
    """What a tool answered to a typed call it could not do. `code` is one of `ErrorCode`'s values.

    `Sandbox.execute` returns the same failure in `Observation.error`; the typed methods
    (`sandbox.filesystem.read(...)`, `sandbox.upload(...)`) have no place for it and raise this.
    """

    code = "TOOL_CALL"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = str(code)
        self.details = details or {}


class ProtocolError(SandboxError):
    """The container did not speak the protocol. Its sandbox is not to be trusted any more."""

    code = "PROTOCOL_ERROR"
