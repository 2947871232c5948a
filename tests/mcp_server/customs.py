"""Files of custom tools, and clients of every transport that hear when the list changes."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import mcp.types as types
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client

from sandbox_sdk import SandboxGroup
from tests.mcp_server.conftest import Servers
from tests.mcp_server.processes import ROOT, arguments
from tests.mcp_server.test_web import serving

TRANSPORTS = ("stdio-legacy", "stdio-modern", "http-legacy", "http-modern", "sse-legacy")
WAIT_S = 20.0

COUNT = '''
"""What things cost."""

from tool_plugins.authoring import Context


def count(words: list[str], ctx: Context, least: int | None = None) -> dict[str, int]:
    """Counts words.

    Args:
        words: The words to count.
        least: Leave out words that are rarer.
    """
    print("counting", len(words))
    ctx.progress(1, 2, "half of it")
    found = {word: words.count(word) for word in words}
    return {word: n for word, n in found.items() if n >= (least or 0)}
'''
SHOUT = '''
def shout(text: str) -> str:
    """Shouts."""
    return text.upper()
'''


def function(name: str, body: str, returns: str = "str", parameters: str = "") -> str:
    """A file with one function."""
    return f'def {name}({parameters}) -> {returns}:\n    """Does {name}."""\n    {body}\n'


class CustomServers(Servers):
    """Makes servers with the built-in tools, whose groups are given more options."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder)
        self.options = {"tool_registration": True} | options

    def group(self) -> SandboxGroup:
        """A group over the real in-process engine."""
        return SandboxGroup(engine="in_process", state_dir=self._folder, **self.options)


class Listening:
    """A client, and what it hears. Cached lists are not used: each listing asks the server."""

    def __init__(self) -> None:
        self.client: Client
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(self, message: Any) -> None:
        """Takes a message of the earlier era."""
        if isinstance(message, types.ToolListChangedNotification):
            self.heard.put_nowait("changed")

    async def follow(self, ready: asyncio.Event) -> None:
        """Takes the events of the current era."""
        async with self.client.listen(tools_list_changed=True) as events:
            ready.set()
            async for _ in events:
                self.heard.put_nowait("changed")

    async def changed(self) -> None:
        """Waits until a change is announced."""
        async with asyncio.timeout(WAIT_S):
            await self.heard.get()

    async def tools(self) -> dict[str, types.Tool]:
        """The tools by name."""
        return {each.name: each for each in (await self.client.list_tools()).tools}

    async def until(self, name: str, *, there: bool) -> dict[str, types.Tool]:
        """The tools once a name is there, or is not: looked at whenever a change is announced."""
        while (name in (tools := await self.tools())) is not there:
            await self.changed()
        return tools

    async def call(self, tool: str, /, **given: Any) -> types.CallToolResult:
        """Calls a tool with these arguments."""
        return await self.client.call_tool(tool, given)

    async def register(self, namespace: str, source: str, **given: Any) -> types.CallToolResult:
        """Registers a file."""
        return await self.call("tool_register", namespace=namespace, source=source, **given)


@asynccontextmanager
async def listening(make: Any, *, modern: bool) -> AsyncIterator[Listening]:
    """`make(**options)` is a client."""
    me = Listening()
    options = {} if modern else {"message_handler": me.on_message}
    async with make(mode="2026-07-28" if modern else "legacy", **options) as me.client:
        ready = asyncio.Event()
        following = asyncio.create_task(me.follow(ready)) if modern else None
        try:
            if following is not None:
                await ready.wait()
            yield me
        finally:
            if following is not None:
                following.cancel()
                await asyncio.wait([following])


@asynccontextmanager
async def connected(
    transport: str, folder: Path, *words: str, **options: Any
) -> AsyncIterator[Listening]:
    """A client over a transport. The command gets `words`, other servers' groups `options`."""
    kind, era = transport.split("-")
    async with AsyncExitStack() as stack:
        if kind == "stdio":
            parameters = StdioServerParameters(
                command=sys.executable,
                args=["-m", "mcp_server", *arguments(folder, "--tool-registration", *words)],
                cwd=ROOT,
            )

            def make(**more: Any) -> Client:
                return Client(stdio_client(parameters), **more)
        else:
            site = await stack.enter_async_context(serving(CustomServers(folder, **options)))

            def make(**more: Any) -> Client:
                if kind == "sse":
                    return Client(sse_client(f"{site.url}/sse"), **more)
                return Client(f"{site.url}/mcp", **more)

        yield await stack.enter_async_context(listening(make, modern=era == "modern"))


def text(result: types.CallToolResult) -> str:
    """The texts of a result."""
    return "\n".join(block.text for block in result.content if block.type == "text")
