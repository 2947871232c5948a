"""Tunnels: TLS for the host that was asked for, and nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.hello import ACCESS_DENIED
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from sandbox_sdk.egress.resolver import Resolver
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Answer, Client, Server, last
from tests.sandbox_sdk.egress.test_hello import GREETING, greeting, records
from tests.services.web import Web

Policy = Callable[..., EgressPolicy]
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_tls_goes_through_untouched(web: Web, proxy: EgressProxy, socket_path: Path) -> None:
    web.text("/", "hello")
    async with await Client.connect(socket_path) as client:
        assert await client.connect_to(f"site.test:{web.tls_port}") == ESTABLISHED
        await client.start_tls(web.ca_file, "site.test")
        await client.send(b"GET / HTTP/1.0\r\nHost: site.test\r\n\r\n")

        assert Answer.parse(await client.rest()).body == b"hello"

    await eventually(lambda: last(proxy).ended)
    decision = last(proxy)
    assert (decision.allowed, decision.protocol, decision.method) == (True, "connect", "CONNECT")
    assert decision.sent_bytes > len(GREETING) / 2
    assert decision.received_bytes > 500


@pytest.mark.parametrize("name", ["other.test", "evil.test", None])
async def test_tls_for_another_server_is_cut_before_it_leaves(
    proxy: EgressProxy, socket_path: Path, name: str | None
) -> None:
    async with Server(_drain) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        await client.connect_to(f"raw.test:{server.port}")
        await client.send(greeting(name))

        assert await client.rest() == ACCESS_DENIED

        decision = last(proxy)
        assert (
            decision.allowed,
            decision.reason,
            decision.sent_bytes,
        ) == (False, Reason.SERVER_NAME, 0)
        assert (name or "no server") in decision.message


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x00"],
)
async def test_what_is_not_tls_is_cut_before_it_leaves(
    proxy: EgressProxy, socket_path: Path, data: bytes
) -> None:
    async with Server(_drain) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        await client.connect_to(f"raw.test:{server.port}")
        await client.send(data)

        assert await client.rest() == b""

        decision = last(proxy)
        assert (
            decision.allowed,
            decision.reason,
            decision.sent_bytes,
        ) == (False, Reason.NOT_TLS, 0)


async def _drain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert await reader.read() == b"", "something got out"


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"the end")


@pytest.mark.parametrize("step", [1, 100, None])
async def test_a_greeting_arrives_as_it_was_sent_however_it_was_cut(
    proxy: EgressProxy, socket_path: Path, step: int | None
) -> None:
    data = records(greeting("raw.test")[5:], 40) + b"\x17\x03\x03\x00\x05early"
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        await client.connect_to(f"raw.test:{server.port}")
        for at in range(0, len(data), step or len(data)):
            await client.send(data[at : at + (step or len(data))])
            await asyncio.sleep(0)

        assert await client.exactly(len(data)) == data


async def test_a_greeting_sent_along_with_the_request_is_not_lost(
    proxy: EgressProxy, socket_path: Path
) -> None:
    data = greeting("raw.test")
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        head = f"CONNECT raw.test:{server.port} HTTP/1.1\r\nHost: raw.test\r\n\r\n"
        await client.send(head.encode() + data)

        assert await client.exactly(len(ESTABLISHED) + len(data)) == ESTABLISHED + data


async def test_a_greeting_that_does_not_come_is_not_waited_for(
    resolver: Resolver, socket_path: Path
) -> None:
    async with Server(_drain) as server:
        impatient = EgressProxy(server.policy(), resolver, name="s", patience_s=0.1)
        await impatient.listen(socket_path)
        try:
            async with await Client.connect(socket_path) as client:
                await client.connect_to(f"raw.test:{server.port}")
                await client.send(GREETING[:20])

                assert await client.rest() == b""
            assert last(impatient).reason == Reason.NOT_TLS
        finally:
            await impatient.aclose()


async def test_a_tunnel_opened_and_closed_without_a_word_is_no_offence(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_drain) as server:
        proxy.set_policy(server.policy())
        async with await Client.connect(socket_path) as client:
            await client.connect_to(f"raw.test:{server.port}")

        await eventually(lambda: last(proxy).ended)
        assert last(proxy).allowed


async def test_a_rule_may_open_a_tunnel_to_every_protocol(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any"))
        head = f"CONNECT raw.test:{server.port} HTTP/1.1\r\nHost: raw.test\r\n\r\nSSH-2.0-early"
        await client.send(head.encode())

        assert await client.exactly(len(ESTABLISHED) + 13) == ESTABLISHED + b"SSH-2.0-early"
        await client.send(b"x" * 3_000_000)
        client.end()
        assert await client.rest() == b"x" * 3_000_000 + b"the end", "half of it stays open"


async def test_a_server_may_speak_first_in_an_open_tunnel(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome\r\n")
        await reader.readline()

    async with Server(serve) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any"))
        await client.connect_to(f"raw.test:{server.port}")

        assert await client.exactly(13) == b"220 welcome\r\n"


async def test_a_tunnel_to_an_address_carries_tls_without_a_name(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    web.text("/", "hello")
    proxy.set_policy(EgressPolicy.model_validate({"allow": [f"127.0.0.1:{web.tls_port}"]}))
    async with await Client.connect(socket_path) as client:
        await client.connect_to(f"127.0.0.1:{web.tls_port}")
        await client.start_tls(web.ca_file, "127.0.0.1")
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert Answer.parse(await client.rest()).body == b"hello"

    async with await Client.connect(socket_path) as client:
        await client.connect_to(f"127.0.0.1:{web.tls_port}")
        await client.send(greeting("site.test"))
        assert await client.rest() == ACCESS_DENIED


async def test_an_ipv6_address_can_be_asked_for(proxy: EgressProxy, socket_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"six")
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    rule = {"host": "::1", "ports": [port], "tunnel": "any"}
    proxy.set_policy(EgressPolicy.model_validate({"allow": [rule]}))
    async with server, await Client.connect(socket_path) as client:
        assert await client.connect_to(f"[0:0::1]:{port}") == ESTABLISHED

        assert await client.rest() == b"six"
        assert ("::1", port) == (last(proxy).host, last(proxy).port)


@pytest.mark.parametrize(
    ("authority", "status"),
    [
        ("evil.test:443", 403),
        ("site.test:22", 403),
        ("127.0.0.1:{port}", 403),
        ("[::1]:{port}", 403),
        ("[::ffff:7f00:1]:{port}", 403),
        ("169.254.169.254:80", 403),
        ("site.test", 400),
        ("site.test:", 400),
        ("site.test:0", 400),
        ("site.test:65536", 400),
        ("site.test:443:443", 400),
        ("site.test:\uff14\uff14\uff13", 400),
        ("site.test: 443", 400),
        ("::1:443", 400),
        ("[::1]443", 400),
        ("[::1", 400),
        ("[site.test]:443", 400),
        ("[fe80::1%lo]:443", 400),
        ("user@site.test:443", 400),
        ("http://site.test:443", 400),
        ("site.test:443/path", 400),
        ("site.test\\evil.test:443", 400),
        (":443", 400),
    ],
)
async def test_a_tunnel_that_may_not_be_is_refused(
    web: Web, proxy: EgressProxy, socket_path: Path, authority: str, status: int
) -> None:
    async with await Client.connect(socket_path) as client:
        authority = authority.replace("{port}", str(web.tls_port))
        await client.send(f"CONNECT {authority} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

        answer = Answer.parse(await client.rest())

    assert status == answer.status
    assert (last(proxy).allowed, last(proxy).ended) == (False, True)
    assert last(proxy).protocol == "connect" or status == 400


@pytest.mark.parametrize("line", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_tunnel_is_not_asked_for_with_a_body(
    web: Web, proxy: EgressProxy, socket_path: Path, line: str
) -> None:
    async with await Client.connect(socket_path) as client:
        head = f"CONNECT site.test:{web.tls_port} HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"
        await client.send(head.encode())

        assert Answer.parse(await client.rest()).status == 400


class FickleNames:
    """A name service that answers differently each time."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = iter(answers)
        self.asked = 0

    def look_up(self, host: str) -> list[str]:
        self.asked += 1
        return next(self._answers)


