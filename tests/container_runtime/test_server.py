"""The action server as a process: what it survives, what it costs, how it ends."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from container_runtime.connection import Connection
from container_runtime.server.cgroup import read_limits
from container_runtime.server.config import read_settings
from container_runtime.server.plugins import load_executors
from container_runtime.spec import UnixEndpoint
from tests.container_runtime.action_server import FLOOD, FLOOD_PIECE
from tests.container_runtime.serving import Server, until
from tool_plugins.contract import Action, ObservationEvent, OutputEvent
from tool_plugins.plugins import BUILT_IN, executors

MIB = 1024 * 1024
GROWTH_LIMIT = 32 * MIB
ECHO = Action(tool="test.echo")


def request(method: str, target: str, body: bytes = b"", headers: str = "") -> bytes:
    """A raw request."""
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{method} {target} HTTP/1.1\r\nhost: x\r\n{length}{headers}\r\n".encode() + body


def speak(server: Server, *pieces: bytes) -> bytes:
    """Sends raw bytes and reads until the server says no more, or has answered."""
    assert isinstance(server.endpoint, UnixEndpoint)
    with closing(socket.socket(socket.AF_UNIX)) as raw:
        raw.settimeout(5)
        raw.connect(os.fspath(server.endpoint.path))
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                raw.sendall(piece)
        with suppress(ConnectionResetError):
            return raw.recv(65_536)
    return b""


async def answers(server: Server) -> bool:
    """Whether the server still does its work."""
    async with Connection(server.endpoint) as connection:
        return (await connection.execute(ECHO, timeout_s=5)).ok


@pytest.fixture
async def ready(server: Server) -> Server:
    """A server that answers already."""
    async with Connection(server.endpoint) as connection:
        await connection.ready(5)
    return server


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((b"\x16\x03\x01 garbage\r\n\r\n",), b" 400 "),
        ((request("GET", "/nowhere"),), b" 404 "),
        ((request("DELETE", "/actions"),), b" 405 "),
        ((request("POST", "/actions", b"not json"),), b" 400 "),
        ((request("POST", "/actions", b"[" * 100_000),), b" 400 "),
        ((request("POST", "/actions", b'{"id":1,"tool":2,"args":3}'),), b" 400 "),
        ((request("GET", "/files"),), b" 400 "),
        ((request("GET", "/files?path=%00"),), b" 400 "),
        ((request("PUT", "/files?path=x&mode=odd", b"x"),), b" 400 "),
        ((request("PUT", "/folders?path=x", b"not a tar" * 100),), b" 400 "),
        ((request("GET", "/ready", headers="x: " + "y" * 200_000 + "\r\n"),), b" "),
        ((b"GET /ready HTTP/1.1\r\nx: ", *[b"y" * 65_536] * 64), b" 400 "),
        ((b"GET /" + b"y" * 200_000, *[b"y" * 65_536] * 64), b" 400 "),
        (
            (b"POST /actions HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n", *[bytes(MIB)] * 17),
            b" 413 ",
        ),
    ],
)
async def test_a_bad_request_is_refused_and_hurts_nobody(
    ready: Server, pieces: tuple[bytes, ...], status: bytes
) -> None:
    before = psutil.Process(ready.process.pid).memory_info().rss

    answer = await asyncio.to_thread(speak, ready, *pieces)

    assert status in answer.split(b"\r\n")[0]
    assert await answers(ready)
    assert psutil.Process(ready.process.pid).memory_info().rss - before < 3 * GROWTH_LIMIT


async def test_a_reader_that_stops_reading_holds_nothing_up(ready: Server) -> None:
    process = psutil.Process(ready.process.pid)
    before = process.memory_info().rss
    async with Connection(ready.endpoint) as connection:
        stream = connection.stream(Action(tool="test.flood"), timeout_s=60)
        await anext(stream)

        # 256 MB are emitted while nobody reads; the tool ends all the same.
        await until((ready.workspace / "flooded").exists)
        grown = process.memory_info().rss - before
        events = [event async for event in stream]

    assert grown < GROWTH_LIMIT
    assert isinstance(events[-1], ObservationEvent)
    assert events[-1].observation.data == {"bytes": FLOOD * len(FLOOD_PIECE)}
    text = "".join(event.text for event in events if isinstance(event, OutputEvent))
    assert "live output skipped" in text
    assert len(text) < FLOOD * len(FLOOD_PIECE)


@pytest.mark.parametrize(
    "megabytes", [128, pytest.param(1024, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
async def test_a_large_file_grows_neither_end(ready: Server, megabytes: int) -> None:
    processes = [psutil.Process(ready.process.pid), psutil.Process()]
    peaks = [0, 0]
    before = [process.memory_info().rss for process in processes]

    def look() -> None:
        for index, process in enumerate(processes):
            peaks[index] = max(peaks[index], process.memory_info().rss - before[index])

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(megabytes):
            look()
            yield os.urandom(1024) * 1024

    received = 0
    async with Connection(ready.endpoint) as connection:
        result = await connection.upload("big", pieces())
        async for piece in connection.download("big"):
            received += len(piece)
            look()

    assert result.bytes == received == megabytes * MIB
    assert max(peaks) < GROWTH_LIMIT


async def test_sigterm_ends_actions_and_then_the_server(ready: Server) -> None:
    async with Connection(ready.endpoint) as connection:
        action = Action(tool="test.wait", args={"name": "term"})
        task = asyncio.create_task(connection.execute(action, timeout_s=60))
        await until((ready.workspace / "term.started").exists)

        ready.process.send_signal(signal.SIGTERM)

        with pytest.raises(ConnectionError):
            await task
        await until(lambda: ready.process.poll() is not None)
    assert (ready.workspace / "term.ended").exists()


async def test_sigterm_ends_a_server_that_only_waits(ready: Server) -> None:
    async with Connection(ready.endpoint) as connection:
        await connection.execute(ECHO, timeout_s=5)  # leaves an idle connection

        ready.process.send_signal(signal.SIGTERM)

        await until(lambda: ready.process.poll() is not None)


async def test_an_idle_server_does_not_wake_up(ready: Server) -> None:
    process = psutil.Process(ready.process.pid)
    async with Connection(ready.endpoint) as connection:
        await connection.execute(ECHO, timeout_s=5)
    switches = process.num_ctx_switches().voluntary

    await asyncio.sleep(1)  # the time is what is measured

    assert process.num_ctx_switches().voluntary - switches < 8


async def test_the_socket_is_private(ready: Server) -> None:
    assert isinstance(ready.endpoint, UnixEndpoint)
    assert ready.endpoint.path.stat().st_mode & 0o777 == 0o600


def test_the_server_imports_nothing_of_the_host() -> None:
    program = (
        "import sys; import container_runtime.server.__main__ as m;"
        f"m.load_executors({executors(BUILT_IN)});"
        "hosts = ('pydantic', 'docker', 'mcp', 'sqlalchemy', 'click', 'h11', 'sandbox_sdk');"
        "print([name for name in hosts if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.strip() == "[]", done.stderr


def test_every_built_in_tool_has_an_executor() -> None:
    names = load_executors(executors(BUILT_IN))

    assert {"filesystem.read", "terminal.run"} <= names.keys()


def test_settings_take_the_token_out_of_the_environment() -> None:
    environ = {"SANDBOX_LISTEN": "0.0.0.0:80", "SANDBOX_TOKEN": "t", "FOO": "bar"}

    settings = read_settings(environ)

    assert "SANDBOX_TOKEN" not in environ
    assert (settings.token, settings.listen) == ("t", ("0.0.0.0", 80))
    assert settings.environment["FOO"] == "bar"
    assert not [name for name in settings.environment if name.startswith("SANDBOX_")]


@pytest.mark.parametrize(
    "environ", [{"SANDBOX_LISTEN": "0.0.0.0:80"}, {"SANDBOX_LISTEN": "80", "SANDBOX_TOKEN": "t"}]
)
def test_settings_that_would_be_unsafe_are_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="SANDBOX_LISTEN"):
        read_settings(environ)


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        (
            {
                "cgroup.controllers": "",
                "memory.max": "67108864\n",
                "pids.max": "64\n",
                "cpu.max": "50000 100000\n",
            },
            {"memory_bytes": 67108864, "pids": 64, "cpus": 0.5},
        ),
        (
            {"cgroup.controllers": "", "memory.max": "max", "pids.max": "max", "cpu.max": "max 1"},
            {"memory_bytes": None, "pids": None, "cpus": None},
        ),
        (
            {
                "memory/memory.limit_in_bytes": "67108864",
                "pids/pids.max": "64",
                "cpu/cpu.cfs_quota_us": "150000",
                "cpu/cpu.cfs_period_us": "100000",
            },
            {"memory_bytes": 67108864, "pids": 64, "cpus": 1.5},
        ),
        (
            {"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"},
            {"memory_bytes": None, "pids": None, "cpus": None},
        ),
    ],
)
def test_limits_are_read_from_either_cgroup_version(
    tmp_path: Path, files: dict[str, str], limits: dict[str, float | None]
) -> None:
    _write(tmp_path, files)

    assert read_limits(tmp_path) == json.loads(json.dumps(limits))
