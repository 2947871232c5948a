"""SOCKS5 on the socket that also speaks HTTP."""

import asyncio
import socket
from pathlib import Path

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Client, Forwarder, Server, last, run
from tests.sandbox_sdk.egress.test_hello import greeting
from tests.services.web import Web

HELLO = b"\x05\x01\x00"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def by_name(name: bytes, port: int, *, command: int = 1) -> bytes:
    head = bytes((5, command, 0, 3, len(name)))
    return head + name + port.to_bytes(2, "big")


async def say(client: Client, request: bytes) -> bytes:
    """The reply to a request, after the greeting."""
    await client.send(HELLO)
    assert await client.exactly(2) == b"\x05\x00"
    await client.send(request)
    return await client.exactly(10)


async def test_curl_gets_a_page_through_socks(
    web: Web, proxy: EgressProxy, forwarder: Forwarder
) -> None:
    web.text("/", "hello")
    url = f"socks5h://127.0.0.1:{forwarder.port}"

    for host, expected in (("site.test", (0, "hello")), ("evil.test", (97, ""))):
        code, out, _ = await run(
            "curl",
            "-sS",
            "--cacert",
            str(web.ca_file),
            "-x",
            url,
            web.url("/", host=host, tls=True),
        )
        assert expected == (code, out)

    await eventually(lambda: all(each.ended for each in proxy.decisions()))
    allowed, denied = proxy.decisions()
    assert (
        allowed.protocol,
        allowed.method,
        allowed.host,
        allowed.allowed,
    ) == ("socks", "", "site.test", True)
    assert (denied.reason, denied.host) == (Reason.NOT_ALLOWED, "evil.test")


async def test_all_at_once_is_as_good_as_step_by_step(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))

    async with Server(serve) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any"))
        await client.send(HELLO + by_name(b"raw.test", server.port) + b"early")

        assert await client.rest() == b"\x05\x00" + GRANTED + b"early"


@pytest.mark.parametrize(
    "name",
    [
        b"evil.test\0.site.test",
        b"site.test\0",
        b"\0",
        b"",
        b"site test",
        b"site.test\n",
        "s\u0131te.test".encode(),
        b"site\xfftest",
        b"user@site.test",
        b"site.test/",
    ],
)
async def test_a_name_with_foreign_characters_is_refused(
    web: Web, proxy: EgressProxy, socket_path: Path, name: bytes
) -> None:
    async with await Client.connect(socket_path) as client:
        reply = await say(client, by_name(name, web.tls_port))

        assert reply[:2] in (b"\x05\x01", b"\x05\x02")
        assert await client.rest() == b""
    assert not last(proxy).allowed


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (by_name(b"evil.test", 443), 2),
        (by_name(b"site.test", 22), 2),
        (by_name(b"127.0.0.1", 443), 2),
        (by_name(b"site.test", 0), 1),
        (by_name(b"missing.invalid", 443), 4),
        (by_name(b"closed.test", 9), 5),
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", 2),
        (b"\x05\x01\x00\x01\xa9\xfe\xa9\xfe\x00\x50", 2),
        (b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, "::1") + b"\x01\xbb", 2),
        (b"\x05\x01\x00\x04" + socket.inet_pton(socket.AF_INET6, "::ffff:1.2.3.4") + b"\0\x16", 2),
        (by_name(b"site.test", 443, command=2), 7),
        (by_name(b"site.test", 443, command=3), 7),
        (b"\x05\x01\x00\x02", 8),
        (b"\x04\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", 1),
    ],
)
async def test_each_refusal_has_its_code(
    proxy: EgressProxy, socket_path: Path, request_bytes: bytes, code: int
) -> None:
    allow = ["site.test", "missing.invalid", "closed.test:9"]
    hosts = {"site.test": "127.0.0.1", "closed.test": "127.0.0.1"}
    proxy.set_policy(EgressPolicy.model_validate({"allow": allow, "hosts": hosts}))
    async with await Client.connect(socket_path) as client:
        reply = await say(client, request_bytes)

        assert (5, code) == (reply[0], reply[1])
        assert await client.rest() == b""


@pytest.mark.parametrize("hello", [b"\x05\x01\x02", b"\x05\x00", b"\x05\x02\x01\x02"])
async def test_only_clients_that_need_no_password_are_served(
    proxy: EgressProxy, socket_path: Path, hello: bytes
) -> None:
    async with await Client.connect(socket_path) as client:
        await client.send(hello)

        assert await client.rest() == b"\x05\xff"


async def test_the_tls_in_it_must_ask_for_the_host(proxy: EgressProxy, socket_path: Path) -> None:
    for data in (greeting("evil.test"), b"GET / HTTP/1.1\r\n\r\n"):
        async with Server() as server, await Client.connect(socket_path) as client:
            proxy.set_policy(server.policy())
            assert await say(client, by_name(b"RAW.test.", server.port)) == GRANTED
            await client.send(data)
            await client.rest()

            assert last(proxy).reason in (Reason.SERVER_NAME, Reason.NOT_TLS)
            assert last(proxy).sent_bytes == 0


async def test_a_request_that_breaks_off_is_no_offence(
    proxy: EgressProxy, socket_path: Path
) -> None:
    whole = HELLO + by_name(b"site.test", 443)
    for size in range(1, len(whole)):
        async with await Client.connect(socket_path) as client:
            await client.send(whole[:size])
            client.end()
            await client.rest()

    assert proxy.decisions() == ()
