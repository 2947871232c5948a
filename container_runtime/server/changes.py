"""GET /changes: what happens below a folder, as lines, until the client goes away."""

import asyncio
import os

from starlette.types import Receive, Send

from tool_plugins.context import Host
from tool_plugins.filesystem.paths import Workspace
from tool_plugins.filesystem.streams import open_folder

from .asgi import CancelWhenGone, encode, start
from .files import query_path
from .inotify import Tree
from .protocol import KEEP_ALIVE_S
from .workers import Workers


class Changes:
    """Nothing is queued here: a slow reader leaves the events with the kernel, which bounds them.

    Watching begins before the first line, which says `ready`.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._workers = host.service(Workers)

    async def get(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        """Streams changes below the folder `path`; with `recursive=0` only directly below it."""
        run = self._workers.run_to_end
        path = query_path(query)
        folder = await run(open_folder, self._host, path)
        try:
            tree = await run(lambda: Tree(folder, recursive=query.get("recursive") != "0"))
            try:
                await run(tree.start)
                async with CancelWhenGone(receive):
                    await self._report(tree, self._prefix(path), send)
            finally:
                tree.close()
        finally:
            os.close(folder)

    async def _report(self, tree: Tree, prefix: str, send: Send) -> None:
        await start(send, 200, b"application/x-ndjson")
        lines = encode({"event": "ready"}) + b"\n"
        async with Readable(tree.fd) as readable:
            while True:
                await send({"type": "http.response.body", "body": lines, "more_body": True})
                if not await readable.wait(KEEP_ALIVE_S):
                    lines = b"\n"
                    continue
                changes = await self._workers.run_to_end(tree.read)
                lines = b"".join(
                    encode({"event": event, "path": f"{prefix}{path}" or "."}) + b"\n"
                    for event, path in changes
                )

    def _prefix(self, path: str) -> str:
        relative = self._host.service(Workspace).locate(path).relative
        return "" if relative in ("", ".") else f"{relative}/"


class Readable:
    """Waits until a descriptor has something to read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._event = asyncio.Event()

    async def __aenter__(self) -> "Readable":
        asyncio.get_running_loop().add_reader(self._fd, self._event.set)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)

    async def wait(self, timeout_s: float) -> bool:
        """Whether there is something to read within the time."""
        self._event.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True
