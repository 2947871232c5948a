"""A real action server process per test, and the same application in this process."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from container_runtime.connection import Connection
from container_runtime.server.app import create_app
from container_runtime.spec import AsgiEndpoint, Endpoint, TcpEndpoint, UnixEndpoint
from tests.container_runtime.action_server import EXECUTORS
from tool_plugins.context import Host

PATIENCE_S = 5.0
TOKEN = "correct-horse"  # a fixed value of these tests only


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something is so, for a bounded time."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - another process makes it so
            await asyncio.sleep(0.01)


@dataclass(slots=True)
class Server:
    """An action server process."""

    process: subprocess.Popen[bytes]
    workspace: Path
    endpoint: Endpoint


def _spawn(folder: Path, extra: dict[str, str]) -> Server:
    for name in ("workspace", "tmp", "spool"):
        (folder / name).mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "SANDBOX_SOCKET": str(folder / "action.sock"),
        "SANDBOX_WORKSPACE": str(folder / "workspace"),
        "SANDBOX_TMP": str(folder / "tmp"),
        "SANDBOX_SPOOL": str(folder / "spool"),
        **extra,
    }
    command = [sys.executable, "-m", "tests.container_runtime.action_server"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    return Server(process, folder / "workspace", UnixEndpoint(folder / "action.sock"))


def _end(server: Server) -> None:
    if server.process.poll() is None:
        server.process.kill()
    server.process.wait(PATIENCE_S)


@pytest.fixture
def server(state_dir: Path) -> Iterator[Server]:
    """A server on a unix socket."""
    started = _spawn(state_dir, {})
    yield started
    _end(started)


@pytest.fixture
def tcp_server(state_dir: Path) -> Iterator[Server]:
    """A server on a TCP port of the loopback interface, which wants the token."""
    port_file = state_dir / "port"
    extra = {"SANDBOX_LISTEN": "127.0.0.1:0", "SANDBOX_TOKEN": TOKEN}
    started = _spawn(state_dir, {**extra, "TEST_PORT_FILE": str(port_file)})
    deadline = time.monotonic() + PATIENCE_S
    while not (port_file.exists() and port_file.read_text()):
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    started.endpoint = TcpEndpoint("127.0.0.1", int(port_file.read_text()), TOKEN)
    yield started
    _end(started)


@asynccontextmanager
async def _application(folder: Path) -> AsyncIterator[Endpoint]:
    for name in ("workspace", "tmp", "spool"):
        (folder / name).mkdir()
    host = Host(folder / "workspace", folder / "tmp", folder / "spool")
    app = create_app(host, EXECUTORS)
    async with app.lifespan_context(app):
        yield AsgiEndpoint(app)


@pytest.fixture(params=["asgi", "unix"])
async def connection(request: pytest.FixtureRequest, state_dir: Path) -> AsyncIterator[Connection]:
    """A connection into this process and over a socket; what holds for one must hold for both."""
    if request.param == "asgi":
        async with _application(state_dir) as endpoint, Connection(endpoint) as made:
            yield made
        return
    endpoint = request.getfixturevalue("server").endpoint
    async with Connection(endpoint) as made:
        await made.ready(PATIENCE_S)
        yield made


@pytest.fixture
def workspace(state_dir: Path) -> Path:
    """The workspace behind `connection`."""
    return state_dir / "workspace"
