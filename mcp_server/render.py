"""Observations and errors as MCP results: structured content, and text that says the same.

Some clients show a model only the structured content, some only the text, so each holds all. A
result stays far below the mebibyte at which clients drop an event; what had to be left out is
named where it is missing.
"""

import json
from collections.abc import Iterable
from typing import Any

import mcp.types as types

from tool_plugins.contract import Attachment, ToolFailure
from tool_plugins.errors import ErrorCode, SandboxError, SandboxGoneError

from .untrusted import added, mark, new_nonce

MAX_TEXT_CHARS = 100_000
"""Characters of all strings of one result together: about what a model's client accepts."""
MAX_RESULT_BYTES = 800_000
"""A whole result on the wire. Clients of the `mcp` package drop events over 1,048,576 bytes."""
MAX_DATA_BYTES = 250_000
MIN_STRING_CHARS = 200

PIECE = frozenset({"offset", "next_offset", "total_chars"})
"""Fields of a result that is a piece of a text: the next one begins at `next_offset`."""
PIECES = ("content", "snapshot")
"""Fields that may hold such a text."""

ERROR_META = "sandbox-sdk/error"
LEFT_OUT_META = "sandbox-sdk/left-out"


def render_data(
    data: dict[str, Any],
    attachments: tuple[Attachment, ...] = (),
    *,
    untrusted: Iterable[str] = (),
) -> types.CallToolResult:
    """The result of a tool that did what was asked. `untrusted` names texts from outside."""
    names = tuple(untrusted)
    data, left_out = fit(data, spare=added(data, names))
    data = mark(data, names, new_nonce())
    text = text_of(data)
    content: list[types.ContentBlock] = [types.TextContent(text=text)]
    room = MAX_RESULT_BYTES - wire_size(data) - wire_size(text)
    for number, attachment in enumerate(attachments):
        room -= len(attachment.data)
        if room < 0:
            note = f"attachment {number + 1} ({attachment.mime_type}) is too large to show"
            content.append(types.TextContent(text=f"[{note}]"))
            left_out.append(note)
            break
        content.append(_block(attachment, number))
    meta = {LEFT_OUT_META: left_out} if left_out else None
    return types.CallToolResult(content=content, structured_content=data, _meta=meta)


def render_failure(failure: ToolFailure) -> types.CallToolResult:
    """A failure the model can act on.

    It carries no structured content: clients hold that against the tool's output schema even where
    the result is an error. The text says everything; programs find the fields under `_meta`.
    """
    fields, _ = fit(failure.model_dump())
    lines = [f"{fields['code']}: {fields['message']}"]
    if fields["hint"]:
        lines.append(f"hint: {fields['hint']}")
    if fields["details"]:
        lines.append(f"details: {json.dumps(fields['details'], ensure_ascii=False)}")
    return types.CallToolResult(
        content=[types.TextContent(text="\n".join(lines))],
        is_error=True,
        _meta={ERROR_META: fields},
    )


def failure_of(error: SandboxError) -> ToolFailure:
    """A raised error of the sandbox as a failure a model can read."""
    details: dict[str, Any] = {"retryable": error.retryable}
    if isinstance(error, SandboxGoneError):
        details["cause"] = str(error.cause)
    return ToolFailure(code=error.code, message=error.message, hint=error.hint, details=details)


def internal_failure() -> ToolFailure:
    """What is said of a defect of ours: nothing of its inside."""
    return ToolFailure(
        code=str(ErrorCode.INTERNAL),
        message="the server failed on this call",
        hint="try again; the server's log has the details",
    )


def too_large_failure(tool: str, size: int) -> ToolFailure:
    """What is said of a result that no client could take."""
    return ToolFailure(
        code=str(ErrorCode.TOO_LARGE),
        message=f"the result of {tool!r} has {size} bytes, at most {MAX_RESULT_BYTES} fit",
        hint="ask for less at once",
    )


def fit(data: dict[str, Any], *, spare: int = 0) -> tuple[dict[str, Any], list[str]]:
    """The data within the limits less `spare`, and what was left out of it.

    Long strings lose their middle, long lists their end. Each cut is stated in its place, and a
    field `truncated` becomes true. A piece of a longer text loses its end, and `next_offset` says
    where that begins.
    """
    return _fit(data, MAX_TEXT_CHARS - spare, MAX_DATA_BYTES - spare)


