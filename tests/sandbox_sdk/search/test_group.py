"""Web search as users of a group meet it, from Python and over MCP."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from mcp import Client

from mcp_server.server import SandboxServer
from sandbox_sdk import SandboxGroup, ToolCallError
from sandbox_sdk.search.provider import Hit, Query
from tests.sandbox_sdk.search.test_execute import Own, hit
from tests.sandbox_sdk.search.test_providers import KEY, serve
from tests.services.web import Web
from tool_plugins.errors import ErrorCode, ToolError


class Closing(Own):
    """Counts how often it was closed."""

    closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_sandbox_searches_with_the_provider_of_its_group(state_dir: Path) -> None:
    provider = Closing(hit("https://a.test/", "<b>One</b>"), hit("https://b.test/"))
    group = SandboxGroup(engine="in_process", state_dir=state_dir, web_search=provider)
    async with group, await group.create_sandbox() as sandbox:
        found = await sandbox.web.search("cats", blocked_domains=["b.test"], recency="day")
        assert [(each.title, each.url) for each in found.results] == [("One", "https://a.test/")]
        assert provider.queries[-1].recency == "day"
        assert provider.closed == 0
    assert provider.closed == 1


async def test_what_a_provider_cannot_do_is_a_tool_error(state_dir: Path) -> None:
    class Busy(Own):
        async def search(self, query: Query) -> Sequence[Hit]:
            raise ToolError(ErrorCode.BUSY, "too many questions", hint="wait")

    group = SandboxGroup(engine="in_process", state_dir=state_dir, web_search=Busy())
    async with group, await group.create_sandbox() as sandbox:
        with pytest.raises(ToolCallError, match="too many questions") as raised:
            await sandbox.web.search("cats")
        assert raised.value.code == "BUSY"


async def test_over_mcp_a_wrong_key_is_told_and_not_shown(web: Web, state_dir: Path) -> None:
    serve(web, "/search", {"detail": KEY}, status=401)
    settings = {
        "provider": "tavily",
        "api_key": KEY,
        "url": f"https://localhost:{web.tls_port}",
        "ca_file": str(web.ca_file),
    }

    def group() -> SandboxGroup:
        return SandboxGroup(engine="in_process", state_dir=state_dir, web_search=settings)

    server = SandboxServer(group)
    try:
        async with Client(server) as client:
            assert "web_search" in {tool.name for tool in (await client.list_tools()).tools}
            result = await client.call_tool("web_search", {"query": "cats"})
    finally:
        await server.door.close()
    assert result.is_error
    text = result.model_dump_json()
    assert "PERMISSION_DENIED" in text
    assert KEY not in text
