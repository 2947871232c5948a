"""The web tools by verb. Imported inside the container only; the work is done in `program.py`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from tool_plugins.context import Host, ToolContext
from tool_plugins.worker.pool import WorkerPool

from .saving import Landing

PROGRAM = "tool_plugins.web.program"
# A server that is slow holds up its own caller and not the next ones.
SIZE = 4
PAGE_MEMORY_MB = 320
DOWNLOAD_MEMORY_MB = 128
# A worker that keeps to its deadline has this much longer to say so before it is killed.
GRACE_S = 2.0
MAX_MESSAGE_CHARS = 300

T = TypeVar("T")


class WebWorkers(WorkerPool):
    """The processes in which pages are fetched and converted."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, PROGRAM, size=SIZE, memory_mb=PAGE_MEMORY_MB)


class DownloadWorkers(WorkerPool):
    """The processes of downloads, which may take an hour: pages do not wait for them."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, PROGRAM, size=SIZE, memory_mb=DOWNLOAD_MEMORY_MB)


async def fetch(context: ToolContext, **arguments: Any) -> dict[str, Any]:
    """Fetches a page."""
    return await _call(context, context.host.service(WebWorkers), "fetch", arguments)


async def request(context: ToolContext, **arguments: Any) -> dict[str, Any]:
    """Sends a request."""
    return await _call(context, context.host.service(WebWorkers), "request", arguments)


async def download(
    context: ToolContext, *, path: str, mode: Any = "create", **arguments: Any
) -> dict[str, Any]:
    """Downloads a file: all of it or nothing."""
    landing = Landing(context.host, path, mode)
    try:
        fd = await _to_end(landing.open)
        workers = context.host.service(DownloadWorkers)
        data = await _call(context, workers, "download", {"path": path, **arguments}, [fd])
        return {**data, "path": await _to_end(landing.commit)}
    finally:
        landing.close()


async def _call(
    context: ToolContext,
    workers: WorkerPool,
    verb: str,
    arguments: dict[str, Any],
    descriptors: Sequence[int] = (),
) -> dict[str, Any]:
    def follow(event: dict[str, Any]) -> None:
        context.emit(_progress(event))

    return await workers.call(
        verb,
        arguments,
        timeout_s=arguments["timeout_s"],
        grace_s=GRACE_S,
        on_event=follow if context.live else None,
        descriptors=descriptors,
    )


def _progress(event: dict[str, Any]) -> dict[str, Any]:
    """A live event made of what a worker says; it is not trusted to be one."""
    done, total, message = event.get("progress"), event.get("total"), event.get("message")
    return {
        "event": "progress",
        "progress": float(done) if isinstance(done, int | float) else 0.0,
        "total": float(total) if isinstance(total, int | float) else None,
        "message": message[:MAX_MESSAGE_CHARS] if isinstance(message, str) else "",
    }


async def _to_end(function: Callable[[], T]) -> T:
    """Runs in a thread. A cancellation waits for it: nobody closes what is still in use."""
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


EXECUTORS = {"fetch": fetch, "download": download, "request": request}
