"""The forwarder: programs inside reach the host's socket over loopback, and only so."""

import asyncio
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import Connection
from container_runtime.engine import Engine, load_engine
from container_runtime.engines.docker_config import Access, Placement, create_body
from container_runtime.engines.in_process import InProcessEngine
from container_runtime.server import egress
from container_runtime.server.egress import Egress, way_out
from container_runtime.spec import EGRESS_CA, EGRESS_SOCKET, ComputeResources, ContainerSpec
from tests.fakes import eventually
from tool_plugins.context import Host
from tool_plugins.contract import Action
from tool_plugins.errors import ConfigurationError

NAME = "test-forwarder"
PATIENCE_S = 10
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nof the host\n-----END CERTIFICATE-----\n"


class Responder:
    """An HTTP server at a unix socket of the host; it answers with what it was asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self.connections = 0

    async def start(self) -> "Responder":
        self._path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._path.parent.chmod(0o711)
        self._server = await asyncio.start_unix_server(self._answer, self._path)
        self._path.chmod(0o666)
        return self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            body = head.partition(b"\r\n")[0]
            length = b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            writer.write(b"HTTP/1.1 200 OK\r\n" + length + body)
            await writer.drain()
        writer.close()

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)


@asynccontextmanager
async def responding(path: Path) -> AsyncIterator[Responder]:
    responder = await Responder(path).start()
    try:
        yield responder
    finally:
        responder.stop()


# The forwarder alone.


@pytest.fixture
def host(state_dir: Path) -> Host:
    for name in ("workspace", "tmp", "spool"):
        (state_dir / name).mkdir()
    return Host(state_dir / "workspace", state_dir / "tmp", state_dir / "spool")


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / "run" / EGRESS_SOCKET


@asynccontextmanager
async def forwarding(path: Path, host: Host) -> AsyncIterator[tuple[str, int]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    async with way_out(Egress(path, port=0), host):
        url = host.environment["HTTP_PROXY"]
        yield "127.0.0.1", int(url.rpartition(":")[2])


async def ask(
    address: tuple[str, int], request: bytes = b"GET http://x/ HTTP/1.1\r\n\r\n"
) -> bytes:
    """All that comes back for a request."""
    async with asyncio.timeout(PATIENCE_S):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()


async def test_a_request_reaches_the_host(host: Host, path: Path) -> None:
    async with forwarding(path, host) as address, responding(path):
        assert (await ask(address)).endswith(b"\r\n\r\nGET http://x/ HTTP/1.1")


async def test_without_a_host_the_answer_says_so_and_later_ones_pass(
    host: Host, path: Path
) -> None:
    async with forwarding(path, host) as address:
        refused = await ask(address)
        async with responding(path):
            passed = await ask(address)
        again = await ask(address)
        async with responding(path):  # another listener at the same place
            back = await ask(address)
    assert refused == again
    assert refused.startswith(b"HTTP/1.1 502 the proxy of this sandbox does not run on its host\r")
    assert b"\r\nX-Egress-Error: CONNECTION_ERROR\r\n" in refused
    assert passed == back
    assert passed.startswith(b"HTTP/1.1 200")


async def test_a_refusal_arrives_though_much_was_sent(host: Host, path: Path) -> None:
    async with forwarding(path, host) as address:
        answer = await ask(address, b"POST http://x/ HTTP/1.1\r\n\r\n" + bytes(1_000_000))
    assert answer.startswith(b"HTTP/1.1 502")


async def test_connections_beyond_the_cap_are_refused(
    host: Host, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "MAX_CONNECTIONS", 3)
    async with forwarding(path, host) as address, responding(path) as responder:
        held = [await asyncio.open_connection(*address) for _ in range(3)]
        await eventually(lambda: responder.connections == 3)
        refused = await ask(address)
        for _, writer in held:
            writer.close()
        await eventually(lambda: _passes(address))
    assert b"3 connections open already" in refused.partition(b"\r\n")[0]


async def _passes(address: tuple[str, int]) -> bool:
    return (await ask(address)).startswith(b"HTTP/1.1 200")


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Leaves this process none at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_descriptors_it_waits_and_goes_on(host: Host, path: Path) -> None:
    async with forwarding(path, host) as address, responding(path):
        client = socket.socket()
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        with few_descriptors():
            await loop.sock_connect(client, address)
            await loop.sock_sendall(client, b"GET http://x/ HTTP/1.1\r\n\r\n")
            await asyncio.sleep(2 * egress.NO_DESCRIPTORS_S)
        with client:
            async with asyncio.timeout(PATIENCE_S):
                assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200")


async def test_a_full_queue_of_the_host_is_waited_for(host: Host, path: Path) -> None:
    async with forwarding(path, host) as address:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
            listener.listen(1)
            listener.setblocking(False)
            asking = [asyncio.ensure_future(ask(address)) for _ in range(8)]
            await asyncio.sleep(0.1)
            loop = asyncio.get_running_loop()
            for _ in range(8):
                async with asyncio.timeout(PATIENCE_S):
                    made, _ = await loop.sock_accept(listener)
                made.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                made.close()
            answers = await asyncio.gather(*asking, return_exceptions=True)
    assert not any(b"502" in each for each in answers if isinstance(each, bytes))


async def test_many_rapid_connections_leave_nothing(host: Host, path: Path) -> None:
    async with forwarding(path, host) as address, responding(path) as responder:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            answers = await asyncio.gather(*(ask(address) for _ in range(20)))
            assert all(each.startswith(b"HTTP/1.1 200") for each in answers)
        for _ in range(200):  # gone before anybody looks
            socket.create_connection(address).close()
        await eventually(lambda: responder.connections >= 600)
        await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


async def test_its_end_closes_connections_and_the_port(host: Host, path: Path) -> None:
    async with responding(path) as responder:
        async with forwarding(path, host) as address:
            reader, writer = await asyncio.open_connection(*address)
            await eventually(lambda: responder.connections == 1)
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)


# What programs are told.


async def test_programs_find_it_by_their_environment(host: Host, path: Path) -> None:
    async with forwarding(path, host) as (name, port):
        url, own = f"http://{name}:{port}", "localhost,127.0.0.1,::1"
        upper = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "ALL_PROXY": url, "NO_PROXY": own}
        assert host.environment == upper | {name.lower(): each for name, each in upper.items()}


async def test_what_the_caller_said_stays(host: Host, path: Path) -> None:
    said = {"https_proxy": "http://mine:1", "NO_PROXY": "*", "PIP_CERT": "/mine"}
    host.environment.update(said)
    path.parent.mkdir(parents=True)
    (path.parent / "ca.pem").write_text(CERTIFICATE)
    async with forwarding(path, host):
        found = host.environment
        assert found == found | said
        assert not {"HTTPS_PROXY", "no_proxy"} & found.keys()
        assert {"HTTP_PROXY", "SSL_CERT_FILE"} < found.keys()


async def test_certificates_of_the_host_join_those_of_the_system(host: Host, path: Path) -> None:
    path.parent.mkdir(parents=True)
    (path.parent / "ca.pem").write_text(CERTIFICATE)
    async with forwarding(path, host):
        files = {host.environment[name] for name in egress.CA_VARIABLES}
    (bundle,) = files
    text = read(bundle)
    assert text.endswith(CERTIFICATE)
    assert text.startswith(next(filter(None, map(read, egress.SYSTEM_BUNDLES))))


def read(name: str) -> str:
    """A file of the system's, or nothing."""
    return Path(name).read_text() if Path(name).is_file() else ""


