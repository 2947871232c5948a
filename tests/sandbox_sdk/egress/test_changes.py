"""A policy that changes while connections are open, and the caps of a sandbox."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Answer, Client, Server, ask, last
from tests.sandbox_sdk.egress.test_hello import greeting
from tests.services.web import Web

MIB = 1024 * 1024


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


async def _flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(bytes(65_536))
        await writer.drain()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _tunnel(client: Client, server: Server, first: bytes = b"ping") -> None:
    """Opens a tunnel to a server that echoes and sees that it works."""
    await client.connect_to(f"raw.test:{server.port}")
    await client.send(first)
    assert await client.exactly(len(first)) == first


CLOSING: dict[str, Any] = {
    "no policy": None,
    "nothing allowed": EgressPolicy(),
    "another host": EgressPolicy(allow=("other.test",)),
}


@pytest.mark.parametrize("change", [*CLOSING, "denied", "address", "only TLS"])
async def test_a_tunnel_that_is_no_longer_allowed_is_closed(
    proxy: EgressProxy, socket_path: Path, change: str
) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any"))
        await _tunnel(client, server)

        changed = {
            **CLOSING,
            "denied": server.policy(tunnel="any", deny=["raw.test"]),
            "address": server.policy(tunnel="any", hosts={"raw.test": "127.0.0.2"}),
            "only TLS": server.policy(),
        }
        proxy.set_policy(changed[change])

        assert await client.rest() == b""
        await eventually(lambda: last(proxy).ended)
        assert last(proxy).reason == Reason.POLICY_CHANGED


async def test_a_tunnel_that_is_still_allowed_goes_on(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        first = greeting("raw.test")
        await _tunnel(client, server, first)
        for policy in (server.policy(tunnel="any"), server.policy(deny=["evil.test"])):
            proxy.set_policy(policy)
            await client.send(b"ping")
            assert await client.exactly(4) == b"ping"
        assert not last(proxy).ended


async def test_a_running_download_ends_with_its_permission(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_flood) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await client.exactly(3 * MIB)

        proxy.set_policy(EgressPolicy())

        await client.rest()
        assert last(proxy).reason == Reason.POLICY_CHANGED
        assert last(proxy).received_bytes > 2 * MIB


async def test_a_request_without_an_answer_learns_that_the_policy_changed(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_hang) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await eventually(lambda: server.connections == 1)

        proxy.set_policy(EgressPolicy())

        answer = Answer.parse(await client.rest())
        assert (
            answer.status,
            answer.error["code"],
            answer.reason,
        ) == (403, "EGRESS_DENIED", "policy_changed")


NETWORKS = {"private_networks": ["127.0.0.0/8"]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hosts": {}}, b"HTTP/1.1 403 "),
        ({"hosts": {"raw.test": "127.0.0.1"}, **NETWORKS}, b"HTTP/1.1 200 "),
    ],
)
async def test_a_policy_that_changes_during_the_look_up_holds_for_its_answer(
    socket_path: Path, changes: dict[str, Any], expected: bytes
) -> None:
    loop = asyncio.get_running_loop()
    asked, go = asyncio.Event(), asyncio.Event()

    def look_up(host: str) -> list[str]:
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(5)
        return ["127.0.0.2"]

    async with Server(_echo) as server:
        resolver = Resolver(look_up)
        before = server.policy(tunnel="any", hosts={}, **NETWORKS)
        proxy = EgressProxy(before, resolver, name="s")
        await proxy.listen(socket_path)
        try:
            async with await Client.connect(socket_path) as client:
                head = f"CONNECT raw.test:{server.port} HTTP/1.1\r\nHost: a\r\n\r\n"
                await client.send(head.encode())
                await asked.wait()
                proxy.set_policy(server.policy(tunnel="any", **changes))
                go.set()

                assert (await client.head()).startswith(expected)
        finally:
            await proxy.aclose()
            await resolver.aclose()


async def test_a_policy_that_cannot_be_judged_by_lets_nothing_out(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    broken = EgressPolicy.model_construct(allow=None)
    with pytest.raises((TypeError, AttributeError)):
        proxy.set_policy(broken)

    answer = await ask(socket_path, web.url("/"))

    assert (answer.status, answer.reason) == (403, "no_policy")
    assert web.seen == []


async def test_connections_beyond_the_cap_are_refused_until_one_ends(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_echo) as server:
        proxy.set_policy(server.policy(tunnel="any", limits={"max_connections": 2}))
        async with await Client.connect(socket_path) as first:
            await _tunnel(first, server)
            async with await Client.connect(socket_path) as second:
                await _tunnel(second, server)

                answer = await ask(socket_path, server.url())

                assert (
                    answer.status,
                    answer.error["code"],
                    answer.reason,
                ) == (429, "QUOTA_EXCEEDED", "limit")
                assert server.connections == 2
            await eventually(lambda: sum(not each.ended for each in proxy.decisions()) == 1)
            async with await Client.connect(socket_path) as third:
                await _tunnel(third, server)


async def test_programs_that_only_connect_cost_little_and_are_turned_away(
    web: Web, proxy: EgressProxy, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sandbox_sdk.egress")
    web.text("/", "hello")
    silent = [await Client.connect(socket_path) for _ in range(200)]
    try:
        answer = Answer.parse(await silent[-1].rest())
        assert (answer.status, answer.error["code"]) == (429, "QUOTA_EXCEEDED")
        assert len(caplog.records) < 10, "and they cannot fill the log"
    finally:
        for client in silent:
            await client.__aexit__()

    async def served() -> bool:
        return (await ask(socket_path, web.url("/"))).status == 200

    await eventually(served)


@pytest.mark.parametrize("protocol", ["http", "connect"])
async def test_a_sandbox_receives_no_more_than_it_may(
    proxy: EgressProxy, socket_path: Path, protocol: str
) -> None:
    async with Server(_flood) as server:
        proxy.set_policy(server.policy(tunnel="any", limits={"max_received_mb": 2}))
        async with await Client.connect(socket_path) as client:
            if protocol == "http":
                await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            else:
                await client.connect_to(f"raw.test:{server.port}")
                await client.send(b"GET / HTTP/1.1\r\n\r\n")

            assert 2 * MIB <= len(await client.rest()) < 4 * MIB
        assert (last(proxy).allowed, last(proxy).reason) == (False, Reason.LIMIT)

        answer = await ask(socket_path, server.url())
        assert (answer.status, answer.reason) == (429, "limit")
        assert "2 MiB" in answer.error["message"]

        proxy.set_policy(server.policy(tunnel="any", limits={"max_received_mb": 100}))
        async with await Client.connect(socket_path) as client:
            await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await client.exactly(1000)


@pytest.mark.parametrize("protocol", ["http", "connect"])
async def test_a_sandbox_sends_no_more_than_it_may(
    proxy: EgressProxy, socket_path: Path, protocol: str
) -> None:
    async with Server(_hang) as server:
        proxy.set_policy(server.policy(tunnel="any", limits={"max_sent_mb": 1}))
        async with await Client.connect(socket_path) as client:
            if protocol == "http":
                head = f"PUT {server.url()} HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"
                await client.send(head.encode())
            else:
                await client.connect_to(f"raw.test:{server.port}")
            await client.send(bytes(5_000_000))
            answer = await client.rest()
        assert last(proxy).reason == Reason.LIMIT
        assert last(proxy).sent_bytes < 4 * MIB
        assert answer.startswith(b"HTTP/1.1 429 ") == (protocol == "http")


@pytest.mark.parametrize("protocol", ["http", "connect"])
@pytest.mark.parametrize("limit", ["idle_timeout_s", "max_connection_s"])
async def test_an_idle_or_old_connection_is_closed(
    proxy: EgressProxy, socket_path: Path, protocol: str, limit: str
) -> None:
    async with Server(_hang) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any", limits={limit: 0.1}))
        if protocol == "http":
            await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = Answer.parse(await client.rest())
            assert (answer.status, answer.error["code"]) == (504, "TIMEOUT")
        else:
            await client.connect_to(f"raw.test:{server.port}")
            assert await client.rest() == b""
        assert (last(proxy).allowed, last(proxy).reason) == (True, Reason.TIMEOUT)


async def test_a_connection_that_keeps_moving_is_not_idle(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any", limits={"idle_timeout_s": 0.5}))
        await _tunnel(client, server)
        for _ in range(10):
            await asyncio.sleep(0.1)
            await client.send(b"ping")
            assert await client.exactly(4) == b"ping"


async def test_other_limits_hold_at_once(proxy: EgressProxy, socket_path: Path) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any"))
        await _tunnel(client, server)
        proxy.set_policy(server.policy(tunnel="any", limits={"idle_timeout_s": 0.05}))

        assert await client.rest() == b""
        assert last(proxy).reason == Reason.TIMEOUT
