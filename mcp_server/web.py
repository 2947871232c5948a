"""HTTP: Streamable HTTP of both protocol eras at /mcp, SSE at /sse, and /health, in one app."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tool_plugins.errors import ConfigurationError

from .disconnect import DisconnectWatch
from .guard import LOOPBACK_HOSTS, HostGuard
from .server import SandboxServer

MAX_BODY_BYTES = 4 * 1024 * 1024
GRACE_S = 1
"""How long open connections may take to end. Without a bound, one open listen stream would keep
the process alive for ever."""


def create_app(server: SandboxServer, allowed_hosts: Iterable[str] = ()) -> Starlette:
    """The whole application. Loopback names are always allowed as Host and Origin."""
    hosts = (*LOOPBACK_HOSTS, *allowed_hosts)
    security = _security(hosts)
    manager = StreamableHTTPSessionManager(
        server, security_settings=security, max_request_body_size=MAX_BODY_BYTES
    )
    sse = SseServerTransport(
        "/messages/", security_settings=security, max_request_body_size=MAX_BODY_BYTES
    )

    async def health(_request: Request) -> Response:
        return JSONResponse({"status": "ok", "ready": server.door.is_open})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        server.door.open()
        try:
            async with manager.run():
                yield
        finally:
            await server.door.close()

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/mcp", endpoint=StreamableHTTPASGIApp(manager)),
            Route("/sse", endpoint=_SseEndpoint(server, sse), methods=["GET"]),
            Mount("/messages/", app=sse.handle_post_message),
        ],
        middleware=[
            Middleware(HostGuard, allowed_hosts=hosts),
            Middleware(DisconnectWatch),
        ],
        lifespan=lifespan,
    )


class HttpServer(uvicorn.Server):
    """uvicorn, but its signals are ours: the whole process ends in one place."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the process's signal handlers alone."""
        yield

    def stop(self) -> None:
        """Begins to shut down; `serve` returns soon."""
        self.should_exit = True


def http_server(app: ASGIApp) -> HttpServer:
    """The server for an app; `serve(sockets=[...])` runs it until `stop`."""
    return HttpServer(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigurationError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error}", hint="choose another --port"
        ) from error
    return listener


class _SseEndpoint:
    """A class, so that the router takes it for a plain ASGI application."""

    def __init__(self, server: SandboxServer, transport: SseServerTransport) -> None:
        self._server = server
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transport.connect_sse(scope, receive, send) as (read, write):
            await self._server.run(read, write, self._server.create_initialization_options())


def _security(hosts: Iterable[str]) -> TransportSecuritySettings:
    """The same rule once more, in the words of the `mcp` package."""
    names = [pattern for host in hosts for pattern in (host, f"{host}:*")]
    origins = [f"{scheme}://{name}" for scheme in ("http", "https") for name in names]
    return TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins)


async def serve_http(
    server: SandboxServer,
    listener: socket.socket,
    allowed_hosts: Iterable[str],
    stop: asyncio.Event,
) -> None:
    """Serves until `stop` is set, then ends calls, streams and sandboxes together."""
    http = http_server(create_app(server, allowed_hosts))
    serving = asyncio.create_task(http.serve(sockets=[listener]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.stop_serving()
    http.stop()
    # The sandboxes need not wait for clients that are slow to hang up.
    await asyncio.gather(server.door.close(), serving)
