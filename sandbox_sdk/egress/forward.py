"""One plain HTTP request to a server, and its answer back: one of each for a connection."""

import asyncio
from contextlib import suppress

import h11

from .answer import read_answer
from .connection import Connection, EndedError
from .decision import Reason
from .gate import Gate
from .http import (
    HTTP_PORT,
    HTTPS_PORT,
    has_body,
    is_chunked,
    next_event,
    parse_target,
    write_head,
)
from .link import Link, TlsLink
from .refusal import RefusedError

# It sends a request's headers back, and the secret among them.
ECHOING = {b"TRACE", b"TRACK"}


async def forward(
    connection: Connection, gate: Gate, parser: h11.Connection, request: h11.Request
) -> None:
    """Sends a request to where its URL leads and relays the answer.

    Raises:
        RefusedError: it may not go there, or nothing came back.
    """
    target = parse_target(request)
    connection.entry.ask("http", request.method.decode(), target.host, target.port)
    injection = connection.injection = gate.injection(target.host)
    port = target.port
    if injection is not None and injection.tls:
        port = connection.entry.port = HTTPS_PORT if port == HTTP_PORT else port
    if injection is not None and request.method.upper() in ECHOING:
        raise RefusedError(Reason.BAD_REQUEST, "this method would show the headers that are added")
    with await gate.admit(connection, target.host, port) as upstream:
        verdict = connection.verdict
        assert verdict is not None, "it was admitted"
        host = verdict.host
        if injection is not None and injection.tls:
            link = TlsLink(upstream, await gate.tls(), host)
            await link.greet(gate.limits.connect_timeout_s)
            default_port = HTTPS_PORT
        else:
            link, default_port = Link(upstream), HTTP_PORT
        name = f"[{host}]" if ":" in host else host
        authority = name if port == default_port else f"{name}:{port}"
        head = write_head(request, target.path, authority, injection)
        await _Exchange(connection, gate, link, parser, request).run(head)


class _Exchange:
    """A request on its way to a server while the answer may already be on its way back."""

    def __init__(
        self,
        connection: Connection,
        gate: Gate,
        link: Link,
        parser: h11.Connection,
        request: h11.Request,
    ) -> None:
        self._connection = connection
        self._limits = gate.limits
        self._count = gate.counter(connection)
        self._link = link
        self._parser = parser
        self._body = has_body(request)
        self._chunked = is_chunked(request)

    async def run(self, head: bytes) -> None:
        """Until the server has closed."""
        try:
            async with asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(self._send(head))
                await self._answer()
                sending.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        finally:
            self._connection.stop_expecting()
        if self._parser.trailing_data[0] or self._connection.has_unread():
            await self._connection.linger()

    async def _send(self, head: bytes) -> None:
        try:
            await self._pass(head)
            if self._body:
                await self._send_body()
        except OSError:
            return  # the server takes no more: its answer, or the lack of one, says why
        self._connection.expect_the_end(self._limits)

    async def _send_body(self) -> None:
        while True:
            event = next_event(self._parser)
            if event is h11.NEED_DATA:
                try:
                    self._parser.receive_data(await self._connection.receive())
                except OSError as exc:
                    raise EndedError from exc
            elif isinstance(event, h11.Data):
                data = bytes(event.data)
                await self._pass(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
            else:
                break
        if self._chunked:
            await self._pass(b"0\r\n\r\n")

    async def _pass(self, data: bytes) -> None:
        await self._link.send(data)
        self._count(len(data), 0)

    async def _answer(self) -> None:
        first = await self._first()
        self._connection.refusal = None
        try:
            await self._connection.send(first)
            self._count(0, len(first))
            await self._link.pour(self._connection.client, lambda size: self._count(0, size))
        except OSError as exc:
            raise EndedError from exc

    async def _first(self) -> bytes:
        first = b""
        with suppress(OSError):
            first = await read_answer(self._link.receive)
        if not first:
            message = f"{self._connection.entry.host!r} closed the connection without an answer"
            raise RefusedError(Reason.UNREACHABLE, message)
        return first
