"""One HTTP/1.1 connection to an action server, as an asyncio protocol.

The other end is not trusted: sizes are bounded here, and whatever is not the protocol ends the
connection with `ProtocolError`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable
from typing import Any, cast

import httptools

from tool_plugins.errors import ProtocolError

# Also of bytes that become part of neither a header nor a body, such as chunk framing.
MAX_HEADER_BYTES = 64 * 1024
BUFFER_BYTES = 256 * 1024

Body = bytes | AsyncIterable[bytes]


class ConnectionLost(ConnectionError):
    """The action server cannot be reached, or went away before its answer was complete."""


class Socket(asyncio.Protocol):
    """One request at a time, any number one after another."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.status = 0
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._closed = False
        self._writable = True
        self._busy = False
        self._reset()

    def _reset(self) -> None:
        self._has_head = False
        self._complete = False
        self._keep_alive = False
        self._sent = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._header_bytes = 0
        self._silent_bytes = 0
        self._paused = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not (self._closed or self._busy or self._failure)

    async def send(self, head: bytes, body: Body | None) -> None:
        """Writes a request and waits for the head of its answer."""
        if self._transport is None or not self.usable:
            raise ConnectionLost("the sandbox closed the connection")
        self._reset()
        self._busy = True
        if body is None or isinstance(body, bytes):
            self._transport.write(head + (body or b""))
            self._sent = True
        else:
            self._transport.write(head)
            await self._send_chunks(self._transport, body)
        while not self._has_head:
            await self._change()
        self._check()

    async def next_chunk(self) -> bytes | None:
        """A piece of the body, or None at its end."""
        while not self._chunks:
            self._check()
            if self._complete:
                return None
            await self._change()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        if self._paused and self._buffered < BUFFER_BYTES and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    def finish(self) -> bool:
        """Ends the exchange; False when the connection must not be used again."""
        self._busy = False
        whole = self._complete and self._sent and not self._chunks
        return whole and self.usable and self._keep_alive

    def abort(self) -> None:
        """Closes the connection at once."""
        self._closed = True
        if self._failure is None and not self._complete:
            self._failure = ConnectionLost("the connection to the sandbox was closed")
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    async def _send_chunks(self, transport: asyncio.Transport, body: AsyncIterable[bytes]) -> None:
        async for chunk in body:
            while not (self._writable or self._has_head):
                await self._change()
            self._check()
            if self._has_head:
                # An answer before the end of the request refuses the rest of it.
                return
            if chunk:
                transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
        self._check()
        transport.write(b"0\r\n\r\n")
        self._sent = True

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, message: str) -> None:
        if not isinstance(self._failure, ProtocolError):
            self._failure = ProtocolError(message)
        self.abort()

    async def _change(self) -> None:
        self._check()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        if self._failure is None and not self._complete:
            self._failure = ConnectionLost("the sandbox closed the connection")
            self._failure.__cause__ = exc
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        if not self._busy:
            self._fail("the sandbox sent bytes nobody asked for")
            return
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the sandbox asked for another protocol")
        except httptools.HttpParserError as exc:
            self._fail(f"the sandbox does not speak HTTP ({type(exc).__name__})")
        if max(self._silent_bytes, self._header_bytes) > MAX_HEADER_BYTES:
            self._fail(f"the sandbox sent more than {MAX_HEADER_BYTES} bytes of headers")
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            self._fail("the sandbox answered twice")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._silent_bytes = 0
        self._header_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        self._silent_bytes = 0
        self.status = self._parser.get_status_code()
        self._has_head = True
        if self.status < 200:
            self._fail(f"the sandbox answered with status {self.status}")

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered >= BUFFER_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()
