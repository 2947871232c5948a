"""Tools whose answers are of every kind of content."""

from typing import Any

import mcp.types as types

from mcp_server.extension import Context, ExtensionTool
from tests.conformance.making import PIXEL, SILENCE, raw, text, tool


def fixed(name: str, *blocks: types.ContentBlock) -> ExtensionTool:
    """A tool that always answers the same."""

    async def run(_ctx: Context, _arguments: dict[str, Any]) -> list[types.ContentBlock]:
        return list(blocks)

    return tool(name, run)


def resource(uri: str, mime_type: str, value: str) -> types.EmbeddedResource:
    """An embedded text resource."""
    return types.EmbeddedResource(
        resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)
    )


async def _fail(_ctx: Context, _params: types.CallToolRequestParams) -> types.CallToolResult:
    said = text("This tool intentionally returns an error for testing")
    return types.CallToolResult(content=[said], is_error=True)


async def _done(_ctx: Context, _arguments: dict[str, Any]) -> list[types.ContentBlock]:
    return [text("done")]


IMAGE = types.ImageContent(data=PIXEL, mime_type="image/png")
JSON_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
CUSTOM_HEADER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "query": {"type": "string"},
    },
    "required": ["region", "query"],
}

TOOLS = (
    fixed("test_simple_text", text("This is a simple text response for testing.")),
    fixed("test_image_content", IMAGE),
    fixed("test_audio_content", types.AudioContent(data=SILENCE, mime_type="audio/wav")),
    fixed(
        "test_embedded_resource",
        resource("test://embedded-resource", "text/plain", "This is an embedded resource content."),
    ),
    fixed(
        "test_multiple_content_types",
        text("Multiple content types test:"),
        IMAGE,
        resource(
            "test://mixed-content-resource", "application/json", '{"test":"data","value":123}'
        ),
    ),
    raw("test_error_handling", _fail),
    tool("json_schema_2020_12_tool", _done, JSON_SCHEMA),
    tool("test_custom_header", _done, CUSTOM_HEADER),
)
