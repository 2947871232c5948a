"""Programs as they stand before the proxy: raw bytes, and a pipe for ordinary HTTP clients."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sandbox_sdk.egress.decision import EgressDecision
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy

PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that ended with its connection."""

    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "Answer":
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        _, status, phrase = first.split(" ", 2)
        headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
        return cls(int(status), phrase, headers, body)

    @property
    def error(self) -> dict[str, Any]:
        """What the proxy says; `code` also stands in a header."""
        told = json.loads(self.body)
        assert told["code"] == self.headers["x-egress-error"]
        return told

    @property
    def reason(self) -> str:
        return self.error["details"]["reason"]


class Client:
    """A connection to the proxy, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, path: Path) -> Self:
        return cls(*await asyncio.open_unix_connection(str(path)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with suppress(OSError):
            await self.writer.drain()

    def end(self) -> None:
        """Ends this half only."""
        self.writer.write_eof()

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def head(self) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Everything until the proxy closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await _all(self.reader)

    async def connect_to(self, authority: str) -> bytes:
        """Asks for a tunnel: the head of the answer."""
        await self.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        return await self.head()

    async def start_tls(self, ca_file: Path, server_name: str) -> None:
        """Speaks TLS from now on."""
        context = ssl.create_default_context(cafile=str(ca_file))
        async with asyncio.timeout(PATIENCE_S):
            await self.writer.start_tls(context, server_hostname=server_name)


async def _all(reader: asyncio.StreamReader) -> bytes:
    read = bytearray()
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            read += piece
    return bytes(read)


async def talk(path: Path, data: bytes) -> bytes:
    """All that comes back for some bytes, as a program that then waits for the end."""
    async with await Client.connect(path) as client:
        await client.send(data)
        return await client.rest()


async def ask(
    path: Path, url: str, *, method: str = "GET", headers: str = "", body: bytes = b""
) -> Answer:
    """The answer to one plain request. `headers` are whole lines."""
    head = f"{method} {url} HTTP/1.1\r\nHost: irrelevant.test\r\n{headers}\r\n"
    return Answer.parse(await talk(path, head.encode() + body))


def last(proxy: EgressProxy) -> EgressDecision:
    """The newest decision."""
    return proxy.decisions()[-1]


class Forwarder:
    """A dumb pipe from a TCP port on loopback to a unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """What a program sets as its proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        return self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            client = await Client.connect(self._path)
            async with client:
                await asyncio.gather(_pump(reader, client.writer), _pump(client.reader, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()


async def run(*command: str, **environment: str) -> tuple[int, str, str]:
    """A real program: its exit code, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        out, errors = await process.communicate()
    return process.returncode or 0, out.decode(), errors.decode()


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A server whose every byte a test decides; `raw.test` in the policies of tests.

    Without a handler it answers one request with its head and what came of its body within a
    moment, which is how tests see what the proxy sends.
    """

    def __init__(self, handler: Handler | None = None, context: ssl.SSLContext | None = None):
        self._handler = handler or self._echo
        self._context = context
        self.connections = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._context, backlog=256
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/") -> str:
        return f"http://raw.test:{self.port}{path}"

    def policy(self, **changes: Any) -> EgressPolicy:
        """A policy that lets `raw.test` be reached, on this server only."""
        rule = {"host": "raw.test", "ports": [self.port], "tunnel": changes.pop("tunnel", "tls")}
        return EgressPolicy.model_validate(
            {"allow": [rule], "hosts": {"raw.test": "127.0.0.1"}, **changes}
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._handler(reader, writer)
        except (OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in received:
            received += await reader.readuntil(b"0\r\n\r\n")
        elif b"Content-Length" in received:
            size = received.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
            received += await reader.readexactly(int(size))
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                received += await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n" + received)
        await writer.drain()
