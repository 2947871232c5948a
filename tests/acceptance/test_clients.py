"""Clients that nobody here wrote work with our server."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.clients import adapter, http_server, inspector
from tests.mcp_server.processes import COMMAND, ROOT, arguments

# The first run installs the clients; that may take minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

PROGRAM = """
import asyncio, json, sys
from fastmcp.client.transports import StdioTransport
from pydantic_ai.mcp import MCPToolset

async def main():
    target, *command = sys.argv[1:]
    server = StdioTransport(command[0], command[1:]) if target == "stdio" else target
    async with MCPToolset(server) as toolset:
        names = [tool.name for tool in await toolset.list_tools()]
        wrote = await toolset.direct_call_tool(
            "filesystem_write", {"path": "a.txt", "content": "from an agent"}
        )
        ran = await toolset.direct_call_tool("terminal_run", {"command": "cat a.txt"})
    print(json.dumps({"names": names, "wrote": wrote, "ran": ran}))

asyncio.run(main())
"""


def inspect(*words: str, code: int = 0) -> dict[str, Any]:
    """Runs the Inspector once and returns the result it prints."""
    done = subprocess.run(
        [*inspector(), *words, "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def call(command: str) -> list[str]:
    """The Inspector's words for running a command."""
    words = ["--method", "tools/call", "--tool-name", "terminal_run"]
    return [*words, "--tool-arg", f"command={command}"]


@pytest.mark.parametrize("transport", ["stdio", "http", "sse", "modern"])
def test_the_inspector_calls_a_tool(tmp_path: Path, transport: str) -> None:
    if transport == "stdio":
        answer = inspect(*COMMAND, *arguments(tmp_path), *call("echo seen"))
    elif transport == "modern":
        with http_server(tmp_path) as url:
            answer = inspect(url, *call("echo seen"), "--protocol-era", "modern")
    else:
        with http_server(tmp_path, transport) as url:
            answer = inspect(url, "--transport", transport, *call("echo seen"))
    assert answer["result"]["structuredContent"]["stdout"] == "seen\n"


def test_the_inspector_lists_the_tools_and_finds_their_schemas_portable(tmp_path: Path) -> None:
    done = subprocess.run(
        [*inspector(), *COMMAND, *arguments(tmp_path), "--method", "tools/list", "--strict"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "terminal_run" in done.stdout
    assert "Warning: tool" not in done.stderr


@pytest.mark.parametrize("transport", ["stdio", "http", "sse"])
def test_an_agent_framework_lists_and_calls(tmp_path: Path, transport: str) -> None:
    python = str(adapter())
    if transport == "stdio":
        answer = asked(python, "stdio", *wrapped(tmp_path))
    else:
        with http_server(tmp_path, transport) as url:
            answer = asked(python, url)
    assert {"sandbox_create", "filesystem_read", "terminal_run"} <= set(answer["names"])
    assert answer["ran"]["stdout"] == "from an agent"
    assert answer["ran"]["exit_code"] == 0


def asked(python: str, *words: str) -> dict[str, Any]:
    """What the framework's own Python got from our server."""
    done = subprocess.run(
        [python, "-c", PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def wrapped(state: Path) -> list[str]:
    """Our server for a client that starts it in a folder of its own choice."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from mcp_server.cli import main; "
    return [sys.executable, "-c", program + "sys.exit(main())", *arguments(state)]
