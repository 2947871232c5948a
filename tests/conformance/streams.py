"""Tools that speak while they run, and tools that change what the server offers."""

import warnings
from typing import Any

import mcp.types as types
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPDeprecationWarning

from mcp_server.extension import Context
from mcp_server.server import SandboxServer
from tests.conformance.making import text, tool

Blocks = list[types.ContentBlock]
_servers: list[SandboxServer] = []


def remember(server: SandboxServer) -> None:
    """Keeps the server whose lists the tools below change."""
    _servers.append(server)


async def log(ctx: Context, message: str) -> None:
    """Logs to the client, where the protocol still does that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await ctx.session.send_log_message("info", message, related_request_id=ctx.request_id)


async def _logging(ctx: Context, _arguments: dict[str, Any]) -> Blocks:
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await log(ctx, message)
    return [text("Tool with logging executed successfully")]


async def _progress(ctx: Context, _arguments: dict[str, Any]) -> Blocks:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
    return [text("done")]


async def _tools_changed(_ctx: Context, _arguments: dict[str, Any]) -> Blocks:
    for server in _servers:
        await server.announce(ToolsListChanged())
    return [text("announced")]


async def _prompts_changed(_ctx: Context, _arguments: dict[str, Any]) -> Blocks:
    for server in _servers:
        await server.announce(PromptsListChanged())
    return [text("announced")]


TOOLS = (
    tool("test_tool_with_logging", _logging),
    tool("test_logging_tool", _logging),
    tool("test_tool_with_progress", _progress),
    tool("test_streaming_elicitation", _progress),
    tool("test_trigger_tool_change", _tools_changed),
    tool("test_trigger_prompt_change", _prompts_changed),
)
