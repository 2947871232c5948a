"""The proxy's own connection to a server: plain, or with TLS that the proxy itself verifies."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from container_runtime.relay import carry

from .decision import Reason
from .refusal import RefusedError

PIECE_BYTES = 64 * 1024


class Link:
    """A connected server."""

    def __init__(self, upstream: socket.socket) -> None:
        self._upstream = upstream
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        """Hands bytes to the server."""
        await self._loop.sock_sendall(self._upstream, data)

    async def receive(self) -> bytes:
        """What the server sends next; nothing at the end.

        Raises:
            OSError: the server broke off.
        """
        return await self._loop.sock_recv(self._upstream, PIECE_BYTES)

    async def pour(self, client: socket.socket, count: Callable[[int], None]) -> None:
        """Passes on all that the server still sends, until it ends or breaks off.

        Raises:
            OSError: `client` takes no more.
        """
        await carry(self._upstream, client, count=count)


class TlsLink(Link):
    """A connected server that is spoken to in TLS. One task may send while another receives."""

    def __init__(self, upstream: socket.socket, context: ssl.SSLContext, host: str) -> None:
        super().__init__(upstream)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sending = asyncio.Lock()
        self._host = host

    async def greet(self, timeout_s: float) -> None:
        """Agrees on keys, and verifies the server.

        Raises:
            RefusedError: it is not who it should be, speaks no TLS, or is too slow.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._greet()
        except ssl.SSLCertVerificationError as exc:
            message = f"the certificate of {self._host} is not accepted: {exc.verify_message}"
            raise RefusedError(Reason.TLS, message) from exc
        except TimeoutError as exc:
            message = f"{self._host} did not finish its TLS greeting within {timeout_s:g} s"
            raise RefusedError(Reason.TIMEOUT, message) from exc
        except OSError as exc:
            why = getattr(exc, "reason", None) or exc.strerror or "the connection ended"
            message = f"no TLS with {self._host}: {why}"
            raise RefusedError(Reason.TLS, message) from exc

    async def _greet(self) -> None:
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise ConnectionResetError from None
            except ssl.SSLError:
                await self._flush()  # the alert that says why
                raise
            else:
                return await self._flush()

    async def send(self, data: bytes) -> None:
        """See `Link.send`."""
        self._session.write(data)
        await self._flush()

    async def receive(self) -> bytes:
        """See `Link.receive`."""
        while True:
            try:
                return self._session.read(PIECE_BYTES)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def pour(self, client: socket.socket, count: Callable[[int], None]) -> None:
        """See `Link.pour`."""
        while data := await self._next():
            await self._loop.sock_sendall(client, data)
            count(len(data))

    async def _next(self) -> bytes:
        try:
            return await self.receive()
        except OSError:
            return b""

    async def _fill(self) -> bool:
        data = await super().receive()
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        # Read and sent under the lock: records must leave in the order they were made.
        async with self._sending:
            if data := self._outgoing.read():
                await super().send(data)


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What the proxy accepts as a server: the public authorities, and those of `ca_file`."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context
