"""What a client of the mcp package sees, in memory, in both protocol eras."""

import re
from typing import Any

import mcp.types as types
import pytest
from mcp import Client
from mcp.server.subscriptions import ToolsListChanged
from mcp.shared.exceptions import MCPError

from mcp_server.render import ERROR_META
from mcp_server.server import SandboxServer

ERAS = pytest.mark.parametrize("mode", ["legacy", "auto"])
LIFECYCLE = ["sandbox_create", "sandbox_list", "sandbox_get", "sandbox_end"]


def text(result: types.CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


def error(result: types.CallToolResult) -> dict[str, Any]:
    assert result.is_error
    assert result.structured_content is None
    assert result.meta is not None
    return result.meta[ERROR_META]


@ERAS
async def test_tools_come_in_one_order_with_schemas_that_every_client_takes(
    server: SandboxServer, mode: Any
) -> None:
    async with Client(server, mode=mode) as client:
        tools = (await client.list_tools()).tools
    assert [*LIFECYCLE, "demo_echo", "demo_wait", "demo_fail", "demo_picture"] == [
        tool.name for tool in tools
    ]
    for tool in tools:
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,39}", tool.name)
        assert tool.description
        assert tool.annotations is not None
        assert tool.title
        assert tool.output_schema is not None
        assert not set(_keys(tool.input_schema)) & {"$ref", "$defs", "title", "format"}
        assert tool.input_schema["additionalProperties"] is False
        assert ("sandbox_id" in tool.input_schema["properties"]) == (
            tool.name not in ("sandbox_create", "sandbox_list")
        )
        assert "sandbox_id" not in tool.input_schema.get("required", [])


def _keys(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [key for part in schema for key in _keys(part)]
    if not isinstance(schema, dict):
        return []
    properties = schema.get("properties", {})
    rest = {key: value for key, value in schema.items() if key not in ("properties", "default")}
    found = [key for value in (*rest.values(), *properties.values()) for key in _keys(value)]
    return [*rest, *found]


@ERAS
async def test_a_call_answers_with_structured_content_and_the_same_as_text(
    server: SandboxServer, mode: Any
) -> None:
    async with Client(server, mode=mode) as client:
        result = await client.call_tool("demo_echo", {"text": "hi", "style": "loud"})
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["said"] == "HI"
    assert "said: HI" in text(result)
    assert '{"word": "hi", "length": 2}' in text(result)


@ERAS
async def test_list_changes_are_announced_before_they_happen(
    server: SandboxServer, mode: Any
) -> None:
    async with Client(server, mode=mode) as client:
        capabilities = client.server_capabilities
    assert capabilities.tools is not None
    assert capabilities.tools.list_changed is True


async def test_a_tool_failure_is_an_error_result_a_model_can_act_on(server: SandboxServer) -> None:
    async with Client(server) as client:
        result = await client.call_tool("demo_fail")
    assert error(result) == {
        "code": "NOT_FOUND",
        "message": "no such thing",
        "hint": "look again",
        "details": {"near": "x"},
    }
    assert text(result) == 'NOT_FOUND: no such thing\nhint: look again\ndetails: {"near": "x"}'


async def test_a_crash_shows_nothing_of_its_inside(server: SandboxServer) -> None:
    async with Client(server) as client:
        result = await client.call_tool("demo_fail", {"crash": True})
    assert error(result)["code"] == "INTERNAL"
    assert "secret" not in text(result)


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("demo_echo", {"text": "x", "txet": 1}, "txet"),
        ("demo_echo", {"text": "x", "times": "many"}, "times"),
        ("demo_echo", {}, "text"),
        ("demo_echo", {"text": "x", "sandbox_id": 7}, "sandbox_id"),
        ("sandbox_create", {"cpu": 1}, "cpus"),
        ("sandbox_get", {"sandbox_id": ["x"]}, "sandbox_id"),
        ("sandbox_list", {"all": True}, "all"),
    ],
)
async def test_bad_arguments_are_refused_by_name(
    server: SandboxServer, tool: str, arguments: dict[str, Any], told: str
) -> None:
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments)
    assert error(result)["code"] == "INVALID_ARGUMENT"
    assert told in error(result)["message"]
    assert "." not in tool
    assert tool.replace("_", ".", 1) not in text(result)


