"""Headers with secrets, which the proxy adds and the sandbox never sees."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Client, Server, ask, last
from tests.services.web import NAMES, Web

Policy = Callable[..., EgressPolicy]
SECRET = "Bearer hunter2"


def inject(host: str = "site.test", *, tls: bool = False) -> list[dict[str, object]]:
    return [{"host": host, "headers": {"Authorization": SECRET, "X-Token": "t"}, "tls": tls}]


async def test_the_header_goes_to_its_host_and_to_no_other(
    web: Web, proxy: EgressProxy, policy: Policy, socket_path: Path
) -> None:
    web.text("/", "hello")
    proxy.set_policy(policy(inject=inject()))

    for host in NAMES[:2]:
        assert (await ask(socket_path, web.url("/", host=host))).status == 200

    site, other = web.seen
    assert (site.headers["authorization"], site.headers["x-token"]) == (SECRET, "t")
    assert "authorization" not in other.headers
    assert "x-token" not in other.headers


@pytest.mark.parametrize("nominated", ["", "Connection: Authorization, X-Token\r\n"])
async def test_what_the_sandbox_sends_under_the_name_is_replaced(
    proxy: EgressProxy, socket_path: Path, nominated: str
) -> None:
    headers = "authorization: Basic mine\r\nAUTHORIZATION: x\r\n" + nominated
    async with Server() as server:
        proxy.set_policy(server.policy(inject=inject("raw.test")))

        answer = await ask(socket_path, server.url(), headers=headers)

    lines = answer.body.lower().split(b"\r\n")
    assert [line for line in lines if line.startswith(b"authorization")] == [
        b"authorization: bearer hunter2"
    ]


async def test_the_proxy_itself_speaks_tls_to_the_host(
    web: Web,
    proxy: EgressProxy,
    policy: Policy,
    socket_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    web.text("/", "hello" * 100_000)
    proxy.set_policy(policy(inject=inject(tls=True)))

    answer = await ask(
        socket_path,
        f"http://site.test:{web.tls_port}/",
        method="POST",
        headers="Content-Length: 300000\r\n",
        body=b"x" * 300_000,
    )

    assert (answer.status, answer.body) == (200, b"hello" * 100_000)
    [seen] = web.seen
    assert (seen.tls, seen.headers["authorization"], seen.body) == (True, SECRET, b"x" * 300_000)
    assert f"site.test:{web.tls_port}" == seen.host
    assert "hunter2" not in repr(proxy.decisions()) + caplog.text


async def test_the_default_port_of_such_a_request_is_that_of_https(
    proxy: EgressProxy, socket_path: Path
) -> None:
    hosts = {"site.test": "127.0.0.1"}
    proxy.set_policy(
        EgressPolicy.model_validate(
            {"allow": ["site.test:443"], "hosts": hosts, "inject": inject(tls=True)}
        )
    )

    answer = await ask(socket_path, "http://site.test/")

    assert (last(proxy).port, last(proxy).allowed) == (443, True)
    assert answer.status == 502, "nothing listens there"


async def test_a_server_that_cannot_prove_its_name_gets_no_secret(
    web: Web, proxy: EgressProxy, policy: Policy, socket_path: Path
) -> None:
    proxy.set_policy(policy(inject=inject(tls=True), ca_file=None))

    answer = await ask(socket_path, f"http://site.test:{web.tls_port}/")

    assert (answer.status, answer.error["code"], answer.reason) == (502, "TLS_ERROR", "tls")
    assert "certificate" in answer.error["message"]
    assert web.seen == []


async def test_a_certificate_for_another_name_is_not_accepted(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(web.authority.certificate("other.test"))
    async with Server(context=context) as server:
        proxy.set_policy(server.policy(inject=inject("raw.test", tls=True), ca_file=web.ca_file))

        answer = await ask(socket_path, server.url())

    assert (answer.status, answer.reason) == (502, "tls")


async def test_a_server_without_tls_gets_no_secret(
    web: Web, proxy: EgressProxy, policy: Policy, socket_path: Path
) -> None:
    proxy.set_policy(policy(inject=inject(tls=True)))

    answer = await ask(socket_path, web.url("/"))

    assert (answer.status, answer.error["code"]) == (502, "TLS_ERROR")
    assert web.seen == []


async def test_a_policy_that_denies_the_host_wins_over_its_headers(
    web: Web, proxy: EgressProxy, policy: Policy, socket_path: Path
) -> None:
    proxy.set_policy(policy(inject=inject(), deny=["site.test"]))

    answer = await ask(socket_path, web.url("/"))

    assert (answer.status, answer.reason) == (403, "denied")
    assert web.seen == []


@pytest.mark.parametrize("method", ["TRACE", "TRACK", "trace"])
async def test_a_method_that_would_show_the_header_is_refused(
    proxy: EgressProxy, socket_path: Path, method: str
) -> None:
    async with Server() as server:
        proxy.set_policy(server.policy(inject=inject("raw.test")))

        answer = await ask(socket_path, server.url(), method=method)

        assert answer.status == 400
        assert server.connections == 0


async def test_nothing_is_added_inside_a_tunnel(proxy: EgressProxy, socket_path: Path) -> None:
    async with Server() as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(tunnel="any", inject=inject("raw.test")))
        await client.connect_to(f"raw.test:{server.port}")
        await client.send(b"GET / HTTP/1.1\r\nHost: raw.test\r\n\r\n")

        assert b"hunter2" not in await client.rest()


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_a_changed_secret_ends_what_was_sent_with_the_old_one(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server(_hang) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy(inject=inject("raw.test")))
        await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await eventually(lambda: server.connections == 1)
        proxy.set_policy(server.policy())

        assert (await client.rest()).startswith(b"HTTP/1.1 403 ")
        assert last(proxy).reason == Reason.POLICY_CHANGED
