"""Custom tools inside the sandbox, by verb. The host calls these; no model does.

A user's file is loaded, described and called in worker processes of the agent's user only. Nothing
they say is trusted.
"""

import asyncio
import base64
import binascii
import re
from typing import Any

from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.terminal.text import clean
from tool_plugins.worker.process import ProcessEnded
from tool_plugins.worker.wire import error_fields

from .builds import Build, Builds
from .running import Running, is_json

REPORT = ("python", "dependencies", "requires_python", "settings", "description")
MAX_ATTACHMENTS = 100
MAX_ATTACHMENT_CHARS = 6 * 1024 * 1024
"""Of base64: four megabytes of data."""

MAX_ERROR_LOGS_CHARS = 4000
MIME_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
RESULT_FILE = re.compile(r"\.tool_results/[\w.-]{1,200}", re.ASCII)


class Calls:
    """The calls that run now, by the id their caller gave them."""

    def __init__(self, _host: Host) -> None:
        self.running: dict[str, Running] = {}


async def install(
    context: ToolContext,
    *,
    build: str,
    namespace: str,
    source: str,
    environment: str | None = None,
    process: str = "file",
) -> dict[str, Any]:
    """Keeps a source under the name of its build. `environment` is a folder of packages."""
    context.host.service(Builds).install(
        build, namespace=namespace, source=source, environment=environment, process=process
    )
    return {}


async def describe(context: ToolContext, *, build: str, timeout_s: float) -> dict[str, Any]:
    """What the file says of itself. Nothing of it runs if its packages are not there."""
    builds = context.host.service(Builds)
    deadline = asyncio.get_running_loop().time() + timeout_s
    with builds.use(build) as used:
        try:
            return await _described(builds, used, deadline)
        except ToolError as exc:
            if used.running == 1:
                # Nobody can use what it has loaded.
                await used.pool.reset()
            raise _not_described(used, exc, timeout_s) from exc


async def run(
    context: ToolContext,
    *,
    build: str,
    function: str,
    arguments: dict[str, Any],
    call: str,
    timeout_s: float,
) -> dict[str, Any]:
    """Calls a function; see `CallResult`."""
    running = Running(context)
    with context.host.service(Builds).use(build) as used:
        calls = context.host.service(Calls).running
        if call in calls:
            raise ToolError(ErrorCode.ALREADY_EXISTS, f"a call {call!r} runs already")
        calls[call] = running
        try:
            data = await used.pool.call(
                "call",
                {"function": function, "arguments": arguments},
                timeout_s=timeout_s,
                on_event=running.on_event,
                on_ask=running.on_ask,
                on_output=running.logs.feed,
            )
        except ToolError as exc:
            raise _failed(exc, running) from exc
        finally:
            del calls[call]
    return _result(context, data, running)


async def answer(
    context: ToolContext,
    *,
    call: str,
    ask: int,
    data: dict[str, Any] | None = None,
    error: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Brings a running call what it asked for."""
    running = context.host.service(Calls).running.get(call)
    if running is None:
        raise ToolError(ErrorCode.NOT_FOUND, "the call has ended")
    running.answer(ask, data, error)
    return {}


async def drop(context: ToolContext, *, build: str) -> dict[str, Any]:
    """Forgets a build; calls that run finish."""
    context.host.service(Builds).drop(build)
    return {}


async def _described(builds: Builds, used: Build, deadline: float) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    file = {name: used.file[name] for name in ("namespace", "source")}
    outline = await builds.spares.call("outline", file, timeout_s=deadline - loop.time())
    report = {name: outline.get(name) for name in REPORT}
    warnings = _list(outline.get("warnings"))
    if outline.get("dependencies") and used.file["environment"] is None:
        return {**report, "warnings": warnings, "functions": None}
    described = await used.pool.call("describe", {}, timeout_s=deadline - loop.time())
    warnings += _list(described.get("warnings"))
    return {**report, "warnings": warnings, "functions": _list(described.get("functions"))}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _not_described(used: Build, exc: ToolError, timeout_s: float) -> ToolError:
    if isinstance(exc, ProcessEnded):
        message = f"it cannot be imported: its process was {exc.why}"
        problem = {"line": None, "function": None, "parameter": None, "message": message}
        return ToolError(
            ErrorCode.SCHEMA_ERROR,
            f"{used.filename}: {message}",
            hint="a file of tools must neither end its process nor close what is not its own",
            details={"problems": [problem]},
        )
    if exc.code is ErrorCode.TIMEOUT:
        return ToolError(
            ErrorCode.TIMEOUT,
            f"importing {used.filename} took longer than {timeout_s:.1f} seconds",
            hint="do at the first call of a function what takes long, not at the top of the file",
        )
    return _bounded(exc)


def _failed(exc: ToolError, running: Running) -> ToolError:
    """Why a call failed, with the last of what it printed."""
    logs, _ = running.logs.finish()
    error = _bounded(exc)
    if isinstance(exc, ProcessEnded):
        message = f"the process of the tool was {exc.why}"
        error = ToolError(ErrorCode.TOOL_RAISED, message, hint=exc.hint)
    if logs:
        error.details["logs"] = logs[-MAX_ERROR_LOGS_CHARS:]
    return error


def _bounded(exc: ToolError) -> ToolError:
    """What a worker said went wrong, so short that it can be shown."""
    fields = error_fields(exc)
    # What only we may say.
    details = {name: value for name, value in fields["details"].items() if name != "missing"}
    return ToolError(
        exc.code, clean(fields["message"]), hint=clean(fields["hint"]), details=details
    )


def _result(context: ToolContext, data: dict[str, Any], running: Running) -> dict[str, Any]:
    if not is_json(data.get("result")):
        raise _malformed("result")
    file, attachments = data.get("file"), data.get("attachments", [])
    if file is not None and not _is_file(file):
        raise _malformed("file")
    if not isinstance(attachments, list) or len(attachments) > MAX_ATTACHMENTS:
        raise _malformed("list of attachments")
    for each in attachments:
        if not _is_attachment(each):
            raise _malformed("attachment")
        context.attach(each["mime_type"], each["data"])
    logs, truncated = running.logs.finish()
    return {
        "result": data.get("result"),
        "file": file,
        "logs": logs,
        "logs_truncated": truncated,
    }


def _is_file(file: Any) -> bool:
    return (
        isinstance(file, dict)
        and file.keys() == {"path", "bytes", "mime_type"}
        and _matches(RESULT_FILE, file["path"])
        and _matches(MIME_TYPE, file["mime_type"])
        and type(file["bytes"]) is int
        and 0 <= file["bytes"] < 1 << 62
    )


def _is_attachment(attachment: Any) -> bool:
    if not isinstance(attachment, dict) or not _matches(MIME_TYPE, attachment.get("mime_type")):
        return False
    data = attachment.get("data")
    if not isinstance(data, str) or len(data) > MAX_ATTACHMENT_CHARS:
        return False
    try:
        base64.b64decode(data, validate=True)
    except (ValueError, binascii.Error):
        return False
    return True


def _matches(pattern: re.Pattern[str], text: Any) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _malformed(what: str) -> ToolError:
    return ToolError(ErrorCode.INVALID_RESULT, f"the process of the tool gave a malformed {what}")


EXECUTORS = {
    "install": install,
    "describe": describe,
    "run": run,
    "answer": answer,
    "drop": drop,
}
