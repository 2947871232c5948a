"""uvicorn, with less of it: bounded headers, no idle wake-ups, an end within a second."""

import asyncio
import contextlib
import importlib.util
import socket
import sys
from types import FrameType, ModuleType

from starlette.types import ASGIApp

from .protocol import MAX_HEADER_BYTES


def _without_command_line() -> None:
    """Makes `uvicorn` a bare package: its own `__init__` loads a command line and supervisors.

    That saves 4 MB and 100 ms in every sandbox.
    """
    if "uvicorn" in sys.modules:
        return
    spec = importlib.util.find_spec("uvicorn")
    if spec is not None and spec.submodule_search_locations is not None:
        package = ModuleType("uvicorn")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["uvicorn"] = package


_without_command_line()

from uvicorn.config import Config  # noqa: E402 - must follow the line above
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: E402
from uvicorn.server import Server  # noqa: E402

# The one name uvicorn's own modules take from the package; and the other one that those take who
# share a process with this, as tests do.
sys.modules["uvicorn"].Config = Config  # type: ignore[attr-defined]
sys.modules["uvicorn"].Server = Server  # type: ignore[attr-defined]

IDLE_CONNECTION_S = 3600
BACKLOG = 128
# Together less than the second after which the engine kills what is left.
END_ACTIONS_S = 0.4
END_HOST_S = 0.4


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a request whose headers do not end: the parser alone would keep them all."""

    _open_headers = 0
    _in_headers = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._open_headers = 0
        self._in_headers = True

    def on_headers_complete(self) -> None:
        self._in_headers = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        before = self._in_headers
        super().data_received(data)
        if not (before and self._in_headers):
            return
        self._open_headers += len(data)
        if self._open_headers > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Headers too large.")

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_headers = True
        self._open_headers = 0


class ActionServer(Server):
    """Sleeps until a signal instead of looking around ten times a second."""

    _stop: asyncio.Event | None = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        if not self.should_exit:
            await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        # To what runs, this is the client going away: it ends what it started.
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=END_ACTIONS_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_HOST_S):
                await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)


def serve(app: ASGIApp, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT; then cancels what runs and ends the application's life."""
    config = Config(
        app=app,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=IDLE_CONNECTION_S,
    )
    ActionServer(config).run(sockets=[listener])
