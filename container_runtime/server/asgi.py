"""Small pieces every endpoint shares: bodies, answers, and noticing that the client went away."""

import asyncio
import json
from typing import Any, Self

from starlette.types import Message, Receive, Send

from tool_plugins.errors import ErrorCode, ToolError

# Most actions are over sooner, and a task per action that only waits is not free.
WATCH_AFTER_S = 0.02


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


def encode(value: Any) -> bytes:
    """JSON as it goes on the wire. Text that is no text (lone surrogates) becomes "?".

    Raises:
        ValueError: the value holds NaN or an infinity, or refers to itself.
        TypeError: the value holds something JSON does not know.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


async def read_body(receive: Receive, limit: int) -> bytes:
    """The whole request body.

    Raises:
        ToolError: it is larger than `limit` (TOO_LARGE).
        ClientGone: the client left first.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        body, more = body_piece(message)
        size += len(body)
        if size > limit:
            raise ToolError(ErrorCode.TOO_LARGE, f"the request is larger than {limit} bytes")
        parts.append(body)
        if not more:
            return parts[0] if len(parts) == 1 else b"".join(parts)


def body_piece(message: Message) -> tuple[bytes, bool]:
    """One piece of a request body, and whether more follow."""
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def start(send: Send, status: int, kind: bytes, length: int | None = None) -> None:
    """Begins an answer; without a length it is chunked."""
    headers = [(b"content-type", kind)]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    if status == 413:
        # The rest of a body that is too large is not worth reading.
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def answer(send: Send, status: int, body: bytes) -> None:
    """A whole JSON answer."""
    await start(send, status, b"application/json", len(body))
    await send({"type": "http.response.body", "body": body})


async def refuse(send: Send, error: ToolError, status: int | None = None) -> None:
    """An error answer: `{"error": {code, message, hint, details}}`."""
    if status is None:
        status = 413 if error.code is ErrorCode.TOO_LARGE else 400
    await answer(send, status, encode({"error": error.as_dict()}))


class CancelWhenGone:
    """Cancels the current task when the client goes away; leaving the block then says so.

    Raises:
        ClientGone: on leaving, when the client is gone.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._owner = asyncio.current_task()
        self._timer = loop.call_later(WATCH_AFTER_S, self._start_watching)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone:
            if self._owner is not None:
                self._owner.uncancel()
            raise ClientGone

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._owner is not None:
            self._owner.cancel()
