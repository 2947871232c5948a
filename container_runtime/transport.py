"""HTTP/1.1 to an action server: a small interface, and a pool of sockets behind it.

A general client costs more than the action itself (see `tests/benchmarks`). Nothing is ever sent
twice: an action may have run although its answer was lost.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

from tool_plugins.errors import ProtocolError

from .spec import TcpEndpoint, UnixEndpoint
from .wire import Body, ConnectionLost, Socket

MAX_SOCKETS = 64
MAX_IDLE_SOCKETS = 16
# The server keeps an idle connection for an hour; ours must be the shorter patience.
MAX_IDLE_S = 600.0
# The kernel's limit on the path of a unix socket (`sun_path`, less its final zero).
MAX_UNIX_PATH = 107


class Response(ABC):
    """An answer whose body is still to be read. Close it whether or not it was read."""

    status: int

    @abstractmethod
    async def next_chunk(self) -> bytes | None:
        """A piece of the body, or None at its end. Nothing is read far ahead of the caller."""

    @abstractmethod
    async def aclose(self) -> None:
        """Gives the connection back; an answer that is not complete is abandoned instead."""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces."""
        while (chunk := await self.next_chunk()) is not None:
            yield chunk

    async def read(self, limit: int) -> bytes:
        """The whole body.

        Raises:
            ProtocolError: it is larger than `limit`.
        """
        parts: list[bytes] = []
        size = 0
        while (chunk := await self.next_chunk()) is not None:
            size += len(chunk)
            if size > limit:
                raise ProtocolError(f"the sandbox answered more than {limit} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Transport(ABC):
    """Sends requests to one action server."""

    @abstractmethod
    async def request(self, method: str, target: str, body: Body | None = None) -> Response:
        """Sends a request and returns when the head of the answer is there.

        Cancelling it, like closing the response early, makes the server stop what it does.

        Raises:
            ConnectionLost: the server is not there, or left.
            ProtocolError: it did not answer in the protocol.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Closes every connection, also those in use. Idempotent."""


class SocketResponse(Response):
    """An answer on a pooled socket."""

    def __init__(self, pool: "SocketTransport", socket: Socket) -> None:
        self.status = socket.status
        self._pool = pool
        self._socket: Socket | None = socket

    async def next_chunk(self) -> bytes | None:
        if self._socket is None:
            raise ConnectionLost("the answer was closed")
        return await self._socket.next_chunk()

    async def aclose(self) -> None:
        if self._socket is not None:
            socket, self._socket = self._socket, None
            self._pool.give_back(socket)


class SocketTransport(Transport):
    """Keep-alive connections over a unix socket or TCP; each serves one request at a time."""

    def __init__(self, endpoint: UnixEndpoint | TcpEndpoint) -> None:
        self._endpoint = endpoint
        self._idle: list[Socket] = []
        self._busy: set[Socket] = set()
        self._slots = asyncio.Semaphore(MAX_SOCKETS)
        self._closed = False
        self._headers = "\r\nHost: sandbox\r\n"
        if isinstance(endpoint, TcpEndpoint):
            self._headers += f"Authorization: Bearer {endpoint.token}\r\n"

    async def request(self, method: str, target: str, body: Body | None = None) -> Response:
        await self._slots.acquire()
        try:
            socket = await self._take()
        except BaseException:
            self._slots.release()
            raise
        try:
            await socket.send(self._head(method, target, body), body)
        except BaseException:
            socket.abort()
            self.give_back(socket)
            raise
        return SocketResponse(self, socket)

    async def aclose(self) -> None:
        self._closed = True
        for socket in [*self._idle, *self._busy]:
            socket.abort()
        self._idle.clear()
        # Lets the event loop close the file descriptors before it may itself be closed.
        await asyncio.sleep(0)

    def give_back(self, socket: Socket) -> None:
        """Takes a socket whose exchange is over; keeps it for the next one if it can."""
        self._busy.discard(socket)
        self._slots.release()
        if socket.finish() and not self._closed and len(self._idle) < MAX_IDLE_SOCKETS:
            socket.idle_since = time.monotonic()
            self._idle.append(socket)
        else:
            socket.abort()

    def _head(self, method: str, target: str, body: Body | None) -> bytes:
        if body is None:
            framing = ""
        elif isinstance(body, bytes):
            framing = f"Content-Length: {len(body)}\r\n"
        else:
            framing = "Transfer-Encoding: chunked\r\n"
        return f"{method} {target} HTTP/1.1{self._headers}{framing}\r\n".encode("ascii")

    async def _take(self) -> Socket:
        if self._closed:
            raise ConnectionLost("the connection to the sandbox is closed")
        oldest = time.monotonic() - MAX_IDLE_S
        while self._idle:
            socket = self._idle.pop()
            if socket.usable and socket.idle_since > oldest:
                break
            socket.abort()
        else:
            socket = await self._connect()
        self._busy.add(socket)
        return socket

    async def _connect(self) -> Socket:
        loop = asyncio.get_running_loop()
        endpoint = self._endpoint
        try:
            if isinstance(endpoint, UnixEndpoint):
                return await _connect_unix(endpoint.path)
            _, socket = await loop.create_connection(Socket, endpoint.host, endpoint.port)
        except OSError as exc:
            raise ConnectionLost(f"cannot reach the sandbox: {exc}") from exc
        return socket


async def _connect_unix(path: Path) -> Socket:
    loop = asyncio.get_running_loop()
    if len(os.fsencode(path)) <= MAX_UNIX_PATH:
        _, socket = await loop.create_unix_connection(Socket, os.fspath(path))
        return socket
    # A longer path is reached through a descriptor of its folder.
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{folder}/{path.name}"
        _, socket = await loop.create_unix_connection(Socket, short)
        return socket
    finally:
        os.close(folder)
