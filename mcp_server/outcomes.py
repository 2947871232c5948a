"""What custom tools answer, as MCP results: any JSON value, logs, files and attachments.

A client takes less than a sandbox gives. What is too large is shown as far as it fits, and lies in
a file of the workspace as a whole.
"""

import asyncio
import json
import mimetypes
import re
import secrets
from typing import Any, NamedTuple

import mcp.types as types

from sandbox_sdk import Sandbox
from tool_plugins.contract import Observation
from tool_plugins.errors import SandboxError
from tool_plugins.tool.results import CallResult, ResultFile

from .fitting import MAX_TEXT_CHARS, LeftOut, fit, fits, summed_up, wire_size
from .render import MAX_RESULT_BYTES, Numbered, assembled, within

FOLDER = ".tool_results"
"""Of the workspace. Custom tools put results there that are too large for the server, too."""
MAX_LOGS_CHARS = 20_000
MAX_NOTES_BYTES = 10_000

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


async def render_outcome(
    sandbox: Sandbox, tool: str, observation: Observation
) -> types.CallToolResult:
    """The result of a custom tool that did not fail. `sandbox` is where it ran."""
    keep = _Keeper(sandbox, tool)
    answer = CallResult.model_validate(observation.data)
    data, left_out = _with_short_logs(answer.model_dump(mode="json"))
    shown = data["result"]
    if answer.file is not None:
        shown = data.pop("result")
    elif not fits(data):
        # In a thread, because a megabyte of small values takes a while.
        part, cuts = await asyncio.to_thread(
            fit, {"result": shown}, spare=len(data["logs"]), anything=("result",)
        )
        shown, whole = part["result"], data.pop("result")
        data["file"], trouble = await keep.value(whole)
        left_out += [*cuts, *trouble]
    text = text_of_outcome(shown, data, left_out)
    room = MAX_RESULT_BYTES - wire_size(data) - wire_size(text) - MAX_NOTES_BYTES
    attached, too_large = within(observation.attachments, room)
    notes = summed_up([await keep.attachment(each) for each in too_large])
    return assembled(text, data, attached, notes, [*left_out, *notes])


def text_of_outcome(shown: Any, data: dict[str, Any], left_out: LeftOut) -> str:
    """A text as it is and any other value as JSON, then what else there is to say."""
    lines: list[str] = []
    if isinstance(shown, str) and shown.strip():
        lines.append(shown)
    elif shown is not None:
        lines.append(json.dumps(shown, ensure_ascii=False))
    file = data["file"]
    if file is not None:
        lines.append("file: {path} ({bytes} bytes, {mime_type})".format(**file))
    if left_out:
        lines.append(f"[left out here: {'; '.join(left_out)}]")
    if data["logs"]:
        lines.append(f"logs:\n{data['logs']}")
    if data["logs_truncated"]:
        lines.append("logs_truncated: true")
    return "\n".join(lines) or "done"


class _Keeper(NamedTuple):
    """Puts what is too large for a client into files of the sandbox."""

    sandbox: Sandbox
    tool: str

    async def value(self, value: Any) -> tuple[dict[str, Any] | None, LeftOut]:
        """The file with a result; None where it could not be written, and why."""
        content, mime_type = json.dumps(value, ensure_ascii=False), "application/json"
        if isinstance(value, str):
            content, mime_type = value, "text/plain"
        try:
            return (await self._write(content.encode(), mime_type)).model_dump(), []
        except SandboxError as error:
            return None, [f"the whole of it could not be kept: {error.message}"]

    async def attachment(self, each: Numbered) -> str:
        """What is said of an attachment that is too large."""
        try:
            file = await self._write(each.attachment.content(), each.attachment.mime_type)
        except SandboxError as error:
            return f"{each.name} is too large to show, and was not kept: {error.message}"
        return f"{each.name} is too large to show: it is in {file.path} ({file.bytes} bytes)"

    async def _write(self, content: bytes, mime_type: str) -> ResultFile:
        name = _UNSAFE.sub("_", self.tool)[:80]
        suffix = mimetypes.guess_extension(mime_type, strict=False) or ".bin"
        path = f"{FOLDER}/{name}-{secrets.token_hex(4)}{suffix}"
        await self.sandbox.upload(path, content, mode="create")
        return ResultFile(path=path, bytes=len(content), mime_type=mime_type)


def _with_short_logs(data: dict[str, Any]) -> tuple[dict[str, Any], LeftOut]:
    logs, left_out = fit({"logs": data["logs"]}, spare=MAX_TEXT_CHARS - 2 * MAX_LOGS_CHARS)
    truncated = data["logs_truncated"] or bool(left_out)
    return {**data, **logs, "logs_truncated": truncated}, left_out
