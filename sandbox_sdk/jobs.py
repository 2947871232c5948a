"""What becomes of an action. Each kind of tool is done in its own way, behind one interface."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from container_runtime.connection import Connection
from tool_plugins.contract import (
    Action,
    ActionEvent,
    AskEvent,
    Observation,
    ObservationEvent,
    ToolDefinition,
    ToolFailure,
)
from tool_plugins.errors import ProtocolError

from .observations import checked, observe, refused


class Job(ABC):
    """One action, ready to be done once. `deadline_s` bounds it as a whole."""

    def __init__(self, action: Action, deadline_s: float) -> None:
        self.action = action
        self.deadline_s = deadline_s

    @abstractmethod
    async def execute(self, connection: Connection) -> Observation:
        """Does it.

        Raises:
            TimeoutError: the deadline is over.
            ConnectionLost: the sandbox went away.
            ProtocolError: the sandbox broke the protocol.
        """

    async def stream(self, connection: Connection) -> AsyncGenerator[ActionEvent]:
        """Does it and tells of it meanwhile; the last event holds the observation."""
        yield ObservationEvent(observation=await self.execute(connection))


class Refusal(Job):
    """An action that is not done."""

    def __init__(self, action: Action, failure: ToolFailure) -> None:
        super().__init__(action, 0.0)
        self._failure = failure

    async def execute(self, connection: Connection) -> Observation:
        """See `Job`."""
        return refused(self.action, self._failure)


class BuiltIn(Job):
    """A tool whose executor runs in the container."""

    def __init__(self, action: Action, definition: ToolDefinition, deadline_s: float) -> None:
        super().__init__(action, deadline_s)
        self._definition = definition

    async def execute(self, connection: Connection) -> Observation:
        """See `Job`."""
        observation = await connection.execute(self.action, timeout_s=self.deadline_s)
        return checked(self._definition, self.action, observation)

    async def stream(self, connection: Connection) -> AsyncGenerator[ActionEvent]:
        """See `Job`."""
        running = connection.stream(self.action, timeout_s=self.deadline_s)
        async with aclosing(running) as events:
            async for event in events:
                if isinstance(event, AskEvent):
                    raise ProtocolError(f"{self.action.tool} asks for a tool")
                if isinstance(event, ObservationEvent):
                    checked(self._definition, self.action, event.observation)
                yield event


class Brokered(Job):
    """A tool of the host: what it needs must not enter the container."""

    def __init__(
        self,
        action: Action,
        work: Callable[[Connection], Awaitable[dict[str, Any]]],
        deadline_s: float,
    ) -> None:
        super().__init__(action, deadline_s)
        self._work = work

    async def execute(self, connection: Connection) -> Observation:
        """See `Job`."""
        async with asyncio.timeout(self.deadline_s):
            return await observe(self.action, self._work(connection))
