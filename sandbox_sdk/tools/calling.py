"""One call of a custom tool: the build is there, what it asks for is done, the result checked."""

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any

from container_runtime.connection import Connection, ConnectionLost
from sandbox_sdk.jobs import Job
from sandbox_sdk.observations import TIMEOUT_MARGIN_S, refused
from tool_plugins.contract import (
    Action,
    ActionEvent,
    AskEvent,
    Observation,
    ObservationEvent,
    ToolDefinition,
    ToolFailure,
)
from tool_plugins.errors import ErrorCode, ProtocolError, SandboxError, ToolError
from tool_plugins.registry import ToolRegistry

from . import inside
from .outcome import check_outcome, is_small
from .shelf import Found

logger = logging.getLogger(__name__)

CONTEXT_PLUGINS = frozenset({"filesystem", "terminal", "web", "document", "database", "vector"})
"""What a tool may ask for: what `tool_plugins.authoring.Context` has."""

MAX_OPEN_ASKS = 16

Execute = Callable[[Action], Awaitable[Observation]]
Ensure = Callable[..., Awaitable[None]]
"""`ensure(connection, version, again=False)`: sees to it that the build is in the sandbox."""


class CustomCall(Job):
    """A call of one function. `execute` does what it asks for, as its caller would."""

    def __init__(
        self,
        action: Action,
        found: Found,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None,
        ensure: Ensure,
        asked: "Asked",
    ) -> None:
        self._own_s = timeout_s or found.version.settings.timeout_s
        super().__init__(action, self._own_s + TIMEOUT_MARGIN_S)
        self._version, self._tool = found
        self._arguments = dict(arguments)
        self._ensure = ensure
        self._asked = asked
        self._call = secrets.token_hex(8)

    async def execute(self, connection: Connection) -> Observation:
        """See `Job`. A function without a context needs no stream, which is quicker."""
        if self._tool.context:
            async with aclosing(self.stream(connection)) as events:
                async for event in events:
                    if isinstance(event, ObservationEvent):
                        return event.observation
            raise AssertionError("a stream of events ends in an observation")
        await self._ensure(connection, self._version)
        observation = await connection.execute(self._wire(), timeout_s=self.deadline_s)
        if inside.is_missing(observation):
            await self._ensure(connection, self._version, again=True)
            observation = await connection.execute(self._wire(), timeout_s=self.deadline_s)
        return await self._judged(observation)

    async def stream(self, connection: Connection) -> AsyncGenerator[ActionEvent]:
        """See `Job`."""
        async with aclosing(_Asks(connection, self._call, self._asked)) as asks:
            for again in (False, True):
                await self._ensure(connection, self._version, again=again)
                async with aclosing(self._events(connection, asks)) as events:
                    async for event in events:
                        if not again and _is_missing(event):
                            break
                        yield event
                    else:
                        return

    async def _events(self, connection: Connection, asks: "_Asks") -> AsyncGenerator[ActionEvent]:
        running = connection.stream(self._wire(), timeout_s=self.deadline_s)
        async with aclosing(running) as events:
            async for event in events:
                if isinstance(event, AskEvent):
                    asks.take(event)
                elif isinstance(event, ObservationEvent):
                    yield ObservationEvent(observation=await self._judged(event.observation))
                else:
                    yield event

    def _wire(self) -> Action:
        args = {
            "build": self._version.build,
            "function": self._tool.function,
            "arguments": self._arguments,
            "call": self._call,
            "timeout_s": self._own_s,
        }
        return Action(tool="tool.run", args=args)

    async def _judged(self, observation: Observation) -> Observation:
        """The observation in the name of the caller's action, if its data is what was promised."""
        own = observation.model_copy(update={"action_id": self.action.id, "tool": self.action.tool})
        if own.data is None:
            return own
        try:
            if is_small(own.data):
                check_outcome(self._tool, own.data)
            else:
                await asyncio.to_thread(check_outcome, self._tool, own.data)
        except ToolError as exc:
            return refused(self.action, ToolFailure.model_validate(exc.as_dict()))
        return own


class Asked:
    """Does what a tool asks for: one of the sandbox's tools, with arguments that are validated."""

    def __init__(self, registry: ToolRegistry, execute: Execute) -> None:
        self._registry = registry
        self._execute = execute

    async def do(self, event: AskEvent) -> Observation:
        """The observation of what was asked for, or why it is not done."""
        try:
            action = Action(tool=event.tool, args=self._arguments(event))
        except ToolError as exc:
            action = Action(tool=event.tool)
            return refused(action, ToolFailure.model_validate(exc.as_dict()))
        return await self._execute(action)

    def _arguments(self, event: AskEvent) -> dict[str, Any]:
        names = tuple(self._definition(event.tool).arguments.model_fields)
        if len(event.positional) > len(names):
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"{event.tool} takes {len(names)} arguments, {len(event.positional)} were given",
                hint=f"they are: {', '.join(names)}",
            )
        placed = dict(zip(names, event.positional, strict=False))
        if twice := sorted(placed.keys() & event.named.keys()):
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT, f"{event.tool} was given {twice[0]!r} twice"
            )
        return placed | event.named

    def _definition(self, tool: str) -> ToolDefinition:
        offered = {
            each.name: each
            for each in self._registry
            if each.name.partition(".")[0] in CONTEXT_PLUGINS
        }
        if tool in offered:
            return offered[tool]
        raise ToolError(
            ErrorCode.UNKNOWN_TOOL,
            f"ctx has no tool {tool[:80]!r} in this sandbox",
            hint=f"it has: {', '.join(offered)}",
        )


class _Asks:
    """What one call has asked for and not been answered yet."""

    def __init__(self, connection: Connection, call: str, asked: Asked) -> None:
        self._connection = connection
        self._call = call
        self._asked = asked
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, event: AskEvent) -> None:
        """Begins to do what is asked for.

        Raises:
            ProtocolError: more is open than an action server lets through.
        """
        if len(self._tasks) >= MAX_OPEN_ASKS:
            raise ProtocolError(f"more than {MAX_OPEN_ASKS} open questions of one call")
        task = asyncio.create_task(self._attend(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """The call is over: nobody waits for answers any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, event: AskEvent) -> None:
        # Where the sandbox is gone or the call has ended, its own end tells why.
        with suppress(ToolError, TimeoutError, ConnectionLost, SandboxError):
            await inside.answer(self._connection, self._call, event.ask, await self._done(event))

    async def _done(self, event: AskEvent) -> Observation:
        try:
            return await self._asked.do(event)
        except SandboxError as exc:
            failure = ToolFailure(code=exc.code, message=exc.message, hint=exc.hint)
        except Exception:
            logger.exception("what a custom tool asked for failed")
            failure = ToolFailure(code=str(ErrorCode.INTERNAL), message="the server failed on it")
        return refused(Action(tool=event.tool), failure)


def _is_missing(event: ActionEvent) -> bool:
    return isinstance(event, ObservationEvent) and inside.is_missing(event.observation)