# Engines.


def place(**changes: Any) -> Placement:
    fields: dict[str, Any] = {"image": "i", "state": "/s", "server_uid": 65432}
    where = {"access": Access("unix"), "run": Path("/s/run"), "workspace": Path("/s/w")}
    return Placement(**fields | where | changes)


def test_an_engine_that_shares_no_folder_refuses_it() -> None:
    spec = ContainerSpec(name=NAME, egress=True)
    with pytest.raises(ConfigurationError) as refused:
        create_body(spec, place(access=Access("bridge", "t"), run=None))
    assert "on this machine" in refused.value.hint
    create_body(spec.model_copy(update={"egress": False}), place(access=Access("bridge", "t"),
                                                                 run=None))  # fmt: skip


async def _shell(connection: Connection, command: str) -> str:
    action = Action(tool="terminal.run", args={"command": command, "timeout_s": 30})
    observation = await connection.execute(action, timeout_s=40)
    assert observation.error is None, observation.error
    return observation.data["stdout"]


async def test_in_one_process_each_sandbox_has_a_port_of_its_own(state_dir: Path) -> None:
    engine = InProcessEngine(state_dir=state_dir)
    await engine.connect()
    names, said = (NAME, f"{NAME}-2"), []
    for name in names:
        container = await engine.create(ContainerSpec(name=name, egress=True))
        shared = engine.layout(name).shared
        assert shared is not None
        shared.mkdir(exist_ok=True)
        async with responding(shared / EGRESS_SOCKET) as responder:
            await container.start()
            async with Connection(container.endpoint) as connection:
                said.append(await _shell(connection, "echo $http_proxy"))
                assert "x.test" in await _shell(connection, "curl -sS http://x.test/")
                assert responder.connections == 1
    assert len(set(said)) == 2
    await asyncio.gather(*map(engine.remove, names))


