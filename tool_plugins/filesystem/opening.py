"""A file of the workspace for an executor that does something else with it than to show it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

from .errors import path_errors, shorten
from .paths import Workspace
from .writing import require_regular

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@asynccontextmanager
async def open_file(host: Host, path: str, *, max_bytes: int) -> AsyncIterator[tuple[int, str]]:
    """A descriptor to read the file from, closed after the block, and its path in the workspace.

    Executors open what a caller names with this alone: the action server may read things below
    /proc that the agent may not.

    Raises:
        ToolError: the path leads out of the workspace, or to no regular file of that size.
    """
    task = asyncio.ensure_future(asyncio.to_thread(_open, host.service(Workspace), path, max_bytes))
    try:
        fd, relative = await asyncio.shield(task)
    except asyncio.CancelledError:
        # The thread goes on, and nobody else would close what it opens.
        await asyncio.wait([task])
        if task.exception() is None:
            os.close(task.result()[0])
        raise
    try:
        yield fd, relative
    finally:
        os.close(fd)


def _open(workspace: Workspace, path: str, max_bytes: int) -> tuple[int, str]:
    location = workspace.locate(path)
    with path_errors(path):
        fd = workspace.open(location, _FLAGS)
    try:
        status = os.fstat(fd)
        require_regular(status, path)
        if status.st_size > max_bytes:
            raise ToolError(
                ErrorCode.TOO_LARGE,
                f"{shorten(path)!r} has {status.st_size} bytes; at most {max_bytes} can be read "
                "here",
                hint="make a smaller copy with a program and read that",
                details={"size": status.st_size, "limit": max_bytes},
            )
    except BaseException:
        os.close(fd)
        raise
    return fd, location.relative
