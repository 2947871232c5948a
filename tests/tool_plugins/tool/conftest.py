"""A file of custom tools in a worker of its own, as the current user. Nothing may be left of it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.tool_plugins.worker.conftest import MakePool
from tests.tool_plugins.worker.conftest import host as host
from tests.tool_plugins.worker.conftest import lives as lives
from tests.tool_plugins.worker.conftest import make_pool as make_pool
from tool_plugins.context import Host
from tool_plugins.errors import ToolError
from tool_plugins.worker.prepared import PreparedPool
from tool_plugins.worker.process import Ask


class File:
    """A file that was loaded. `events`, `asks` and `logs` are those of all calls."""

    def __init__(self, pool: PreparedPool, workspace: Path) -> None:
        self.workspace = workspace
        self.events: list[dict[str, Any]] = []
        self.asks: list[dict[str, Any]] = []
        self.answer: Callable[[Ask], None] = lambda ask: ask.reply({"data": {}})
        self._pool = pool
        self._printed: list[bytes] = []

    @property
    def logs(self) -> str:
        return b"".join(self._printed).decode()

    async def answered(self, function: str, /, timeout_s: float = 20, **arguments: Any) -> Any:
        """All of the answer."""

        def asked(ask: Ask) -> None:
            self.asks.append(ask.request)
            self.answer(ask)

        return await self._pool.call(
            "call",
            {"function": function, "arguments": arguments},
            timeout_s=timeout_s,
            on_event=self.events.append,
            on_ask=asked,
            on_output=self._printed.append,
        )

    async def call(self, function: str, /, **arguments: Any) -> Any:
        """The result."""
        return (await self.answered(function, **arguments))["result"]

    async def refused(self, function: str, /, **arguments: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.answered(function, **arguments)
        return caught.value


Load = Callable[[str], File]


@pytest.fixture
def identity() -> None:
    """What another user may do is the matter of the tests of workers."""


@pytest.fixture
async def load(make_pool: MakePool, host: Host) -> AsyncIterator[Load]:
    """Makes a file of a source, which is loaded when its first function is called."""
    async with AsyncExitStack() as stack:

        def load(source: str) -> File:
            args = {
                "namespace": "my_tools",
                "source": dedent(source),
                "environment": None,
                "workspace": str(host.workspace),
            }
            pool = PreparedPool(
                host,
                "tool_plugins.tool.program",
                first=("load", args),
                size=1,
                folder=host.workspace,
                capture=True,
            )
            stack.push_async_callback(pool.aclose)
            return File(pool, host.workspace)

        yield load
