"""A proxy's own life: where it listens, what it costs, how it survives and how it ends."""

import asyncio
import gc
import os
import resource
import ssl
import stat
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Answer, Client, Server, ask, last, talk
from tests.services.web import Answer as Route
from tests.services.web import Web

Scene = Callable[[Web, Path], Coroutine[Any, Any, None]]


@asynccontextmanager
async def _proxy(policy: EgressPolicy | None, path: Path) -> AsyncIterator[EgressProxy]:
    resolver = Resolver()
    proxy = EgressProxy(policy, resolver, name="s")
    await proxy.listen(path)
    try:
        yield proxy
    finally:
        await proxy.aclose()
        await resolver.aclose()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _left_behind(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("by a server that died")
    return path


async def test_everyone_may_use_the_socket_and_nobody_may_list_its_folder(
    proxy: EgressProxy, socket_path: Path
) -> None:
    assert _mode(socket_path.parent) == 0o711
    assert _mode(socket_path) == 0o666


async def test_a_long_path_and_a_socket_left_behind_are_no_obstacle(
    web: Web, state_dir: Path
) -> None:
    path = _left_behind(state_dir / ("long" * 40) / "egress" / "egress.sock")
    async with _proxy(EgressPolicy(), path):
        folder = os.open(path.parent, os.O_PATH)
        try:
            raw = await talk(Path(f"/proc/self/fd/{folder}/{path.name}"), b"GET / HTTP/1.1\r\n\r\n")
        finally:
            os.close(folder)
        assert raw.startswith(b"HTTP/1.1 400 ")


async def test_a_link_in_place_of_the_folder_is_not_followed(state_dir: Path) -> None:
    os.symlink("/tmp", state_dir / "egress")
    proxy = EgressProxy(None, Resolver(), name="s")

    with pytest.raises(OSError, match="egress"):
        await proxy.listen(state_dir / "egress" / "egress.sock")
    await proxy.aclose()


async def test_closing_ends_sixty_four_live_connections_and_leaves_nothing(
    socket_path: Path,
) -> None:
    before, tasks_before = _descriptors(), len(asyncio.all_tasks())
    async with Server(_hang) as server:
        policy = server.policy(tunnel="any", limits={"max_connections": 64})
        async with _proxy(policy, socket_path) as proxy:
            clients = [await Client.connect(socket_path) for _ in range(64)]
            head = f"CONNECT raw.test:{server.port} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            get = f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
            for index, client in enumerate(clients):
                await client.send((head, get, b"GET htt", b"\x05\x01")[index % 4])
            await eventually(lambda: server.connections == 32)

            async with asyncio.timeout(1):
                await proxy.aclose()
                await proxy.aclose()

            assert all(each.ended for each in proxy.decisions())
            for client in clients:
                await client.rest()
                await client.__aexit__()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(socket_path)
    await eventually(lambda: len(asyncio.all_tasks()) == tasks_before)
    gc.collect()
    assert _descriptors() <= before


def _room_for(count: int) -> int:
    """The limit under which so many more descriptors can be opened."""
    taken = {int(each) for each in os.listdir("/proc/self/fd")}
    with open(os.devnull) as lowest:
        taken.discard(lowest.fileno())  # it was that of the folder above
    free = (number for number in range(10_000) if number not in taken)
    return [next(free) for _ in range(count)][-1] + 1


async def test_running_out_of_descriptors_is_survived(
    web: Web, proxy: EgressProxy, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.text("/", "hello")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_room_for(1), hard))
    try:
        client = await Client.connect(socket_path)
        await eventually(lambda: "Too many open files" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    async with client:
        await client.send(f"GET {web.url('/')} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert Answer.parse(await client.rest()).body == b"hello"
    said = [each.name for each in caplog.records if each.levelno >= 30]
    assert set(said) == {"sandbox_sdk.egress.proxy"}
    assert len(said) < 10


async def test_a_hundred_idle_proxies_cost_next_to_nothing(state_dir: Path) -> None:
    async with _proxy(EgressPolicy(allow=("*.site.test",)), state_dir / "0" / "s"):
        resolver = Resolver()
        policy = EgressPolicy(allow=("*.site.test", "other.test:8443"), deny=("evil.test",))
        gc.collect()
        tracemalloc.start()
        try:
            proxies = []
            for index in range(1, 101):
                proxies.append(EgressProxy(policy, resolver, name=f"s{index}"))
                await proxies[-1].listen(state_dir / str(index) / "s")
            gc.collect()
            size, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for proxy in proxies:
            await proxy.aclose()
        await resolver.aclose()

    assert size < 100 * 32_768


async def _pages(web: Web, path: Path) -> None:
    body = b"0123456789abcdef" * 65_536
    web.route("/file", lambda _: Route(body, content_type="application/octet-stream"))
    async with _proxy(EgressPolicy(**web.policy()), path):
        answers = await asyncio.gather(*(ask(path, web.url("/file")) for _ in range(64)))
        assert all(each.body == body for each in answers)


async def _tls(web: Web, path: Path) -> None:
    web.text("/", "hello")
    context = ssl.create_default_context(cafile=str(web.ca_file))
    async with _proxy(EgressPolicy(**web.policy()), path), await Client.connect(path) as client:
        await client.connect_to(f"site.test:{web.tls_port}")
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(
            client.writer.transport,
            client.writer.transport.get_protocol(),
            context,
            server_hostname="site.test",
        )
        assert transport is not None
        client.writer._transport = transport  # type: ignore[attr-defined]
        await client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")
        assert Answer.parse(await client.rest()).body == b"hello"


async def _injected(web: Web, path: Path) -> None:
    web.text("/", "hello")
    inject = [{"host": "site.test", "headers": {"Authorization": "secret"}}]
    async with _proxy(EgressPolicy.model_validate(web.policy(inject=inject)), path):
        answer = await ask(path, f"http://site.test:{web.tls_port}/")
    assert (answer.body, web.seen[-1].headers["authorization"]) == (b"hello", "secret")


async def _changes(web: Web, path: Path) -> None:
    async with Server(_hang) as server, _proxy(server.policy(tunnel="any"), path) as proxy:
        tunnels, request = await Client.connect(path), await Client.connect(path)
        async with tunnels, request:
            await tunnels.connect_to(f"raw.test:{server.port}")
            await request.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await eventually(lambda: server.connections == 2)
            proxy.set_policy(None)
            assert await tunnels.rest() == b""
            assert (await request.rest()).startswith(b"HTTP/1.1 403 ")
        assert {Reason.POLICY_CHANGED} == {each.reason for each in proxy.decisions()}


async def _refusals(web: Web, path: Path) -> None:
    async with _proxy(EgressPolicy(**web.policy()), path) as proxy:
        assert (await ask(path, web.url("/", host="evil.test"))).status == 403
        assert (await talk(path, b"\x05\x01\x00\x05\x01\x00\x03\x04evil\x00\x50"))[3] == 2
        async with await Client.connect(path) as gone:
            await gone.send(f"GET {web.url('/')} HTTP/1.1\r\nHost: a\r\n".encode())
        assert last(proxy).protocol == "socks"


@pytest.mark.parametrize("scene", [_pages, _tls, _injected, _changes, _refusals])
def test_everything_works_on_the_servers_own_event_loop(
    web: Web, socket_path: Path, scene: Scene
) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene(web, socket_path))
