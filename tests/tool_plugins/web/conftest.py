"""The web tools as a sandbox has them: in a worker process, behind the host's real proxy."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.server.egress import Egress, way_out
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.services.web import Web
from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.definition import TOOLS
from tool_plugins.web.executor import EXECUTORS

DEFINITIONS = {tool.name.removeprefix("web."): tool for tool in TOOLS if tool.executor}


class Tools:
    """Calls the tools; arguments and results pass through the definition's models."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.events: list[dict[str, Any]] = []

    def __getattr__(self, verb: str) -> Any:
        async def call(url: str, **arguments: Any) -> Any:
            return await self.call(verb, url, **arguments)

        return call

    async def call(self, verb: str, url: str, **arguments: Any) -> Any:
        """Runs the tool and gives its `Result`."""
        definition = DEFINITIONS[verb]
        valid = definition.arguments.model_validate({"url": url, **arguments})
        context = ToolContext(self.host, self.events.append)
        data = await EXECUTORS[verb](context, **valid.model_dump(mode="json"))
        return definition.result.model_validate(data)

    async def refused(self, verb: str, url: str, **arguments: Any) -> ToolError:
        """Runs the tool, which must fail; the error."""
        with pytest.raises(ToolError) as caught:
            await self.call(verb, url, **arguments)
        assert caught.value.message
        return caught.value

    async def code(self, verb: str, url: str, **arguments: Any) -> ErrorCode:
        """The code of the error the tool must fail with."""
        return (await self.refused(verb, url, **arguments)).code


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """The workspace."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
async def host(workspace: Path, tmp_path: Path) -> AsyncIterator[Host]:
    """A host without another user and without a network."""
    spool = tmp_path / "spool"
    spool.mkdir()
    made = Host(workspace=workspace, tmp=spool, spool=spool)
    yield made
    await made.aclose()


@pytest.fixture
async def proxy(web: Web, state_dir: Path) -> AsyncIterator[EgressProxy]:
    """A proxy that lets the first two names of `web` be reached."""
    resolver = Resolver()
    started = EgressProxy(EgressPolicy(**web.policy()), resolver, name="sandbox-1")
    await started.listen(state_dir / "egress" / "egress.sock")
    shutil.copy(web.ca_file, state_dir / "egress" / "ca.pem")
    yield started
    await started.aclose()
    await resolver.aclose()


@pytest.fixture
async def tools(host: Host, proxy: EgressProxy, state_dir: Path) -> AsyncIterator[Tools]:
    """The tools behind the proxy."""
    async with way_out(Egress(state_dir / "egress" / "egress.sock", 0), host):
        yield Tools(host)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """For tests that run parts of a worker here: no variable of this process says anything."""
    for name in ("HTTP_PROXY", "http_proxy", "SSL_CERT_FILE", "WEB_ROBOTS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch
