"""A handful of tools of known behaviour, run by the real action server in this process."""

import asyncio
from typing import Any, Literal

from pydantic import Field

from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.registry import ToolRegistry

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8Dw"
    "HwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
)
ended: list[asyncio.Queue[str]] = []
"""Tells a test how a waiting call ended. Each test has a queue of its own, bound to its loop."""


class Part(Result):
    """A nested model, so that schemas have something to inline."""

    word: str
    length: int


class EchoArguments(Arguments):
    """Arguments with every shape that schemas must survive."""

    text: str = Field(description="What to say.")
    times: int = Field(default=1, ge=1, le=1_000_000)
    style: Literal["plain", "loud"] = "plain"
    suffix: str | None = None
    words: list[str] = Field(default_factory=list)


class EchoResult(Result):
    """What was said."""

    said: str
    parts: list[Part]
    note: str | None = None
    truncated: bool = False


class WaitArguments(Arguments):
    """How to wait."""

    lines: int = 0
    forever: bool = False


class WaitResult(Result):
    """How many lines were written."""

    lines: int


class FailArguments(Arguments):
    """How to fail."""

    crash: bool = False


async def echo(_context: Any, *, text: str, times: int, style: str, **_rest: Any) -> dict[str, Any]:
    """Says it back."""
    said = (text.upper() if style == "loud" else text) * times
    parts = [{"word": text, "length": len(text)}]
    return {"said": said, "parts": parts, "note": None, "truncated": False}


async def wait(context: Any, *, lines: int, forever: bool) -> dict[str, Any]:
    """Writes lines, then may wait until it is cancelled."""
    for number in range(lines):
        context.emit({"event": "stdout", "text": f"line {number}\n"})
    if forever:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended[-1].put_nowait("cancelled")
            raise
    return {"lines": lines}


async def fail(_context: Any, *, crash: bool) -> dict[str, Any]:
    """Fails as a tool does, or as a program does."""
    if crash:
        raise RuntimeError("secret inside")
    raise ToolError(ErrorCode.NOT_FOUND, "no such thing", hint="look again", details={"near": "x"})


async def picture(context: Any) -> dict[str, Any]:
    """Shows a picture and a document."""
    context.attach("image/png", PIXEL)
    context.attach("application/pdf", "JVBERi0=")
    return {"lines": 0}


def _definition(verb: str, arguments: type[Arguments], result: type[Result]) -> ToolDefinition:
    return ToolDefinition(
        name=f"demo.{verb}",
        description=f"Does {verb}.",
        arguments=arguments,
        result=result,
        annotations=Annotations(title=verb.title(), read_only=verb == "echo"),
        executor=f"tests.mcp_server.tools:{verb}",
    )


REGISTRY = ToolRegistry(
    (
        _definition("echo", EchoArguments, EchoResult),
        _definition("wait", WaitArguments, WaitResult),
        _definition("fail", FailArguments, WaitResult),
        _definition("picture", Arguments, WaitResult),
    )
)
EXECUTORS = {"demo.echo": echo, "demo.wait": wait, "demo.fail": fail, "demo.picture": picture}
