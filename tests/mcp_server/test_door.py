"""The group behind the server: started once, tried again, ended with what it started."""

import asyncio
from pathlib import Path

import pytest
from mcp import Client

from container_runtime.engine import Report
from container_runtime.engines.in_process import InProcessEngine
from mcp_server.door import GroupDoor
from mcp_server.server import SandboxServer
from sandbox_sdk import SandboxGroup
from tests.mcp_server import tools
from tests.mcp_server.conftest import Servers
from tool_plugins.errors import EngineError


class SlowEngine(InProcessEngine):
    """An engine whose image takes as long as the test wants, and may fail."""

    failures = 0

    def __init__(self, folder: Path) -> None:
        super().__init__(state_dir=folder, executors=tools.EXECUTORS)
        self.building = asyncio.Event()
        self.built = asyncio.Event()

    async def ensure_image(self, report: Report) -> str:
        self.building.set()
        await self.built.wait()
        if type(self).failures:
            type(self).failures -= 1
            raise EngineError("no engine today", hint="start one")
        return "image"


def group(engine: InProcessEngine, folder: Path) -> SandboxGroup:
    return SandboxGroup(engine=engine, registry=tools.REGISTRY, state_dir=folder)


async def test_tools_are_listed_while_the_image_is_built_and_calls_wait(tmp_path: Path) -> None:
    engine = SlowEngine(tmp_path)
    server = SandboxServer(lambda: group(engine, tmp_path))
    async with Client(server) as client:
        server.door.open()
        call = asyncio.create_task(client.call_tool("demo_echo", {"text": "later"}))
        await engine.building.wait()
        assert len((await client.list_tools()).tools) > 4
        assert not call.done()
        engine.built.set()
        result = await call
    assert result.structured_content["said"] == "later"
    await server.door.close()


async def test_a_group_that_did_not_start_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowEngine, "failures", 1)

    def make() -> SandboxGroup:
        engine = SlowEngine(tmp_path)
        engine.built.set()
        return group(engine, tmp_path)

    server = SandboxServer(make)
    async with Client(server) as client:
        failed = await client.call_tool("demo_echo", {"text": "x"})
        worked = await client.call_tool("demo_echo", {"text": "x"})
    assert "ENGINE_ERROR: no engine today\nhint: start one" in failed.model_dump_json().replace(
        "\\n", "\n"
    )
    assert not worked.is_error
    assert "no engine today" in caplog.text
    await server.door.close()


async def test_closing_ends_calls_that_run(servers: Servers) -> None:
    async with servers.running() as server, Client(server) as client:
        await client.call_tool("sandbox_get")
        call = asyncio.create_task(client.call_tool("demo_wait", {"forever": True}))
        while not server.door.closing.is_set():
            listed = (await client.call_tool("sandbox_list")).structured_content
            if listed["total"]:
                await server.door.close()
        await asyncio.wait({call}, timeout=5)
        assert call.done()
        assert call.exception() is not None


async def test_closing_a_door_that_never_opened_does_nothing(servers: Servers) -> None:
    await GroupDoor(servers.group).close()
