"""Observations and errors as MCP results: structured content, and text that says the same.

Some clients show a model only the structured content, some only the text, so each holds all. A
result stays far below the mebibyte at which clients drop an event; what had to be left out is
named where it is missing.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import mcp.types as types

from tool_plugins.contract import Attachment, ToolFailure
from tool_plugins.errors import ErrorCode, SandboxError, SandboxGoneError

from .fitting import LeftOut, fit, summed_up, wire_size
from .untrusted import added, mark, new_nonce

MAX_RESULT_BYTES = 800_000
"""A whole result on the wire. Clients of the `mcp` package drop events over 1,048,576 bytes."""
BLOCK_BYTES = 200
"""What an attachment takes on the wire besides its data."""

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
    shown, too_large = within(attachments, MAX_RESULT_BYTES - wire_size(data) - wire_size(text))
    notes = summed_up([f"{each.name} is too large to show" for each in too_large])
    return assembled(text, data, shown, notes, [*left_out, *notes])


class Numbered(NamedTuple):
    """An attachment of a result, counted from 1."""

    number: int
    attachment: Attachment

    @property
    def name(self) -> str:
        """How it is spoken of."""
        return f"attachment {self.number} ({self.attachment.mime_type})"

    def block(self) -> types.ContentBlock:
        """As MCP shows it."""
        mime_type, data = self.attachment.mime_type, self.attachment.data
        if mime_type.startswith("image/"):
            return types.ImageContent(data=data, mime_type=mime_type)
        uri = f"sandbox://attachment/{self.number}"
        contents = types.BlobResourceContents(uri=uri, mime_type=mime_type, blob=data)
        return types.EmbeddedResource(resource=contents)


def within(attachments: Iterable[Attachment], room: int) -> tuple[list[Numbered], list[Numbered]]:
    """Those that fit into so many bytes, in order, and those that do not."""
    shown: list[Numbered] = []
    too_large: list[Numbered] = []
    for each in (Numbered(*pair) for pair in enumerate(attachments, 1)):
        size = len(each.attachment.data) + BLOCK_BYTES
        (shown if size <= room else too_large).append(each)
        room -= size if size <= room else 0
    return shown, too_large


def assembled(
    text: str,
    data: dict[str, Any],
    attachments: Iterable[Numbered],
    notes: Sequence[str],
    left_out: LeftOut,
) -> types.CallToolResult:
    """A result of parts that fit into one. `notes` are said after the text."""
    content: list[types.ContentBlock] = [types.TextContent(text=text)]
    content += [each.block() for each in attachments]
    content += [types.TextContent(text=f"[{each}]") for each in notes]
    meta = {LEFT_OUT_META: left_out} if left_out else None
    return types.CallToolResult(content=content, structured_content=data, _meta=meta)


def render_failure(failure: ToolFailure) -> types.CallToolResult:
    """A failure the model can act on.

    It carries no structured content: clients hold that against the tool's output schema even where
    the result is an error. The text says everything; programs find the fields under `_meta`.
    """
    fields, _ = fit(failure.model_dump(), anything=("details",))
    lines = [f"{fields['code']}: {fields['message']}"]
    if fields["hint"]:
        lines.append(f"hint: {fields['hint']}")
    texts = {name: value for name, value in fields["details"].items() if _has_lines(value)}
    values = {name: value for name, value in fields["details"].items() if name not in texts}
    if values:
        lines.append(f"details: {json.dumps(values, ensure_ascii=False)}")
    lines += [f"{name}:\n{text}" for name, text in texts.items()]
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
    # An empty list is an answer where there is no other.
    nothing = [f"{name}: none" for name, value in data.items() if value == []]
    return "\n".join((*short, *long) or nothing) or "done"


def _has_lines(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


def _says_nothing(value: Any) -> bool:
    return value is None or value in ("", [], {}, ())


def _line(value: Any) -> str:
    if isinstance(value, dict):
        value = {name: part for name, part in value.items() if not _says_nothing(part)}
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
