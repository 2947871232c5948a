"""Calls the document tool as a sandbox does: through the definition's models, and workers."""

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.tool_plugins.worker.conftest import _python as _python
from tests.tool_plugins.worker.conftest import host as host
from tests.tool_plugins.worker.conftest import identity as identity
from tool_plugins.context import Host, ToolContext
from tool_plugins.document.definition import TOOLS
from tool_plugins.document.executor import EXECUTORS
from tool_plugins.errors import ToolError


class Tools:
    """The document tool over one workspace."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.workspace = host.workspace

    async def read(self, path: str, **arguments: Any) -> Any:
        (definition,) = TOOLS
        given = {"path": path, **arguments}
        valid = definition.arguments.model_validate(given).model_dump(mode="json")
        data = await EXECUTORS["read"](ToolContext(self.host), **valid)
        return definition.result.model_validate(data)

    async def refused(self, path: str, **arguments: Any) -> ToolError:
        with pytest.raises(ToolError) as caught:
            await self.read(path, **arguments)
        assert caught.value.message
        return caught.value


@pytest.fixture
async def documents(host: Host) -> AsyncIterator[Tools]:
    """The tool. Afterwards no more descriptors are open than before."""
    before = len(os.listdir("/proc/self/fd"))
    yield Tools(host)
    await host.aclose()
    assert len(os.listdir("/proc/self/fd")) <= before
