"""What the server and a worker process say to each other. Standard library only.

A stream of frames: a length of four bytes, then a JSON object of that size.

    server  {"setup": {...}} once, then {"id", "verb", "args", "timeout_s", "descriptors"}
    worker  {"id", "event": {...}} any number of times, then one of
            {"id", "data": {...}} and {"id", "error": {...}, "trace": str, "spent": bool}

Before that the worker may ask for something, up to `MAX_ASKS` at a time:

    worker  {"id", "ask": int, "request": {...}}
    server  {"id", "answer": int, "data": {...}} or {"id", "answer": int, "error": {...}}

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
MAX_EVENT_BYTES = 1024 * 1024
"""Of a message that is not the last word of a call."""

MAX_ASKS = 8
MAX_VALUES = 200_000
"""Values in one message: one of two bytes on the wire takes more than a hundred in memory."""

MAX_DEPTH = 200
"""Levels of JSON in one message: less than any reader of it can take."""

MAX_MESSAGE_CHARS = 4000
MAX_TRACE_CHARS = 20_000

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARE = bytes.maketrans(b"{}", b"[]")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


# Made once, and before a worker runs code that might change what it finds in `json`.
_parse = json.JSONDecoder(parse_constant=_refuse).decode
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


def excess(body: bytes) -> str:
    """What a message has too much of, in words; "" if it may be made into values."""
    if _values(body) > MAX_VALUES and _too_many(body):
        return f"more than {MAX_VALUES} values"
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _too_deep(body):
        return f"more than {MAX_DEPTH} levels"
    return ""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object of a message from a worker.

    Raises:
        WireError: it is none, or has too much of something.
    """
    if too_much := excess(body):
        raise WireError(f"a message of {too_much}")
    fields = _load(body)
    if len(body) > MAX_EVENT_BYTES and ("event" in fields or "ask" in fields):
        raise WireError(f"an event of {len(body)} bytes")
    return fields


def _load(body: bytes) -> dict[str, Any]:
    try:
        fields = _parse(body.decode())
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
    plain = _without_escapes(body)
    return _too_many_quotes(plain) or _values(_without_strings(plain)) > MAX_VALUES


def _too_deep(body: bytes) -> bool:
    plain = _without_escapes(body)
    if _too_many_quotes(plain):
        return True
    brackets = _without_strings(plain).translate(_SQUARE, _NOT_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def _without_escapes(body: bytes) -> bytes:
    """Then each quotation mark begins or ends a string."""
    return body.replace(rb"\\", b"").replace(rb"\"", b"")


def _without_strings(plain: bytes) -> bytes:
    return b"".join(plain.split(b'"')[::2])


def _too_many_quotes(plain: bytes) -> bool:
    # Each value may be two strings, as it has a name.
    return plain.count(b'"') > 4 * MAX_VALUES


class Frames:
    """Cuts what arrives into messages. What a worker receives is `trusted`."""

    def __init__(self, *, trusted: bool = False) -> None:
        self._parse = _load if trusted else parse
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
        if not self._buffer and len(data) > HEADER.size:
            (length,) = HEADER.unpack_from(data)
            # Most often it is one message and nothing else.
            if length == len(data) - HEADER.size:
                return [self._parse(data[HEADER.size :])]
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
            found.append(self._parse(bytes(self._buffer[start + HEADER.size : end])))
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
