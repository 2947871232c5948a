"""The tools by verb. Loaded in the action server of each sandbox, which parses nothing itself: that
is left to a process of the agent's user, with bounded memory and a deadline."""

from typing import Any

from tool_plugins.context import Host, ToolContext
from tool_plugins.filesystem.opening import open_file
from tool_plugins.worker.pool import WorkerPool

MAX_FILE_BYTES = 50 * 1024 * 1024
TIMEOUT_S = 30.0


class TableWorkers(WorkerPool):
    """The processes that read tables. They start when needed, and stay for a minute."""

    def __init__(self, host: Host) -> None:
        super().__init__(host, "acme_tools.program")


async def describe(context: ToolContext, *, path: str) -> dict[str, Any]:
    """Says what is in a file; see `DescribeResult`."""
    return await _ask(context, "describe", path, {})


async def query(
    context: ToolContext, *, path: str, query: str, max_rows: int = 100
) -> dict[str, Any]:
    """Answers a query; see `QueryResult`."""
    return await _ask(context, "query", path, {"query": query, "max_rows": max_rows})


async def _ask(context: ToolContext, verb: str, path: str, args: dict[str, Any]) -> dict[str, Any]:
    async with open_file(context.host, path, max_bytes=MAX_FILE_BYTES) as (fd, _):
        workers = context.host.service(TableWorkers)
        return await workers.call(verb, args, timeout_s=TIMEOUT_S, descriptors=[fd])


EXECUTORS = {"describe": describe, "query": query}
