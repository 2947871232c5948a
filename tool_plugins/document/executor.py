"""The document tool by verb. Imported inside the container only; `program.py` does the work."""

import asyncio
import os
from typing import Any

from tool_plugins.context import Host, ToolContext
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.errors import path_errors, shorten
from tool_plugins.filesystem.paths import Workspace
from tool_plugins.filesystem.writing import require_regular
from tool_plugins.worker.pool import WorkerPool

MAX_FILE_BYTES = 100 * 1024 * 1024

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class DocumentWorkers(WorkerPool):
    """The process in which documents are converted.

    One: two large documents at a time would not fit into a small sandbox, and the next piece of a
    document meets the process that remembers it.
    """

    def __init__(self, host: Host) -> None:
        super().__init__(host, "tool_plugins.document.program", size=1)


async def read(
    context: ToolContext,
    *,
    path: str,
    pages: str | None = None,
    max_chars: int = 20_000,
    offset: int = 0,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Reads a document, or a piece of one; see `ReadResult`."""
    fd, relative = await _opened(context.host, path)
    try:
        data = await context.host.service(DocumentWorkers).call(
            "read",
            {"name": relative, "pages": pages, "offset": offset, "max_chars": max_chars},
            timeout_s=timeout_s,
            descriptors=[fd],
        )
    finally:
        os.close(fd)
    return {**data, "path": relative}


async def _opened(host: Host, path: str) -> tuple[int, str]:
    """The descriptor of the file, which the caller closes, and its path in the workspace."""
    task = asyncio.ensure_future(asyncio.to_thread(_open, host.service(Workspace), path))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # The thread goes on, and nobody else would close what it opens.
        await asyncio.wait([task])
        if task.exception() is None:
            os.close(task.result()[0])
        raise


def _open(workspace: Workspace, path: str) -> tuple[int, str]:
    location = workspace.locate(path)
    with path_errors(path):
        fd = workspace.open(location, _FLAGS)
    try:
        status = os.fstat(fd)
        require_regular(status, path)
        if status.st_size > MAX_FILE_BYTES:
            raise ToolError(
                ErrorCode.TOO_LARGE,
                f"{shorten(path)!r} has {status.st_size} bytes; at most {MAX_FILE_BYTES} can be "
                "read as a document",
                hint="make a smaller copy with a program and read that",
                details={"size": status.st_size, "limit": MAX_FILE_BYTES},
            )
    except BaseException:
        os.close(fd)
        raise
    return fd, location.relative


EXECUTORS = {"read": read}