async def test_limits_that_do_not_fit_are_refused_by_name(server: SandboxServer) -> None:
    async with Client(server) as client:
        result = await client.call_tool("sandbox_create", {"memory_mb": 1})
    assert error(result)["code"] == "INVALID_CONFIGURATION"
    assert "memory_mb" in text(result)


@pytest.mark.parametrize("tool", ["demo_echo", "sandbox_get", "sandbox_end"])
async def test_an_unknown_sandbox_is_an_error_result(server: SandboxServer, tool: str) -> None:
    arguments = {"sandbox_id": "sbx-00000000000000000000000000"}
    if tool == "demo_echo":
        arguments["text"] = "x"
    async with Client(server) as client:
        result = await client.call_tool(tool, arguments)
    assert error(result)["code"] == "SANDBOX_NOT_FOUND"


async def test_an_unknown_tool_is_a_protocol_error(server: SandboxServer) -> None:
    async with Client(server) as client:
        with pytest.raises(MCPError, match="unknown tool 'rm_rf'") as caught:
            await client.call_tool("rm_rf")
    assert caught.value.code == types.INVALID_PARAMS


async def test_calls_without_an_id_share_one_sandbox_and_further_ones_are_separate(
    server: SandboxServer,
) -> None:
    async with Client(server) as client:
        default = (await client.call_tool("sandbox_get")).structured_content
        again = (await client.call_tool("sandbox_get")).structured_content
        made = (
            await client.call_tool("sandbox_create", {"name": "second", "cpus": 0.5})
        ).structured_content
        listed = (await client.call_tool("sandbox_list")).structured_content
    assert default["sandbox_id"] == again["sandbox_id"] != made["sandbox_id"]
    assert (made["name"], made["cpus"], made["state"]) == ("second", 0.5, "ready")
    assert {default["sandbox_id"], made["sandbox_id"]} == {
        each["sandbox_id"] for each in listed["sandboxes"]
    }


async def test_an_ended_sandbox_is_gone_and_the_default_comes_back(server: SandboxServer) -> None:
    async with Client(server) as client:
        first = (await client.call_tool("sandbox_get")).structured_content["sandbox_id"]
        ended = await client.call_tool("sandbox_end")
        use = await client.call_tool("demo_echo", {"text": "x", "sandbox_id": first})
        second = (await client.call_tool("sandbox_get")).structured_content["sandbox_id"]
        await client.call_tool("sandbox_end")
        nothing = await client.call_tool("sandbox_end")
    assert {"sandbox_id": first, "state": "ended"} == ended.structured_content
    assert error(use)["code"] in ("SANDBOX_GONE", "SANDBOX_NOT_FOUND")
    assert first != second
    assert error(nothing)["code"] == "SANDBOX_NOT_FOUND"


async def test_a_result_too_large_for_clients_is_cut_and_says_so(server: SandboxServer) -> None:
    async with Client(server, mode="legacy") as client:
        result = await client.call_tool("demo_echo", {"text": "é", "times": 1_000_000})
    data = result.structured_content
    assert data["truncated"] is True
    assert "characters left out here" in data["said"]
    assert "characters left out here" in text(result)
    assert len(result.model_dump_json()) < 1_000_000


async def test_pictures_and_documents_travel_beside_the_data(server: SandboxServer) -> None:
    async with Client(server) as client:
        result = await client.call_tool("demo_picture")
    kinds = [block.type for block in result.content]
    assert kinds == ["text", "image", "resource"]


@ERAS
async def test_clients_of_both_eras_hear_that_the_tools_changed(
    server: SandboxServer, mode: Any
) -> None:
    heard: list[str] = []

    async def on_message(message: Any) -> None:
        heard.append(type(message).__name__)

    if mode == "legacy":
        async with Client(server, mode=mode, message_handler=on_message) as client:
            await client.list_tools()
            await server.announce(ToolsListChanged())
            await client.list_tools()
        assert "ToolListChangedNotification" in heard
        assert server._listeners == {}
    else:
        async with (
            Client(server, mode=mode) as client,
            client.listen(tools_list_changed=True) as subscription,
        ):
            await server.announce(ToolsListChanged())
            async for event in subscription:
                assert event == ToolsListChanged()
                break
