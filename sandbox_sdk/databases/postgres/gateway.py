"""A PostgreSQL server as a sandbox's programs see it: a unix socket that needs no password.

Whoever connects is logged in as the sandbox's restricted role on the sandbox's own database,
whatever user and database it asked for. From then on bytes are passed on unread, both ways, with
back-pressure; the engine enforces permission, as for the tools.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tool_plugins.errors import SandboxError, ToolError

from .upstream import RefusedError, Upstream, connect, log_in
from .wire import (
    CANCEL,
    GSS_WANTED,
    PROTOCOL_3,
    TLS_WANTED,
    Opening,
    WireError,
    error,
    read_opening,
)

logger = logging.getLogger(__name__)

SOCKET = ".s.PGSQL.5432"
MAX_CLIENTS = 64
STARTUP_TIMEOUT_S = 15.0
PIECE_BYTES = 65_536

Settings = Callable[[], Awaitable[Mapping[str, Any]]]
"""The settings of the sandbox's copy (see `provisioner.Copy`), made at the first connection."""


class Gateway:
    """One listening socket of one sandbox for one of its databases."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[Any]] = set()

    async def listen(self, folder: Path) -> None:
        """Listens in a folder that programs in the sandbox can enter."""
        await asyncio.to_thread(_prepare, folder)
        # A socket's address holds 108 bytes, less than the path of a folder may have.
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            path = f"/proc/self/fd/{handle}/{SOCKET}"
            self._server = await asyncio.start_unix_server(self._serve, path, limit=PIECE_BYTES)
            await asyncio.to_thread(os.chmod, path, 0o666)
        finally:
            os.close(handle)

    async def aclose(self) -> None:
        """Stops listening and ends every connection. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        clients = list(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            if self._server is None:
                return  # accepted just before `aclose`
            if len(self._clients) > MAX_CLIENTS:
                writer.write(error("too many connections of this sandbox", "53300"))
            else:
                await self._attend(reader, writer)
        except (OSError, WireError, TimeoutError) as exc:
            logger.debug("a connection to a database ended: %s", exc)
        except asyncio.CancelledError:
            if self._server is not None:
                raise
        finally:
            self._clients.discard(task)
            writer.close()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(STARTUP_TIMEOUT_S):
                opening = await _greet(reader, writer)
                if opening.code == CANCEL:
                    return await self._cancel(opening)
                upstream = await self._log_in(opening)
        except RefusedError as exc:
            writer.write(exc.packet)
        except (SandboxError, ToolError) as exc:
            writer.write(error(exc.message))
        except (OSError, WireError, TimeoutError) as exc:
            writer.write(error(f"the database cannot be reached: {exc}"))
        else:
            writer.writelines(upstream.greeting)
            await _relay((reader, writer), (upstream.reader, upstream.writer))

    async def _log_in(self, opening: Opening) -> Upstream:
        settings = await self._settings()
        upstream = await connect(settings["conninfo"], require_tls=settings["require_tls"])
        try:
            await log_in(upstream, settings["conninfo"], opening.parameters())
        except BaseException:
            upstream.writer.close()
            raise
        return upstream

    async def _cancel(self, opening: Opening) -> None:
        """Passes on a request to cancel: its key names a session, and proves the right to."""
        settings = await self._settings()
        upstream = await connect(settings["conninfo"], require_tls=settings["require_tls"])
        try:
            upstream.writer.write(opening.packet)
            with suppress(OSError):
                await upstream.writer.drain()
                await upstream.reader.read(1)
        finally:
            upstream.writer.close()


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Opening:
    """The packet that opens a session or cancels one; encryption is declined on this socket."""
    opening = await read_opening(reader)
    while opening.code in (TLS_WANTED, GSS_WANTED):
        writer.write(b"N")
        opening = await read_opening(reader)
    if opening.code != CANCEL and opening.code >> 16 != PROTOCOL_3 >> 16:
        raise WireError(f"unknown protocol {opening.code >> 16}")
    return opening


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _relay(client: Ends, server: Ends) -> None:
    """Both ways until either end closes."""
    pumps = [
        asyncio.create_task(_pump(client[0], server[1])),
        asyncio.create_task(_pump(server[0], client[1])),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # First, because the wait after it can itself be cancelled.
        server[1].close()
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


def _prepare(folder: Path) -> None:
    """Makes the folder; what a server that died left in it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    (folder / SOCKET).unlink(missing_ok=True)
