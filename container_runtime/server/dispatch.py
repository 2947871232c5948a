"""From an action to an observation: finds the executor, runs it, turns what it raised into words.

Arguments were validated on the host; nothing is checked twice. This is the one place that catches
everything, because an executor may do anything.
"""

import asyncio
import errno
import inspect
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tool_plugins.context import Emit, Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError

from .asgi import encode
from .plugins import Executor
from .protocol import MAX_OBSERVATION_BYTES
from .workers import Workers

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Request:
    """One action as it came over the wire."""

    id: str
    tool: str
    args: dict[str, Any]
    stream: bool


def parse_request(body: bytes) -> Request:
    """The action in a request body.

    Raises:
        ToolError: it is not an action (INVALID_ARGUMENT).
    """
    try:
        fields = json.loads(body)
        request = Request(fields["id"], fields["tool"], fields["args"], fields.get("stream", False))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise ToolError(ErrorCode.INVALID_ARGUMENT, f"not an action: {exc!r}") from exc
    if not isinstance(request.tool, str) or not isinstance(request.args, dict):
        raise ToolError(ErrorCode.INVALID_ARGUMENT, "not an action: wrong types")
    return request


class Dispatcher:
    """Runs actions on one host."""

    def __init__(self, host: Host, executors: Mapping[str, Executor]) -> None:
        self._host = host
        self._executors = dict(executors)
        self._waits = {name for name, f in executors.items() if inspect.iscoroutinefunction(f)}

    @property
    def tools(self) -> list[str]:
        """The dotted names of the tools there are."""
        return sorted(self._executors)

    async def run(self, request: Request, emit: Emit | None = None) -> bytes:
        """The observation of an action, encoded. Cancelling it cancels the executor."""
        started = time.perf_counter()
        context = ToolContext(self._host) if emit is None else ToolContext(self._host, emit)
        outcome: dict[str, Any] = {"action_id": request.id, "tool": request.tool}
        try:
            outcome["data"] = await self._execute(context, request)
            outcome["attachments"] = context.attachments
        except BaseException as exc:  # a plugin's sys.exit() must not end the server
            if isinstance(exc, asyncio.CancelledError) and _cancelled_from_outside():
                raise
            outcome |= {"data": None, "error": failure(exc).as_dict()}
        outcome["duration_s"] = round(time.perf_counter() - started, 6)
        return _encoded(outcome)

    async def _execute(self, context: ToolContext, request: Request) -> Any:
        executor = self._executors.get(request.tool)
        if executor is None:
            known = ", ".join(self.tools)
            raise ToolError(
                ErrorCode.UNKNOWN_TOOL, f"unknown tool {request.tool!r}", hint=f"known: {known}"
            )
        if request.tool in self._waits:
            return await executor(context, **request.args)
        return await self._host.service(Workers).run(executor, context, **request.args)


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def failure(exc: BaseException) -> ToolError:
    """What the caller is told of an exception. The traceback stays on the server's stderr."""
    if isinstance(exc, ToolError):
        return exc
    if isinstance(exc, OSError) and exc.errno in FULL:
        return ToolError(
            ErrorCode.DISK_QUOTA,
            "the disk space of the sandbox is used up",
            hint="delete files that are no longer needed",
        )
    logger.error("an executor failed", exc_info=exc)
    return ToolError(ErrorCode.INTERNAL, f"the tool failed inside: {type(exc).__name__}")


def _encoded(outcome: dict[str, Any]) -> bytes:
    try:
        encoded = encode(outcome)
    except (TypeError, ValueError, RecursionError) as exc:
        return encode(_without_data(outcome, failure(exc)))
    if len(encoded) <= MAX_OBSERVATION_BYTES:
        return encoded
    error = ToolError(
        ErrorCode.TOO_LARGE,
        f"the result is larger than {MAX_OBSERVATION_BYTES} bytes",
        hint="ask for less at a time",
    )
    return encode(_without_data(outcome, error))


def _without_data(outcome: dict[str, Any], error: ToolError) -> dict[str, Any]:
    return outcome | {"data": None, "attachments": [], "error": error.as_dict()}
