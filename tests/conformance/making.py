"""Short forms for fixtures."""

from collections.abc import Awaitable, Callable
from typing import Any

import mcp.types as types

from mcp_server.extension import CallTool, Context, ExtensionTool

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8Dw"
    "HwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="

Simple = Callable[[Context, dict[str, Any]], Awaitable[list[types.ContentBlock]]]


def schema(**properties: str) -> dict[str, Any]:
    """A schema of required arguments, by their types."""
    made: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "additionalProperties": False,
    }
    if properties:
        made["required"] = list(properties)
    return made


def raw(name: str, call: CallTool, input_schema: dict[str, Any] | None = None) -> ExtensionTool:
    """A tool with its own handler."""
    definition = types.Tool(
        name=name, description=f"Fixture {name}.", input_schema=input_schema or schema()
    )
    return ExtensionTool(definition, call)


def tool(name: str, run: Simple, input_schema: dict[str, Any] | None = None) -> ExtensionTool:
    """A tool that answers with content."""

    async def call(ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        return types.CallToolResult(content=await run(ctx, params.arguments or {}))

    return raw(name, call, input_schema)


def text(value: str) -> types.TextContent:
    """Text."""
    return types.TextContent(text=value)
