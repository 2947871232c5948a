"""One tool call from end to end: supervised, streamed where the client listens, always rendered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio
import mcp.types as types
from mcp.shared.exceptions import MCPError

from sandbox_sdk import Sandbox
from sandbox_sdk.models import LOCAL, Action, ObservationEvent, Principal
from tool_plugins.contract import Observation, ToolDefinition, ToolFailure
from tool_plugins.errors import ErrorCode, SandboxError
from tool_plugins.tool.results import CallResult

from .disconnect import gone_event
from .door import GroupDoor
from .extension import CallTool, Context
from .outcomes import render_outcome
from .progress import ProgressReporter
from .render import failure_of, internal_failure, render_data, render_failure

logger = logging.getLogger(__name__)

CLEANUP_S = 1.0
"""How long a cancelled call may take to end what it started."""

Work = Callable[[ProgressReporter | None], Awaitable[types.CallToolResult]]


def principal_of(_context: Context) -> Principal:
    """Who is asking. Without authentication every caller is the local one, over HTTP too."""
    return LOCAL


@dataclass(frozen=True, slots=True)
class Target:
    """What a call runs: the tool's two names, and how what it answers is shown."""

    name: str
    mcp_name: str
    render: Callable[[Sandbox, Action, Observation], Awaitable[types.CallToolResult]]

    def in_words_of_mcp(self, failure: ToolFailure) -> ToolFailure:
        """The failure with the tool named as this client knows it."""
        if failure.code == ErrorCode.TOOL_RAISED:
            return failure  # the words of somebody else's program
        return in_mcp_words(failure, self.name, self.mcp_name)


class SandboxCalls:
    """Handlers of the tools that run in a sandbox."""

    def __init__(self, door: GroupDoor) -> None:
        self._door = door

    def handler(self, definition: ToolDefinition) -> CallTool:
        """The MCP handler of one built-in tool."""
        render = partial(_render_built_in, definition)
        target = Target(definition.name, definition.mcp_name, render)

        async def find() -> Target:
            return target

        async def call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
            return await self.run(ctx, params, find)

        return call

    async def run(
        self,
        ctx: Context,
        params: types.CallToolRequestParams,
        find: Callable[[], Awaitable[Target]],
    ) -> types.CallToolResult:
        """Does what is found in the sandbox that the arguments name."""
        arguments = dict(params.arguments or {})
        sandbox_id = arguments.pop("sandbox_id", None)

        async def work(reporter: ProgressReporter | None) -> types.CallToolResult:
            target = await find()
            if not isinstance(sandbox_id, str | None):
                return render_failure(bad_sandbox_id(sandbox_id))
            sandbox = await self.sandbox(ctx, sandbox_id)
            action = Action(tool=target.name, args=arguments)
            observation = await _execute(sandbox, action, reporter)
            if observation.error is not None:
                return render_failure(target.in_words_of_mcp(observation.error))
            return await target.render(sandbox, action, observation)

        return await self.supervise(ctx, work)

    async def sandbox(self, ctx: Context, sandbox_id: str | None) -> Sandbox:
        """The sandbox of that id, or the caller's default one."""
        group = await self._door.group()
        principal = principal_of(ctx)
        if sandbox_id is None:
            return await group.default_sandbox(principal)
        return await group.get_sandbox(sandbox_id, principal=principal)

    async def supervise(self, ctx: Context, work: Work) -> types.CallToolResult:
        """Runs a call to its end, reports its progress, ends it when client or server goes."""
        reporter = ProgressReporter(ctx.session.report_progress) if _wants_progress(ctx) else None
        try:
            return await _unless(
                _reported(work, reporter), self._door.closing, gone_event(ctx.request)
            )
        except SandboxError as error:
            return render_failure(failure_of(error))
        except MCPError:
            raise
        except Exception:
            logger.exception("a tool call failed")
            return render_failure(internal_failure())


def bad_sandbox_id(value: object) -> ToolFailure:
    """What is said of a `sandbox_id` that is no string."""
    return ToolFailure(
        code=str(ErrorCode.INVALID_ARGUMENT),
        message=f"sandbox_id must be a string, not {type(value).__name__}",
        hint="use an id from sandbox_create, or leave it out",
    )


def in_mcp_words(failure: ToolFailure, name: str, mcp_name: str) -> ToolFailure:
    """The failure with the tool named as this client knows it."""
    spoken = {
        "message": failure.message.replace(name, mcp_name),
        "hint": failure.hint.replace(name, mcp_name),
    }
    return failure.model_copy(update=spoken)


async def _render_built_in(
    definition: ToolDefinition, sandbox: Sandbox, action: Action, observation: Observation
) -> types.CallToolResult:
    if definition.result is CallResult:
        return await render_outcome(sandbox, str(action.args["tool"]), observation)
    data, untrusted = observation.data or {}, definition.untrusted
    return render_data(data, observation.attachments, untrusted=untrusted)


async def _execute(
    sandbox: Sandbox, action: Action, reporter: ProgressReporter | None
) -> Observation:
    if reporter is None:
        return await sandbox.execute(action)
    stream: Any = sandbox.stream(action)
    async with aclosing(stream) as events:
        async for event in events:
            if isinstance(event, ObservationEvent):
                return event.observation
            reporter.add(event)
    raise AssertionError("a stream of events ends in an observation")


async def _reported(work: Work, reporter: ProgressReporter | None) -> types.CallToolResult:
    if reporter is None:
        return await work(None)
    sending = asyncio.create_task(reporter.run())
    try:
        result = await work(reporter)
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    await reporter.flush()
    return result


async def _unless(
    call: Coroutine[Any, Any, types.CallToolResult], *ends: asyncio.Event | None
) -> types.CallToolResult:
    """The result of the call, unless something ends it first or the client cancels it.

    The call runs as a task of its own because the `mcp` package cancels in the manner of anyio:
    again at every await, so that no clean-up that waits could finish. Here it can.
    """
    task = asyncio.create_task(call)
    watches = [asyncio.create_task(end.wait()) for end in ends if end is not None]
    waiting: set[asyncio.Task[Any]] = {task, *watches}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise MCPError(code=types.INTERNAL_ERROR, message="the call was ended")
        return task.result()
    finally:
        for each in waiting:
            each.cancel()
        with anyio.CancelScope(shield=True):
            await _ended(waiting)


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    _, late = await asyncio.wait(tasks, timeout=CLEANUP_S)
    if late:
        logger.error("a cancelled call did not end within %s s", CLEANUP_S)


def _wants_progress(ctx: Context) -> bool:
    return ctx.meta is not None and ctx.meta.get("progress_token") is not None
