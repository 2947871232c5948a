"""A server over a real group on the in-process engine."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from container_runtime.engines.in_process import InProcessEngine
from mcp_server.extension import ServerExtension
from mcp_server.server import SandboxServer
from sandbox_sdk import SandboxGroup
from tests.mcp_server import tools


class Servers:
    """Makes servers whose state lives in the test's own folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def group(self) -> SandboxGroup:
        """A group over the test's tools."""
        engine = InProcessEngine(state_dir=self._folder, executors=tools.EXECUTORS)
        return SandboxGroup(engine=engine, registry=tools.REGISTRY, state_dir=self._folder)

    def make(self, extensions: Iterable[ServerExtension] = ()) -> SandboxServer:
        """A server that is not served yet."""
        return SandboxServer(self.group, extensions)

    @asynccontextmanager
    async def running(
        self, extensions: Iterable[ServerExtension] = ()
    ) -> AsyncIterator[SandboxServer]:
        """A server whose group ends with the block."""
        server = self.make(extensions)
        try:
            yield server
        finally:
            await server.door.close()


@pytest.fixture
def servers(tmp_path: Path) -> Servers:
    """Servers of this test."""
    tools.ended[:] = [asyncio.Queue()]
    return Servers(tmp_path)


@pytest.fixture
async def server(servers: Servers) -> AsyncIterator[SandboxServer]:
    """One server."""
    async with servers.running() as server:
        yield server


async def how_it_ended() -> str:
    """How the waiting call ended, once it did."""
    async with asyncio.timeout(5):
        return await tools.ended[-1].get()
