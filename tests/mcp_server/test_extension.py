"""What extensions may bring, and what they may not."""

import mcp.types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mcp_server.extension import (
    Context,
    ExtensionMethod,
    ExtensionResource,
    ServerExtension,
    load_extensions,
)
from mcp_server.render import MAX_RESULT_BYTES
from tests.conformance.fixtures import extension as fixtures
from tests.mcp_server.conftest import Servers
from tests.mcp_server.extensions import greeting, hello, one
from tool_plugins.errors import ConfigurationError


async def test_an_extension_brings_tools_and_prompts(servers: Servers) -> None:
    async with servers.running([one]) as server, Client(server) as client:
        result = await client.call_tool("demo_hello")
        prompt = await client.get_prompt("greeting")
        with pytest.raises(MCPError, match="unknown prompt 'nothing'"):
            await client.get_prompt("nothing")
    assert [block.text for block in result.content if block.type == "text"] == ["hello"]
    assert prompt.messages[0].role == "user"


async def test_resources_are_found_by_uri_and_by_template(servers: Servers) -> None:
    async with servers.running([fixtures]) as server, Client(server) as client:
        fixed = await client.read_resource("test://static-text")
        made = await client.read_resource("test://template/7/data")
        with pytest.raises(MCPError, match="unknown resource"):
            await client.read_resource("test://nothing")
    assert isinstance(fixed.contents[0], types.TextResourceContents)
    assert isinstance(made.contents[0], types.TextResourceContents)
    assert '"id": "7"' in made.contents[0].text


async def test_without_extensions_nothing_is_advertised_that_is_not_there(servers: Servers) -> None:
    async with servers.running() as server, Client(server) as client:
        capabilities = client.server_capabilities
    assert capabilities.prompts is None
    assert capabilities.resources is None
    assert capabilities.completions is None


async def test_a_result_of_an_extension_is_held_to_the_size_that_clients_bear(
    servers: Servers,
) -> None:
    async with servers.running([one]) as server, Client(server) as client:
        small = await client.call_tool("demo_hello", {"size": MAX_RESULT_BYTES // 2})
        large = await client.call_tool("demo_hello", {"size": MAX_RESULT_BYTES})
    assert not small.is_error
    assert large.is_error
    assert "TOO_LARGE" in large.model_dump_json()


async def _read(
    _ctx: Context, _params: types.ReadResourceRequestParams
) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[], ttl_ms=0, cache_scope="private")


async def _ping(_ctx: Context, _params: types.RequestParams) -> types.EmptyResult:
    return types.EmptyResult()


page = ExtensionResource(types.Resource(uri="x://page", name="page"), _read)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (ServerExtension("second", tools=(hello(),)), "'demo_hello'"),
        (ServerExtension("second", tools=(hello("sandbox_create"),)), "sandbox-sdk"),
        (ServerExtension("second", tools=(hello("demo_echo"),)), "tests.mcp_server.tools"),
        (ServerExtension("second", tools=(hello("Bad.Name"),)), "'Bad.Name'"),
        (ServerExtension("second", prompts=(greeting,)), "prompt 'greeting'"),
        (ServerExtension("second", resources=(page, page)), "resource 'x://page'"),
        (
            ServerExtension(
                "second", methods={"tools/list": ExtensionMethod(types.RequestParams, _ping)}
            ),
            "the server itself",
        ),
    ],
)
async def test_a_name_that_is_taken_or_malformed_is_refused_naming_its_origin(
    servers: Servers, second: ServerExtension, told: str
) -> None:
    with pytest.raises(ConfigurationError, match="second") as caught:
        servers.make([one, second])
    assert told in str(caught.value)


def test_an_extension_is_loaded_by_its_name() -> None:
    assert load_extensions(["tests.mcp_server.extensions:one"]) == (one,)
