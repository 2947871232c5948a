"""The web tools as a sandbox has them: in a worker process, behind the host's real proxy."""

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from container_runtime.server.egress import Egress, way_out
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.services.web import ADDRESS, Web
from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.definition import TOOLS
from tool_plugins.web.executor import EXECUTORS, DownloadWorkers, WebWorkers
from tool_plugins.web.program import HANDLERS

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


@dataclass(slots=True)
class FakeCall:
    """A call without a worker."""

    emit: Callable[[dict[str, Any]], None]
    descriptors: list[int]
    deadline: float


class InThread:
    """Stands in for the worker processes: the same program in a thread of this one, for speed."""

    def __init__(self, _host: Host) -> None:
        pass

    async def call(
        self,
        verb: str,
        args: dict[str, Any],
        *,
        timeout_s: float,
        grace_s: float,
        on_event: Callable[[dict[str, Any]], None] | None,
        descriptors: Sequence[int],
    ) -> dict[str, Any]:
        emit = on_event or (lambda _event: None)
        call: Any = FakeCall(emit, list(descriptors), time.monotonic() + timeout_s)
        return await asyncio.to_thread(HANDLERS[verb], args, call)


@pytest.fixture
async def way(
    host: Host, proxy: EgressProxy, web: Web, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[pytest.MonkeyPatch]:
    """The way out, in the environment of the host and of this process."""
    async with way_out(Egress(state_dir / "egress" / "egress.sock", 0), host):
        for name in ("http_proxy", "WEB_ROBOTS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HTTP_PROXY", host.environment["HTTP_PROXY"])
        # Without the public authorities, which take long to read.
        monkeypatch.setenv("SSL_CERT_FILE", str(web.ca_file))
        yield monkeypatch


@pytest.fixture
def worker_tools(host: Host, way: pytest.MonkeyPatch) -> Tools:
    """The tools as they are, with a worker process."""
    return Tools(host)


@pytest.fixture
def tools(host: Host, way: pytest.MonkeyPatch) -> Tools:
    """The tools behind the proxy, without a worker process."""
    for kind in (WebWorkers, DownloadWorkers):
        host._services[kind] = InThread(host)
    return Tools(host)


class Scripted:
    """A server on loopback that does with each connection what a function says."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._script = script
        self._listener = socket.create_server((ADDRESS, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, suppress(OSError):
                client.settimeout(10)
                self._script(client)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], None]], Scripted]]:
    """Starts servers that follow a script."""
    started: list[Scripted] = []

    def start(script: Callable[[socket.socket], None]) -> Scripted:
        started.append(Scripted(script))
        return started[-1]

    yield start
    for each in started:
        each.close()
