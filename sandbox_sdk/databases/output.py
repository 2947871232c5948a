"""Every row of a query into a file of the workspace, without holding them in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from tool_plugins.errors import ErrorCode, ToolCallError, ToolError

from .worker.pipe import Pieces

if TYPE_CHECKING:
    from container_runtime.connection import UploadResult

Fields = dict[str, Any]
Upload = Callable[[str, AsyncIterator[bytes]], "Awaitable[UploadResult]"]


async def write_file(
    query: Coroutine[Any, Any, Fields], pieces: Pieces, path: str, upload: Upload
) -> Fields:
    """The fields of a `QueryResult` whose rows, all of them, are in the file `path`.

    `query` answers when the last of `pieces` has come. The file is begun when the first is there,
    and made only if all come.

    Raises:
        ToolError: the query failed, or the file cannot be written.
    """
    rows = asyncio.ensure_future(query)
    rows.add_done_callback(lambda done: pieces.end())
    try:
        await pieces.begun()
        if not pieces.waiting:
            await rows
        async with aclosing(_stream(pieces, rows)) as stream:
            try:
                written = await upload(path, stream)
            except Exception as exc:
                raise _cause(rows, exc) from exc
        fields = await rows
    finally:
        rows.cancel()
        await asyncio.wait({rows})
    if written.sha256 != fields["sha256"]:
        raise ToolError(ErrorCode.INTERNAL, f"{path} does not hold what was sent to it")
    return fields | {"output_file": written.path}


async def _stream(pieces: Pieces, rows: "asyncio.Future[Fields]") -> AsyncGenerator[bytes]:
    async for piece in pieces:
        yield piece
    # Whoever writes the file must know that it is not whole.
    await asyncio.shield(rows)


def _cause(rows: "asyncio.Future[Fields]", error: Exception) -> Exception:
    """Why a file was not written: the query failed, or else the writing."""
    if rows.done() and isinstance(failure := rows.exception(), Exception):
        return failure
    if isinstance(error, ToolCallError):
        code = ErrorCode(error.code)
        return ToolError(code, error.message, hint=error.hint, details=error.details)
    return error
