"""Files and folders as raw streams; only the host's own programs use these routes.

Each piece waits for the disk before the next one is taken, so memory stays flat at both ends.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from container_runtime.archive import Unpacker, pack
from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.filesystem.paths import Workspace
from tool_plugins.filesystem.streams import FileUpload, open_folder, open_for_download

from .asgi import CancelWhenGone, ClientGone, answer, body_piece, encode, refuse, start
from .dispatch import failure
from .protocol import CHUNK_BYTES
from .workers import Workers

BYTES = b"application/octet-stream"
TAR = b"application/x-tar"

Handler = Callable[[dict[str, str], Receive, Send], Awaitable[None]]


class Transfers:
    """One route: a handler per method, and what it raises as an error answer."""

    def __init__(self, **handlers: Handler) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Any) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            query = dict(parse_qsl(scope["query_string"].decode("ascii")))
            await self._handlers[scope["method"]](query, receive, watched)
        except ClientGone:
            return
        except Exception as exc:
            error = failure(exc)
            if started:
                raise  # too late for an error answer: the connection is broken off
            await refuse(send, error, 500 if error.code is ErrorCode.INTERNAL else 400)


class Files:
    """GET and PUT of one file."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._workers = host.service(Workers)

    async def get(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        """Streams a file. It is read to the size it has now, or to its end if it shrinks."""
        run = self._workers.run_to_end
        fd, left = await run(open_for_download, self._host, query_path(query))
        try:
            await start(send, 200, BYTES)
            async with CancelWhenGone(receive):
                while left and (data := await run(os.read, fd, min(left, CHUNK_BYTES))):
                    left -= len(data)
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            os.close(fd)

    async def put(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        """Writes a file: all of it or nothing."""
        run = self._workers.run_to_end
        upload = FileUpload(
            self._host,
            query_path(query),
            mode=_mode(query),
            executable=True if query.get("executable") == "1" else None,
        )
        try:
            await run(upload.begin)
            await _drain(receive, lambda piece: run(upload.write, piece))
            result = await run(upload.commit)
        finally:
            await run(upload.abort)
        await answer(send, 200, encode(result))


class Folders:
    """GET and PUT of a folder as a tar stream."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._workers = host.service(Workers)

    async def get(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        """Streams a folder."""
        run = self._workers.run_to_end
        fd = await run(open_folder, self._host, query_path(query))
        try:
            await start(send, 200, TAR)
            pieces = pack(fd)
            async with CancelWhenGone(receive):
                while (piece := await run(next, pieces, None)) is not None:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            os.close(fd)

    async def put(self, query: dict[str, str], receive: Receive, send: Send) -> None:
        """Extracts a tar stream into a folder, which is made if it is missing."""
        run = self._workers.run_to_end
        path = query_path(query)
        fd = await run(open_folder, self._host, path, create=True)
        unpacker = Unpacker(fd)
        try:
            await _drain(receive, lambda piece: run(unpacker.feed, piece))
            summary = unpacker.finish()
        finally:
            unpacker.close()
            os.close(fd)
        relative = self._host.service(Workspace).locate(path).relative
        counts = {"files": summary.files, "bytes": summary.bytes, "skipped": summary.skipped}
        await answer(send, 200, encode({"path": relative, **counts}))


async def _drain(receive: Receive, take: Callable[[bytes], Awaitable[None]]) -> None:
    more = True
    while more:
        piece, more = body_piece(await receive())
        if piece:
            await take(piece)


def query_path(query: dict[str, str]) -> str:
    """The path a request names; without one it is refused (INVALID_ARGUMENT)."""
    path = query.get("path")
    if not path:
        raise ToolError(ErrorCode.INVALID_ARGUMENT, "the query names no path")
    return path


def _mode(query: dict[str, str]) -> Literal["overwrite", "create"]:
    match query.get("mode", "overwrite"):
        case "overwrite":
            return "overwrite"
        case "create":
            return "create"
        case other:
            raise ToolError(ErrorCode.INVALID_ARGUMENT, f"unknown mode {other!r}")
