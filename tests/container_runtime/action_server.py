"""A real action server with tools whose every step a test can see; run as a module.

The settings come from the environment, as in a container. Also gives the tools to tests that want
the same ones in this process.
"""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Any

from container_runtime.server.__main__ import listen
from container_runtime.server.app import TokenGuard, create_app
from container_runtime.server.config import read_settings
from container_runtime.server.serve import serve
from tool_plugins.context import ToolContext
from tool_plugins.errors import ErrorCode, ToolError

FLOOD = 4000
FLOOD_PIECE = "x" * 65_536


async def echo(context: ToolContext, *, text: str = "") -> dict[str, Any]:
    """Answers what it was given."""
    return {"text": text}


def read(context: ToolContext, *, path: str) -> dict[str, Any]:
    """Blocks on a file, so it runs in a worker thread."""
    return {"content": (context.host.workspace / path).read_text()}


async def say(context: ToolContext, *, lines: list[str]) -> dict[str, Any]:
    """Sends live output."""
    for line in lines:
        context.emit({"event": "stdout", "text": line})
        await asyncio.sleep(0)
    context.emit({"event": "progress", "progress": 1.0, "total": 2.0, "message": "half"})
    return {"said": len(lines)}


async def flood(context: ToolContext) -> dict[str, Any]:
    """Sends far more live output than anybody should keep."""
    for _ in range(FLOOD):
        context.emit({"event": "stdout", "text": FLOOD_PIECE})
        await asyncio.sleep(0)
    (context.host.workspace / "flooded").touch()
    return {"bytes": FLOOD * len(FLOOD_PIECE)}


async def wait(context: ToolContext, *, name: str) -> dict[str, Any]:
    """Waits for ever; leaves `NAME.started`, and `NAME.ended` when it is cancelled."""
    folder = context.host.workspace
    (folder / f"{name}.started").touch()
    try:
        await asyncio.Event().wait()
    finally:
        (folder / f"{name}.ended").touch()
    return {}


async def fail(context: ToolContext, *, how: str) -> dict[str, Any]:
    """Fails in one of many ways."""
    match how:
        case "tool_error":
            raise ToolError(ErrorCode.NO_MATCH, "no match", hint="look again", details={"at": 3})
        case "disk":
            raise OSError(errno.ENOSPC, "no space left on device")
        case "exit":
            sys.exit(3)
        case "cancelled":
            raise asyncio.CancelledError
        case "nan":
            return {"value": float("nan")}
        case "object":
            return {"value": object()}
        case "huge":
            return {"value": "x" * (17 * 1024 * 1024)}
        case "surrogate":
            return {"value": "a\udc80b"}
    raise RuntimeError("the secret of the inside")


def leave(context: ToolContext) -> dict[str, Any]:
    """A blocking tool that tries to end the server."""
    raise SystemExit(4)


async def environ(context: ToolContext) -> dict[str, Any]:
    """What a child of the server would inherit."""
    return {"server": dict(os.environ), "agent": context.host.environment}


EXECUTORS = {
    "test.echo": echo,
    "test.read": read,
    "test.say": say,
    "test.flood": flood,
    "test.wait": wait,
    "test.fail": fail,
    "test.leave": leave,
    "test.environ": environ,
}


def main() -> None:
    """Serves as `container_runtime.server.__main__` does, with the tools above."""
    settings = read_settings(os.environ)
    listener = listen(settings)
    if settings.listen is not None:
        Path(os.environ["TEST_PORT_FILE"]).write_text(str(listener.getsockname()[1]))
    app = create_app(settings.host(), EXECUTORS)
    serve(TokenGuard(app, settings.token) if settings.token else app, listener)


if __name__ == "__main__":
    main()
