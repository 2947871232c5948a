"""What the server and a worker process say to each other. Standard library only.

A stream of frames: a length of four bytes, then a JSON object of that size.

    server  {"setup": {...}} once, then {"id", "verb", "args", "timeout_s", "descriptors"}
    worker  {"id", "event": {...}} any number of times, then one of
            {"id", "data": {...}} and {"id", "error": {...}, "trace": str, "spent": bool}

A worker belongs to the agent's user and may run the agent's own code, so its end of this is never
trusted: sizes are bounded before anything is kept, and the number of values before any is made.
"""

import json
import struct
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

HEADER = struct.Struct("!I")
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_DESCRIPTORS = 16
RECEIVE_BYTES = 64 * 1024
MAX_VALUES = 200_000
"""Values in one message: one of two bytes on the wire takes more than a hundred in memory."""

MAX_MESSAGE_CHARS = 4000
MAX_TRACE_CHARS = 20_000

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


class WireError(Exception):
    """The other end does not speak the protocol."""


class TooLongError(Exception):
    """A message is larger than may be sent."""


def pack(fields: dict[str, Any]) -> bytes:
    """A message as it is sent. Text that is no text (lone surrogates) becomes "?".

    Raises:
        TooLongError: it takes more than `MAX_BODY_BYTES`.
        TypeError, ValueError, RecursionError: something in it is not JSON.
    """
    body = _dump(fields).encode("utf-8", "replace")
    if len(body) > MAX_BODY_BYTES:
        raise TooLongError(f"a message of {len(body)} bytes")
    return HEADER.pack(len(body)) + body


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a message.

    Raises:
        WireError: it is none, or has too many values.
    """
    if _values(body) > MAX_VALUES and _too_many(body):
        raise WireError(f"a message of more than {MAX_VALUES} values")
    try:
        fields = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as exc:
        raise WireError(f"no JSON: {type(exc).__name__}") from None
    if not isinstance(fields, dict):
        raise WireError("no JSON object")
    return fields


def _values(body: bytes) -> int:
    """At least as many values as the JSON has; more where strings have such characters."""
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _too_many(body: bytes) -> bool:
    """The same without what is in strings. Takes a fraction of a second for the worst message."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    # Each value may be two strings, as it has a name.
    return plain.count(b'"') > 4 * MAX_VALUES or (
        _values(b"".join(plain.split(b'"')[::2])) > MAX_VALUES
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class Frames:
    """Cuts what arrives into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a message has begun that is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are complete now.

        Raises:
            WireError: one is too large or not a message.
        """
        self._buffer += data
        found: list[dict[str, Any]] = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            (length,) = HEADER.unpack_from(self._buffer, start)
            if length > MAX_BODY_BYTES:
                raise WireError(f"a message of {length} bytes")
            end = start + HEADER.size + length
            if len(self._buffer) < end:
                break
            found.append(parse(bytes(self._buffer[start + HEADER.size : end])))
            start = end
        del self._buffer[:start]
        return found


def error_fields(error: ToolError) -> dict[str, Any]:
    """The wire form of an error, within bounds."""
    fields = error.as_dict()
    for name in ("message", "hint"):
        text = str(fields[name])
        fields[name] = text if len(text) <= MAX_MESSAGE_CHARS else f"{text[:MAX_MESSAGE_CHARS]}…"
    try:
        if len(pack({"details": fields["details"]})) > MAX_TRACE_CHARS:
            fields["details"] = {}
    except (TooLongError, TypeError, ValueError, RecursionError):
        fields["details"] = {}
    return fields


def parse_error(fields: Any) -> ToolError:
    """The error in a message; what makes no sense in it becomes INTERNAL, or is left out."""
    if not isinstance(fields, dict):
        fields = {}
    code, details = fields.get("code"), fields.get("details")
    known = isinstance(code, str) and code in ErrorCode._value2member_map_
    return ToolError(
        ErrorCode(code) if known else ErrorCode.INTERNAL,
        _text(fields.get("message")) or "the tool failed",
        hint=_text(fields.get("hint")),
        details=details if isinstance(details, dict) else {},
    )


def _text(value: Any) -> str:
    return value[:MAX_MESSAGE_CHARS] if isinstance(value, str) else ""
