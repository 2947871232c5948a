"""The wire actions of custom tools on one host, as the host's session uses them."""

import asyncio
from textwrap import dedent
from typing import Any

import pytest

from tests.tool_plugins.worker.conftest import MakePool, until
from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ToolError
from tool_plugins.tool.builds import Builds
from tool_plugins.tool.executor import EXECUTORS

PLAIN = '''
import os, sys, time

def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    print("adding", a, b)
    return a + b

def pid() -> int:
    """Which process this is."""
    return os.getpid()

def wait(path: str) -> int:
    """Waits until there is such a file."""
    open(f"{path}.{os.getpid()}", "w").close()
    while not os.path.exists(path):
        time.sleep(0.005)
    return os.getpid()
'''


class Server:
    """The executors on one host, as the host's session uses them."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.calls = 0

    async def do(self, verb: str, /, **arguments: Any) -> dict[str, Any]:
        return await EXECUTORS[verb](ToolContext(self.host), **arguments)

    async def install(self, source: str, *, build: str = "b", **options: Any) -> None:
        args = {"build": build, "namespace": "my_tools", "source": dedent(source), **options}
        assert await self.do("install", **args) == {}

    async def describe(self, *, build: str = "b", timeout_s: float = 20) -> dict[str, Any]:
        return await self.do("describe", build=build, timeout_s=timeout_s)

    async def not_described(self, source: str, timeout_s: float = 20) -> ToolError:
        await self.install(source)
        with pytest.raises(ToolError) as caught:
            await self.describe(timeout_s=timeout_s)
        return caught.value

    async def observe(
        self,
        function: str,
        /,
        *,
        build: str = "b",
        timeout_s: float = 20,
        call: str = "",
        context: ToolContext | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        self.calls += 1
        return await EXECUTORS["run"](
            context or ToolContext(self.host),
            build=build,
            function=function,
            arguments=arguments,
            call=call or f"call {self.calls}",
            timeout_s=timeout_s,
        )

    async def run(self, function: str, /, **arguments: Any) -> Any:
        return (await self.observe(function, **arguments))["result"]

    async def refused(self, function: str, /, **arguments: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.observe(function, **arguments)
        return caught.value

    def following(self) -> tuple[ToolContext, "asyncio.Queue[dict[str, Any]]"]:
        """A context whose live events go into the queue."""
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        return ToolContext(self.host, events.put_nowait), events


@pytest.fixture
async def server(make_pool: MakePool, host: Host) -> Server:
    """`make_pool` closes the host, and then looks what is left."""
    return Server(host)


async def until_ready(server: Server) -> None:
    """Waits for the spare: nothing else runs then."""
    await until(lambda: server.host.service(Builds).spares.running)
