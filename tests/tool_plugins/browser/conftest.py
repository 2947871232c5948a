"""The browser tools as a sandbox has them: in a worker process, behind the host's real proxy."""

import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.server.egress import Egress, way_out
from sandbox_sdk.egress.proxy import EgressProxy
from tests.services.web import Web
from tests.tool_plugins.web.conftest import proxy, workspace
from tool_plugins.browser.definition import TOOLS
from tool_plugins.browser.executor import EXECUTORS
from tool_plugins.browser.launching import PROGRAMS
from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ToolError

__all__ = ("proxy", "workspace")

DEFINITIONS = {tool.name.removeprefix("browser."): tool for tool in TOOLS}


class Browser:
    """Calls the tools; arguments and results pass through the definition's models."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.attachments: list[dict[str, str]] = []

    def __getattr__(self, verb: str) -> Any:
        async def call(**arguments: Any) -> Any:
            return await self.call(verb, **arguments)

        return call

    async def call(self, verb: str, **arguments: Any) -> Any:
        """Runs a tool and gives its `Result`."""
        definition = DEFINITIONS[verb]
        valid = definition.arguments.model_validate(arguments)
        context = ToolContext(self.host)
        data = await EXECUTORS[verb](context, **valid.model_dump(mode="json"))
        self.attachments = context.attachments
        return definition.result.model_validate(data)

    async def open(self, url: str, **arguments: Any) -> Any:
        """Opens a page."""
        return await self.call("open", url=url, **arguments)

    async def click(self, page: Any, name: str, **arguments: Any) -> Any:
        """Clicks what a snapshot shows with this in its line."""
        return await self.call("act", action="click", ref=ref(page, name), **arguments)

    async def refused(self, verb: str, **arguments: Any) -> ToolError:
        """Runs a tool, which must fail; the error."""
        with pytest.raises(ToolError) as caught:
            await self.call(verb, **arguments)
        assert caught.value.message
        assert "restart" not in caught.value.details
        return caught.value


def ref(page: Any, name: str) -> str:
    """The reference of the first element that a snapshot shows with this in its line."""
    found = re.search(rf"^.*{re.escape(name)}.*?\[ref=(\w+)\]", page.snapshot, re.MULTILINE)
    assert found, page.snapshot
    return found[1]


@pytest.fixture
def needs_chromium() -> None:
    """Skips where no Chromium is installed."""
    if not any(os.access(program, os.X_OK) for program in PROGRAMS):
        pytest.skip("no Chromium here: `apt-get install chromium-headless-shell libnss3-tools`")


@pytest.fixture
async def host(workspace: Path, tmp_path: Path) -> AsyncIterator[Host]:
    """A host without another user and without a network."""
    tmp = tmp_path / "tmp"
    spool = tmp_path / "spool"
    tmp.mkdir()
    spool.mkdir()
    made = Host(workspace=workspace, tmp=tmp, spool=spool)
    yield made
    await made.aclose()


@pytest.fixture
def browser(needs_chromium: None, host: Host) -> Browser:
    """A browser without a way out: only this machine's own servers can be reached."""
    return Browser(host)


@pytest.fixture
async def outgoing(
    needs_chromium: None, host: Host, proxy: EgressProxy, web: Web, state_dir: Path
) -> AsyncIterator[Browser]:
    """A browser behind the proxy, which trusts the authority of `web`."""
    async with way_out(Egress(state_dir / "egress" / "egress.sock", 0), host):
        yield Browser(host)


@pytest.fixture
def local(web: Web) -> str:
    """The URL of `web` as a server in the sandbox has it, without a slash at its end."""
    return f"http://localhost:{web.port}"
