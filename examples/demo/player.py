"""Calls tools as an MCP client does, and shows each call."""

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TextIO

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.dispatcher import ProgressFnT

from .stage import DemoError, Stage

TYPED = ("command", "query", "statements", "source")
LiveText = Callable[[str], None]


@dataclass(slots=True)
class Player:
    """A connected client and the stage its calls are shown on. Remembers the last answer.

    `log` is where servers write theirs.
    """

    client: Client
    stage: Stage
    log: TextIO
    answer: Any = None

    @asynccontextmanager
    async def connected(
        self, params: StdioServerParameters, log: TextIO | None = None
    ) -> AsyncIterator[Self]:
        """A player of a server of its own; its last answer becomes that of this one."""
        log = log or self.log
        async with Client(stdio_client(params, errlog=log)) as client:
            other = type(self)(client, self.stage, log)
            try:
                yield other
            finally:
                self.answer = other.answer

    async def call(
        self, tool: str, *, shown: bool = True, on_text: LiveText | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Calls a tool and returns its structured content.

        Raises:
            DemoError: the tool answered with an error.
        """
        if shown:
            self.stage.call(tool, _summary(arguments), _typed(arguments))
        result = await self.client.call_tool(
            tool, arguments, progress_callback=_forward(on_text) if on_text else None
        )
        content = self.answer = result.structured_content
        if result.is_error or content is None:
            raise DemoError(f"{tool} failed: {content or result.content}")
        return content

    async def refusal(self, tool: str, *, shown: bool = True, **arguments: Any) -> str:
        """Calls a tool that should refuse, and returns its words without hint and details.

        Raises:
            DemoError: the tool did it.
        """
        if shown:
            self.stage.call(tool, _summary(arguments), _typed(arguments))
        result = await self.client.call_tool(tool, arguments)
        self.answer = result.content
        words = "".join(getattr(block, "text", "") for block in result.content)
        if not result.is_error:
            raise DemoError(f"{tool} was not refused: {words}")
        first = words.split("\nhint: ")[0].split("\ndetails: ")[0]
        self.stage.show(first)
        return first

    async def run(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Runs a command in the sandbox's terminal."""
        return await self.call("terminal_run", command=command, **arguments)


def _forward(on_text: LiveText) -> ProgressFnT:
    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        if message:
            on_text(message)

    return on_progress


def _typed(arguments: dict[str, Any]) -> str:
    """What a person would type of it: a command, a query, a file, statements line by line."""
    statements = arguments.get("statements") or [arguments]
    lines = [next((each[name] for name in TYPED if each.get(name)), "") for each in statements]
    return "\n".join(lines)


def _summary(arguments: dict[str, Any]) -> str:
    """The arguments on one line: long texts named by their length, what is typed left out."""
    short = {
        name: f"({len(value)} characters)" if name == "content" else value
        for name, value in arguments.items()
        if name not in TYPED
    }
    return json.dumps(short, ensure_ascii=False) if short else ""


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long ago that was."""
        return time.monotonic() - self._start