def _fit(data: dict[str, Any], max_chars: int, max_bytes: int) -> tuple[dict[str, Any], list[str]]:
    if _fits(data, max_chars, max_bytes):
        return data, []
    piece = _piece(data)
    if piece is not None:
        return _fit_piece(data, piece, max_chars, max_bytes)
    limit = max_chars
    while True:
        left_out: list[str] = []
        smaller = _cut(data, limit, "", left_out)
        if limit <= 1 or _fits(smaller, max_chars, max_bytes):
            break
        limit //= 2
    if left_out and isinstance(smaller.get("truncated"), bool):
        smaller["truncated"] = True
    return smaller, left_out


def _fit_piece(
    data: dict[str, Any], name: str, max_chars: int, max_bytes: int
) -> tuple[dict[str, Any], list[str]]:
    """The text gets what all else leaves of the room, and that is half of it at least."""
    text: str = data[name]
    rest = {each: value for each, value in data.items() if each != name}
    rest, left_out = _fit(rest, max_chars // 2, max_bytes // 2)
    chars = max_chars - _chars(rest) - len(name)
    size = max_bytes - wire_size({**rest, name: ""})
    kept = text[: _longest(text[: max(chars, 0)], size)]
    smaller = {each: rest.get(each, kept) for each in data}
    if len(kept) < len(text):
        smaller["next_offset"] = data["offset"] + len(kept)
        left_out.append(f"{name}: the last {len(text) - len(kept)} of {len(text)} characters")
    if left_out and isinstance(smaller.get("truncated"), bool):
        smaller["truncated"] = True
    return smaller, left_out


def text_of(data: dict[str, Any]) -> str:
    """The data as a person would note it down: short values first, then each text under its name.

    Values that say nothing (null, empty) are left out.
    """
    short: list[str] = []
    long: list[str] = []
    for name, value in data.items():
        if _says_nothing(value):
            continue
        if isinstance(value, str) and ("\n" in value or len(value) > 80):
            long.append(f"{name}:\n{value}")
        elif isinstance(value, list):
            long.append("\n".join((f"{name}:", *(_line(item) for item in value))))
        else:
            short.append(f"{name}: {_line(value)}")
    return "\n".join((*short, *long)) or "done"


def wire_size(value: Any) -> int:
    """Bytes of a JSON value on the wire, counted as the transport that escapes most."""
    return len(json.dumps(value))


def _fits(data: dict[str, Any], max_chars: int, max_bytes: int) -> bool:
    return _chars(data) <= max_chars and wire_size(data) <= max_bytes


def _piece(data: dict[str, Any]) -> str | None:
    """The field whose characters `offset` and `next_offset` count."""
    if not data.keys() >= PIECE or not isinstance(data["offset"], int):
        return None
    return next((name for name in PIECES if isinstance(data.get(name), str)), None)


def _longest(text: str, size: int) -> int:
    """How many of its first characters take at most `size` bytes on the wire."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if wire_size(text[:middle]) - 2 <= size:
            low = middle
        else:
            high = middle - 1
    return low


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}, ())


def _line(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if not _says_nothing(part)}
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _block(attachment: Attachment, number: int) -> types.ContentBlock:
    if attachment.mime_type.startswith("image/"):
        return types.ImageContent(data=attachment.data, mime_type=attachment.mime_type)
    return types.EmbeddedResource(
        resource=types.BlobResourceContents(
            uri=f"sandbox://attachment/{number + 1}",
            mime_type=attachment.mime_type,
            blob=attachment.data,
        )
    )


def _chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + _chars(part) for key, part in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_chars, value))
    return 0


def _cut(value: Any, limit: int, path: str, left_out: list[str]) -> Any:
    """A copy whose strings are at most about `limit` long, and whose lists likewise."""
    if isinstance(value, str):
        return _cut_string(value, max(limit, MIN_STRING_CHARS), path, left_out)
    if isinstance(value, dict):
        return {k: _cut(v, limit, f"{path}.{k}" if path else k, left_out) for k, v in value.items()}
    if isinstance(value, list | tuple):
        keep = max(limit // 10, 1)
        if len(value) > keep:
            left_out.append(f"{path}: the last {len(value) - keep} of {len(value)} items")
        return [_cut(part, limit, f"{path}[]", left_out) for part in value[:keep]]
    return value


def _cut_string(text: str, limit: int, path: str, left_out: list[str]) -> str:
    if len(text) <= limit:
        return text
    head, tail = limit * 3 // 4, limit // 4
    omitted = len(text) - head - tail
    left_out.append(f"{path}: {omitted} of {len(text)} characters")
    marker = f"\n[... {omitted} characters left out here to keep the answer small ...]\n"
    return text[:head] + marker + text[len(text) - tail :]