async def test_without_egress_nothing_listens_and_nothing_is_said(state_dir: Path) -> None:
    engine = InProcessEngine(state_dir=state_dir)
    await engine.connect()
    container = await engine.create(ContainerSpec(name=NAME))
    await container.start()
    async with Connection(container.endpoint) as connection:
        assert "proxy" not in (await _shell(connection, "env")).lower()
    await engine.remove(NAME)


# A real container.

TAKE_OVER = """
import socket
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"),
                     (socket.AF_INET6, "::")):
    for options in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,),
                    (socket.SO_REUSEADDR, socket.SO_REUSEPORT)):
        with socket.socket(family) as taker:
            for option in options:
                taker.setsockopt(socket.SOL_SOCKET, option, 1)
            try:
                taker.bind((host, 3128))
                taker.listen()
            except OSError as exc:
                continue
            print("took", host, options)
print("tried")
"""


@asynccontextmanager
async def container(engine: Engine, **changes: Any) -> AsyncIterator[tuple[Connection, Path]]:
    resources = ComputeResources(memory_mb=128, disk_mb=32, tmp_mb=8, pids=48)
    spec = ContainerSpec(**{"name": NAME, "resources": resources, "egress": True} | changes)
    made = await engine.create(spec)
    shared = engine.layout(NAME).shared
    assert shared is not None
    try:
        (shared / EGRESS_SOCKET).parent.mkdir(mode=0o711)
        (shared / EGRESS_SOCKET).parent.chmod(0o711)
        (shared / EGRESS_CA).write_text(CERTIFICATE)
        (shared / EGRESS_CA).chmod(0o644)
        await made.start()
        async with Connection(made.endpoint) as connection:
            await connection.ready()
            yield connection, shared / EGRESS_SOCKET
    finally:
        await engine.remove(NAME)


@pytest.mark.docker
async def test_in_a_container(docker_state_dir: Path) -> None:
    """One container for all that only a container can show; each line is a claim."""
    engine = load_engine("docker", state_dir=docker_state_dir)
    async with engine:
        await engine.ensure_image(print)
        async with container(engine, environment={"NO_PROXY": "mine.test"}) as (inside, path):
            refused = await _shell(inside, "curl -sSi http://x.test/")
            assert refused.startswith("HTTP/1.1 502 the proxy of this sandbox does not run")
            async with responding(path):
                assert "GET http://x.test/" in await _shell(inside, "curl -sS http://x.test/")
                assert await _shell(inside, "curl -s --noproxy '*' http://1.1.1.1/ || true") == ""
                assert await _shell(inside, f"python3 -c '{TAKE_OVER}'") == "tried\n"
                assert "GET http://y.test/" in await _shell(inside, "curl -sS http://y.test/")
            assert await _shell(inside, "echo $HTTPS_PROXY") == "http://127.0.0.1:3128\n"
            assert await _shell(inside, "echo $NO_PROXY:$no_proxy") == "mine.test:\n"
            assert (await _shell(inside, "tail -3 $SSL_CERT_FILE")) == CERTIFICATE
            assert int(await _shell(inside, "grep -c BEGIN $REQUESTS_CA_BUNDLE")) > 50
            async with sending(path, 64 * 2**20):
                much = await _shell(inside, "curl -sS http://x.test/ | wc -c")
            assert int(much) == 64 * 2**20


@asynccontextmanager
async def sending(path: Path, size: int) -> AsyncIterator[None]:
    """A host that answers with so many bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            writer.write(bytes(2**20))
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path) as server:
        os.chmod(path, 0o666)
        yield
        server.close()
