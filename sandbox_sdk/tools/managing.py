"""What tool.register, tool.list and tool.remove do, and what add_tools takes."""

from contextlib import aclosing
from pathlib import Path
from typing import Any

from container_runtime.connection import Connection
from tool_plugins.contract import Action
from tool_plugins.errors import ConfigurationError, ErrorCode, ToolError

from .models import Source
from .session import ToolSession
from .sources import MAX_SOURCE_BYTES, read_source, source_of

ORIGIN = "registered by tool_register"


def given_source(source: Path | str, namespace: str | None) -> Source:
    """What an SDK user gave: the path of a file of this machine, or a text with its namespace.

    Raises:
        ToolError: the file cannot be read, or is no file of tools.
        ConfigurationError: a path came with a namespace, or a text without one.
    """
    if isinstance(source, Path):
        if namespace is not None:
            raise ConfigurationError(
                f"{source} has a namespace already: its name", hint="leave namespace out"
            )
        return read_source(source)
    if not isinstance(source, str):
        raise ConfigurationError(f"source is a {type(source).__name__}", hint="use a Path or text")
    if namespace is None:
        raise ConfigurationError(
            "a source text needs a namespace", hint="name it, or give the Path of a file"
        )
    return source_of(namespace, source, "a text given to add_tools")


async def manage(session: ToolSession, connection: Connection, action: Action) -> dict[str, Any]:
    """The fields of the result.

    Raises:
        ToolError: it cannot be done; everything is as it was before.
    """
    args = action.args
    if action.tool == "tool.list":
        result = session.list(args["namespace"])
    elif action.tool == "tool.remove":
        result = await session.remove(connection, args["namespace"])
    else:
        source = await _source(connection, args)
        result = await session.register(connection, source, args["timeout_s"])
    # Without what it does not say: a list has no schemas.
    return result.model_dump(mode="json", exclude_none=True)


async def _source(connection: Connection, args: dict[str, Any]) -> Source:
    if args["source"] is not None:
        return source_of(args["namespace"], args["source"], ORIGIN)
    data = bytearray()
    async with aclosing(connection.download(args["path"])) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > MAX_SOURCE_BYTES:
                raise ToolError(
                    ErrorCode.TOO_LARGE,
                    f"{args['path']!r} is larger than {MAX_SOURCE_BYTES} bytes",
                    hint="a file of tools is small: put data beside it",
                )
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        raise ToolError(ErrorCode.ENCODING_ERROR, f"{args['path']!r} is not UTF-8") from exc
    return source_of(args["namespace"], text, f"{args['path']} of the workspace")