async def _with_names(names: FickleNames, socket_path: Path, policy: Mapping[str, object]) -> None:
    resolver = Resolver(names.look_up)
    proxy = EgressProxy(EgressPolicy.model_validate(policy), resolver, name="s")
    await proxy.listen(socket_path)
    try:
        async with await Client.connect(socket_path) as client:
            await client.send(b"CONNECT raw.test:443 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = Answer.parse(await client.rest())
        assert (answer.status, answer.reason) == (403, "private_address")
    finally:
        await proxy.aclose()
        await resolver.aclose()


async def test_one_private_address_among_public_ones_refuses_the_name(socket_path: Path) -> None:
    names = FickleNames(["93.184.216.34", "127.0.0.1"])

    await _with_names(names, socket_path, {"allow": ["raw.test"]})


async def test_a_name_is_asked_for_once_and_then_connected_to_as_it_was_checked(
    socket_path: Path,
) -> None:
    async with Server(_echo) as server:
        names = FickleNames(["127.0.0.1"], ["127.0.0.2"])
        resolver = Resolver(names.look_up)
        policy = server.policy(tunnel="any", hosts={}, private_networks=["127.0.0.1"])
        proxy = EgressProxy(policy, resolver, name="s")
        await proxy.listen(socket_path)
        try:
            async with await Client.connect(socket_path) as client:
                assert await client.connect_to(f"raw.test:{server.port}") == ESTABLISHED
            assert names.asked == 1
            assert last(proxy).address == "127.0.0.1"

            async with await Client.connect(socket_path) as client:
                refused = await client.connect_to(f"raw.test:{server.port}")
            assert refused.startswith(b"HTTP/1.1 403 ")
            assert names.asked == 2
            assert server.connections == 1
        finally:
            await proxy.aclose()
            await resolver.aclose()


async def test_the_next_address_is_tried_where_one_refuses(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_echo) as server, await Client.connect(socket_path) as client:
        hosts = {"raw.test": ["127.0.0.9", "::1", "127.0.0.1"]}
        proxy.set_policy(server.policy(tunnel="any", hosts=hosts))

        assert await client.connect_to(f"raw.test:{server.port}") == ESTABLISHED
        assert last(proxy).address == "127.0.0.1"


class BrokenNames(Resolver):
    """A resolver with a fault of its own."""

    async def resolve(self, *args: object, **options: object) -> tuple:
        raise ZeroDivisionError


async def test_a_fault_in_the_proxy_lets_nothing_out_and_leaves_it_up(
    web: Web, policy: Policy, socket_path: Path
) -> None:
    proxy = EgressProxy(policy(), BrokenNames(), name="s")
    await proxy.listen(socket_path)
    try:
        for _ in range(2):
            async with await Client.connect(socket_path) as client:
                await client.send(
                    b"CONNECT site.test:%d HTTP/1.1\r\nHost: a\r\n\r\n" % web.tls_port
                )
                assert Answer.parse(await client.rest()).status == 502
        assert not any("division" in each.message for each in proxy.decisions())
    finally:
        await proxy.aclose()
