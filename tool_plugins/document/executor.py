"""The document tool by verb. Imported inside the container only; `program.py` does the work."""

from typing import Any

from tool_plugins.context import Host, ToolContext
from tool_plugins.filesystem.opening import open_file
from tool_plugins.worker.pool import WorkerPool

MAX_FILE_BYTES = 100 * 1024 * 1024


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
    async with open_file(context.host, path, max_bytes=MAX_FILE_BYTES) as (fd, relative):
        data = await context.host.service(DocumentWorkers).call(
            "read",
            {"name": relative, "pages": pages, "offset": offset, "max_chars": max_chars},
            timeout_s=timeout_s,
            descriptors=[fd],
        )
    return {**data, "path": relative}


EXECUTORS = {"read": read}
