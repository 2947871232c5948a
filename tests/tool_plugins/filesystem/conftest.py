"""Calls the tools as a sandbox does: arguments and results pass through the definition's models."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.definition import TOOLS
from tool_plugins.filesystem.executor import EXECUTORS

DEFINITIONS = {tool.name.removeprefix("filesystem."): tool for tool in TOOLS}


class Tools:
    """The eight tools over one workspace. `attachments` are those of the last call."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.attachments: list[dict[str, str]] = []

    def __getattr__(self, verb: str) -> Any:
        def call(**arguments: Any) -> Any:
            return self.call(verb, arguments)

        return call

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        """Runs the tool and gives its `Result`."""
        definition = DEFINITIONS[verb]
        valid = definition.arguments.model_validate(arguments).model_dump(mode="json")
        context = ToolContext(self.host)
        data = EXECUTORS[verb](context, **valid)
        if inspect.isawaitable(data):
            data = asyncio.run(_finished(data))
        self.attachments = context.attachments
        return definition.result.model_validate(data)

    def refused(self, verb: str, **arguments: Any) -> ToolError:
        """Runs the tool, which must fail; the error."""
        with pytest.raises(ToolError) as caught:
            self.call(verb, arguments)
        assert caught.value.message
        return caught.value

    def code(self, verb: str, **arguments: Any) -> ErrorCode:
        """The code of the error the tool must fail with."""
        return self.refused(verb, **arguments).code


async def _finished(data: Any) -> Any:
    return await data


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The workspace; a neighbour outside holds `secret`."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    outside = tmp_path / "workspace_evil"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    return folder


@pytest.fixture
def host(workspace: Path, tmp_path: Path) -> Iterator[Host]:
    """A host without another user."""
    host = Host(workspace=workspace, tmp=tmp_path, spool=tmp_path)
    yield host
    asyncio.run(host.aclose())


@pytest.fixture
def tools(host: Host) -> Tools:
    """The tools over the workspace."""
    return Tools(host)
