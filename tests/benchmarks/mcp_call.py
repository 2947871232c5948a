"""Budget of what MCP adds to an action."""

import os
import sys
from pathlib import Path

from mcp import Client, StdioServerParameters

from sandbox_sdk import SandboxGroup

from .budget import Row, milliseconds
from .measure import Sample, timed

ROUNDS = 400
ALLOWED_MS = 1.0
READ = {"path": "hello.txt"}


def _server(command: str, *arguments: str) -> StdioServerParameters:
    environment = {k: v for k, v in os.environ.items() if k.startswith(("DOCKER_", "SANDBOX_"))}
    return StdioServerParameters(command=command, args=list(arguments), env=environment)


async def rows(group: SandboxGroup) -> list[Row]:
    """Takes the same read over MCP and from the SDK, and an empty tool, in turns."""
    ours = _server(str(Path(sys.executable).with_name("sandbox-mcp")), "serve")
    bare = _server(sys.executable, str(Path(__file__).with_name("bare_server.py")))
    async with (
        Client(ours) as client,
        Client(bare) as empty,
        await group.create_sandbox() as sandbox,
    ):
        await client.call_tool("filesystem_write", READ | {"content": "hello\n"})
        await sandbox.filesystem.write("hello.txt", "hello\n")
        steps = {
            "mcp": lambda: client.call_tool("filesystem_read", READ),
            "sdk": lambda: sandbox.filesystem.read("hello.txt"),
            "empty": lambda: empty.call_tool("empty", {}),
        }
        times: dict[str, list[float]] = {name: [] for name in steps}
        for step in steps.values():
            await step()
        for _ in range(ROUNDS):
            for name, step in steps.items():
                times[name].append(await timed(step))
    return [_row(*(Sample(times[name]) for name in ("mcp", "sdk", "empty")))]


def _row(mcp: Sample, sdk: Sample, empty: Sample) -> Row:
    on_top, allowed = mcp.p50 - sdk.p50, empty.p50 + ALLOWED_MS
    return Row(
        what="MCP on top of the same SDK read",
        p50=milliseconds(on_top),
        p99=milliseconds(mcp.p99 - sdk.p99),
        against=f"empty tool: {milliseconds(empty.p50)}",
        ratio=f"{on_top - empty.p50:+.2f} ms",
        budget=f"<= +{ALLOWED_MS:.0f} ms",
        reasons=(f"{on_top - allowed:.2f} ms too slow",) if on_top > allowed else (),
    )
