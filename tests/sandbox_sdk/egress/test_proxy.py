"""Plain HTTP requests through the proxy: what reaches a server, what does not, and what is said."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sandbox_sdk.egress.decision import Reason
from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from tests.fakes import eventually
from tests.sandbox_sdk.egress.client import Answer, Client, Forwarder, Server, ask, last, run, talk
from tests.services.web import Answer as Route
from tests.services.web import Web

Policy = Callable[..., EgressPolicy]


async def test_a_page_comes_back_and_is_logged(
    web: Web, proxy: EgressProxy, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sandbox_sdk.egress")
    web.text("/page", "hello")

    answer = await ask(socket_path, web.url("/page?q=1"))

    assert (answer.status, answer.body) == (200, b"hello")
    assert ("/page", "q=1", f"site.test:{web.port}") == (
        web.seen[0].path,
        web.seen[0].query,
        web.seen[0].host,
    )
    await eventually(lambda: last(proxy).ended)
    decision = last(proxy)
    assert decision.allowed
    assert ("http", "GET", "site.test", web.port) == (
        decision.protocol,
        decision.method,
        decision.host,
        decision.port,
    )
    assert decision.address == "127.0.0.1"
    assert decision.rule.startswith("site.test")
    assert decision.sent_bytes > 50
    assert decision.received_bytes > len(b"hello")
    [record] = [each for each in caplog.records if each.name == "sandbox_sdk.egress"]
    assert record.levelno == logging.INFO
    assert "sandbox-1" in record.getMessage()
    assert "site.test" in record.getMessage()


async def test_a_host_that_is_not_allowed_is_refused_with_the_reason(
    web: Web, proxy: EgressProxy, socket_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="sandbox_sdk.egress")

    answer = await ask(socket_path, web.url("/secret", host="evil.test"))

    assert answer.status == 403
    assert answer.headers["x-egress-error"] == "EGRESS_DENIED"
    assert answer.headers["connection"] == "close"
    assert answer.error["details"] == {
        "host": "evil.test",
        "port": web.port,
        "reason": "not_allowed",
    }
    assert "evil.test" in answer.phrase
    assert answer.phrase.isascii()
    assert answer.phrase.isprintable()
    assert "site.test" in answer.error["hint"]
    assert web.seen == []
    assert (
        last(proxy).allowed,
        last(proxy).reason,
        last(proxy).ended,
    ) == (False, Reason.NOT_ALLOWED, True)
    [record] = [each for each in caplog.records if each.name == "sandbox_sdk.egress"]
    assert record.levelno == logging.WARNING
    assert "evil.test" in record.getMessage()
    assert "secret" not in record.getMessage()


async def test_without_a_policy_nothing_goes_out(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    proxy.set_policy(None)

    answer = await ask(socket_path, web.url("/"))

    assert (answer.status, answer.reason) == (403, "no_policy")
    assert web.seen == []


async def test_a_refused_head_request_gets_no_body(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    answer = await ask(socket_path, web.url("/", host="evil.test"), method="HEAD")

    assert (
        answer.status,
        answer.body,
        answer.headers["x-egress-error"],
    ) == (403, b"", "EGRESS_DENIED")


async def test_the_head_is_written_anew(proxy: EgressProxy, socket_path: Path) -> None:
    headers = (
        "Connection: X-Private, keep-alive\r\n"
        "Proxy-Connection: keep-alive\r\n"
        "Proxy-Authorization: Basic c2VjcmV0\r\n"
        "Keep-Alive: timeout=5\r\n"
        "TE: trailers\r\n"
        "Upgrade: websocket\r\n"
        "X-Private: for the proxy\r\n"
        "X-Kept:   Value \r\n"
        "Cookie: a=b\r\n"
    )
    async with Server() as server:
        proxy.set_policy(server.policy())

        answer = await ask(socket_path, f"HTTP://RAW.test.:{server.port}?a=b", headers=headers)

    assert answer.body.split(b"\r\n") == [
        b"GET /?a=b HTTP/1.1",
        b"Host: raw.test:%d" % server.port,
        b"X-Kept: Value",
        b"Cookie: a=b",
        b"Connection: close",
        b"",
        b"",
    ]


@pytest.mark.parametrize(
    ("method", "path", "first"),
    [
        ("OPTIONS", "", b"OPTIONS * HTTP/1.1"),
        ("OPTIONS", "/a", b"OPTIONS /a HTTP/1.1"),
        ("GET", "", b"GET / HTTP/1.1"),
        ("GET", "//double/../%2e%2e/", b"GET //double/../%2e%2e/ HTTP/1.1"),
        ("PROPFIND", "/dav", b"PROPFIND /dav HTTP/1.1"),
    ],
)
async def test_the_path_is_passed_on_as_it_is(
    proxy: EgressProxy, socket_path: Path, method: str, path: str, first: bytes
) -> None:
    async with Server() as server:
        proxy.set_policy(server.policy())

        answer = await ask(socket_path, server.url(path), method=method)

    assert answer.body.split(b"\r\n")[0] == first


async def test_an_old_client_gets_an_answer_it_can_read(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async with Server() as server:
        proxy.set_policy(server.policy())

        raw = await talk(socket_path, f"GET {server.url('/old')} HTTP/1.0\r\n\r\n".encode())

    assert Answer.parse(raw).body.startswith(b"GET /old HTTP/1.0\r\nHost: raw.test")


async def test_a_host_header_for_another_site_is_replaced(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    web.text("/", "hello")
    head = f"GET {web.url('/')} HTTP/1.1\r\nHost: evil.test\r\n\r\n"

    answer = Answer.parse(await talk(socket_path, head.encode()))

    assert answer.status == 200
    assert [f"site.test:{web.port}"] == [request.host for request in web.seen]


@pytest.mark.parametrize("body", [b"", b"12345"])
async def test_a_second_request_on_the_connection_goes_nowhere(
    web: Web, proxy: EgressProxy, socket_path: Path, body: bytes
) -> None:
    web.text("/1", "first")
    second = f"GET {web.url('/2', host='other.test')} HTTP/1.1\r\nHost: other.test\r\n\r\n"
    headers = f"Content-Length: {len(body)}\r\n" if body else ""

    method = "POST" if body else "GET"
    answer = await ask(
        socket_path, web.url("/1"), method=method, headers=headers, body=body + second.encode()
    )

    assert answer.body == b"first"
    assert [("/1", body)] == [(request.path, request.body) for request in web.seen]
    assert len(proxy.decisions()) == 1


async def test_an_answer_is_not_lost_to_what_was_left_unread(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    web.text("/", "hello")
    request = f"GET {web.url('/')} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode()
    for extra in (request, request * 2000):
        async with await Client.connect(socket_path) as client:
            await client.send(request + extra)

            # Without a reset at its end: a pipe between may drop an answer that ends in one.
            assert Answer.parse(await client.reader.read()).body == b"hello"


async def test_a_second_request_sent_later_goes_nowhere(
    proxy: EgressProxy, socket_path: Path
) -> None:
    told = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\n")
        await told.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                assert await reader.read(1) == b""
        writer.write(b"done")

    async with Server(serve) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        request = f"GET {server.url()} HTTP/1.1\r\nHost: raw.test\r\n\r\n".encode()
        await client.send(request)
        await client.head()
        await client.send(request)
        told.set()

        assert await client.rest() == b"done"
        assert server.connections == 1


MALFORMED = [
    "GET / HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "GET /site.test HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: site.test\r\n\r\n",
    "GET https://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET ftp://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http:/{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http:////{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http:///{host} HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://user:hunter2@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://evil.test\\@{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}\\@evil.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}#@evil.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}/#fragment HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://site.test%00.evil.test/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://site.test:99999/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://site.test:0/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://site.test:/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://site.test:80:80/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://[::1/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://[fe80::1%25lo]/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://[127.0.0.1]/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}/a b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}/\x00 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET http://{host}/ HTTP/1.1\r\n\r\n",
    "GET http://{host}/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET http://{host}/ HTTP/2.0\r\nHost: {host}\r\n\r\n",
    "GET http://{host}/\r\n\r\n",
    "GET http://{host}/ HTTP/1.1\r\nHost : {host}\r\n\r\n",
    "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n\r\n",
    "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n\r\n",
    "G@T http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "\r\nGET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01",
    "SSH-2.0-OpenSSH_9.2\r\n\r\n",
]

SMUGGLED = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5, 6\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: \r\n",
    "Content-Length: 123456789012345678901\r\n",
]
SMUGGLED = ["POST http://{host}/ HTTP/1.1\r\nHost: {host}\r\n" + each + "\r\n" for each in SMUGGLED]
SMUGGLED += ["POST http://{host}/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]


@pytest.mark.parametrize("head", MALFORMED + SMUGGLED)
async def test_a_malformed_or_ambiguous_request_is_refused(
    web: Web,
    proxy: EgressProxy,
    socket_path: Path,
    head: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    web.text("/", "hello")
    request = head.replace("{host}", f"site.test:{web.port}")

    answer = Answer.parse(await talk(socket_path, request.encode() + b"0\r\n\r\nGET / HTTP/1.1"))

    assert (answer.status, answer.error["code"]) == (400, "INVALID_ARGUMENT")
    assert answer.reason in ("bad_request", "bad_host")
    assert web.seen == []
    assert not last(proxy).allowed
    assert "hunter2" not in repr(proxy.decisions()) + caplog.text + repr(answer)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://evilsite.test:{port}/",
        "http://site.test.evil.test:{port}/",
        "http://site.test:22/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://_/",
        "http://site..test:{port}/",
    ],
)
async def test_other_ways_to_write_a_host_lead_nowhere(
    web: Web, proxy: EgressProxy, socket_path: Path, url: str
) -> None:
    web.text("/", "hello")

    answer = await ask(socket_path, url.replace("{port}", str(web.port)))

    assert answer.status in (400, 403)
    assert web.seen == []


async def test_an_address_of_the_cloud_stays_out_of_reach_where_everything_public_is_allowed(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    proxy.set_policy(EgressPolicy(allow=("*",)))

    answer = await ask(socket_path, "http://169.254.169.254/latest/meta-data/")

    assert (answer.status, answer.reason) == (403, "private_address")


async def test_a_head_that_is_too_large_is_refused(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    for size in (70_000, 1_000_000):
        answer = await ask(socket_path, web.url("/"), headers=f"X: {'a' * size}\r\n")

        assert (answer.status, answer.reason) == (400, "bad_request")
    assert web.seen == []


async def test_a_head_without_end_is_refused(proxy: EgressProxy, socket_path: Path) -> None:
    async with await Client.connect(socket_path) as client:
        await client.send(b"GET http://site.test/ HTTP/1.1\r\n" + b"X: y\r\n" * 50_000)

        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")


async def test_who_says_nothing_is_shown_the_door(
    resolver: object, policy: Policy, socket_path: Path
) -> None:
    impatient = EgressProxy(policy(), resolver, name="s", patience_s=0.05)  # type: ignore[arg-type]
    await impatient.listen(socket_path)
    try:
        assert await talk(socket_path, b"") == b""
        slow = Answer.parse(await talk(socket_path, b"GET http://site.test/ HT"))
        assert (slow.status, slow.reason) == (400, "bad_request")
        assert await talk(socket_path, b"\x05\x01") == b"\x05\xff"
        assert len(impatient.decisions()) == 2, "who said nothing asked for nothing"
    finally:
        await impatient.aclose()


async def test_an_upload_arrives_in_chunks(proxy: EgressProxy, socket_path: Path) -> None:
    body = b"5;ext=1\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\nTrailer: dropped\r\n\r\nGET /next"
    async with Server() as server:
        proxy.set_policy(server.policy())

        answer = await ask(
            socket_path,
            server.url(),
            method="POST",
            headers="Transfer-Encoding: chunked\r\n",
            body=body,
        )

    head, _, sent = answer.body.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Length" not in head
    assert sent == b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Content-Length: 100\r\n", b"short"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", b"5\r\nhelloXX0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"zz\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
    ],
)
async def test_a_body_that_is_not_as_announced_never_becomes_a_whole_request(
    proxy: EgressProxy, socket_path: Path, headers: str, body: bytes
) -> None:
    whole = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        whole.append(await reader.read())

    async with Server(serve) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        head = f"POST {server.url()} HTTP/1.1\r\nHost: raw.test\r\n{headers}\r\n"
        await client.send(head.encode() + body)
        client.end()

        answer = Answer.parse(await client.rest())
        await eventually(lambda: len(whole) == 1)

    assert (answer.status, answer.reason) == (400, "bad_request")
    assert not whole[0].endswith(b"0\r\n\r\n")


async def test_a_server_that_promises_more_than_it_sends_ends_the_answer(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    web.route("/lie", lambda _: Route(raw=[b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc"]))

    answer = await ask(socket_path, web.url("/lie"))

    assert (answer.status, answer.body) == (200, b"abc")
    await eventually(lambda: last(proxy).ended)


async def test_an_answer_may_come_while_the_request_is_still_sent(
    proxy: EgressProxy, socket_path: Path
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read(10_000)

    async with Server(serve) as server, await Client.connect(socket_path) as client:
        proxy.set_policy(server.policy())
        head = f"POST {server.url()} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
        await client.send(head.encode() + b"x" * 100_000)

        assert Answer.parse(await client.rest()).status == 413


async def test_a_large_upload_to_a_forbidden_host_still_learns_why(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    headers = "Content-Length: 3000000\r\n"

    answer = await ask(
        socket_path,
        web.url("/", host="evil.test"),
        method="POST",
        headers=headers,
        body=b"x" * 3_000_000,
    )

    assert (answer.status, answer.reason) == (403, "not_allowed")


async def test_a_program_that_ended_its_half_still_gets_its_answer(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    web.text("/", "hello")
    async with await Client.connect(socket_path) as client:
        await client.send(f"GET {web.url('/')} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
        client.end()

        assert Answer.parse(await client.rest()).body == b"hello"


async def test_a_program_that_goes_away_lets_go_of_the_server(
    proxy: EgressProxy, socket_path: Path
) -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.read(1) == b""
        gone.set()

    async with Server(serve) as server:
        proxy.set_policy(server.policy())
        async with await Client.connect(socket_path) as client:
            await client.send(f"GET {server.url()} HTTP/1.1\r\nHost: raw.test\r\n\r\n".encode())
            await eventually(lambda: server.connections == 1)

        async with asyncio.timeout(5):
            await gone.wait()
    await eventually(lambda: last(proxy).ended)


async def test_a_redirect_is_the_programs_business(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    to = {"Location": "http://169.254.169.254/"}
    web.route("/away", lambda _: Route(status=302, headers=to))

    answer = await ask(socket_path, web.url("/away"))

    assert (302, to["Location"]) == (answer.status, answer.headers["location"])
    assert len(web.seen) == len(proxy.decisions()) == 1


async def test_what_leads_nowhere_says_how(proxy: EgressProxy, socket_path: Path) -> None:
    async with Server(_hang_up) as server:
        proxy.set_policy(server.policy())
        silent = await ask(socket_path, server.url())
    proxy.set_policy(server.policy())
    closed = await ask(socket_path, server.url())
    proxy.set_policy(EgressPolicy(allow=("missing.invalid",)))
    nameless = await ask(socket_path, "http://missing.invalid/")

    answers = [silent, closed, nameless]
    assert [each.status for each in answers] == [502, 502, 502]
    assert [each.reason for each in answers] == ["unreachable", "unreachable", "dns"]
    codes = [each.error["code"] for each in answers]
    assert codes == ["CONNECTION_ERROR", "CONNECTION_ERROR", "DNS_ERROR"]
    assert all(each.allowed for each in proxy.decisions()), "the policy let them out"


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def test_a_host_that_does_not_answer_in_time_is_given_up(
    proxy: EgressProxy, socket_path: Path
) -> None:
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for taken in (one, two):
            taken.setblocking(False)
            taken.connect_ex(("127.0.0.1", port))
        proxy.set_policy(
            EgressPolicy.model_validate(
                {
                    "allow": [f"raw.test:{port}"],
                    "hosts": {"raw.test": "127.0.0.1"},
                    "limits": {"connect_timeout_s": 0.2},
                }
            )
        )

        answer = await ask(socket_path, f"http://raw.test:{port}/")

    assert (answer.status, answer.error["code"]) == (504, "TIMEOUT")


@pytest.mark.parametrize("tls", [False, True])
async def test_curl_gets_a_page(
    web: Web, proxy: EgressProxy, forwarder: Forwarder, tls: bool
) -> None:
    web.text("/", "hello")

    code, out, errors = await run(
        "curl", "-sS", "--cacert", str(web.ca_file), web.url("/", tls=tls),
        http_proxy=forwarder.url, https_proxy=forwarder.url,
    )  # fmt: skip

    assert (code, out, errors) == (0, "hello", "")


async def test_curl_uploads_after_it_was_told_to_go_on(
    proxy: EgressProxy, forwarder: Forwarder, tmp_path: Path
) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"0123456789" * 300_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"100-continue" in head.lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(3_000_000)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + str(len(body)).encode())

    async with Server(serve) as server:
        proxy.set_policy(server.policy())
        out = await run("curl", "-sS", "-x", forwarder.url, "-T", str(file), server.url("/f"))

    assert out == (0, "3000000", "")


@pytest.mark.parametrize("tls", [False, True])
async def test_pythons_own_client_gets_a_page(
    web: Web, proxy: EgressProxy, forwarder: Forwarder, tls: bool
) -> None:
    import urllib.error
    import urllib.request

    web.text("/", "hello")
    context = ssl.create_default_context(cafile=str(web.ca_file))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": forwarder.url, "https": forwarder.url}),
        urllib.request.HTTPSHandler(context=context),
    )

    def fetch(host: str) -> bytes:
        with opener.open(web.url("/", host=host, tls=tls), timeout=5) as answer:
            return answer.read()

    assert await asyncio.to_thread(fetch, "site.test") == b"hello"
    with pytest.raises(OSError, match=r"evil\.test") as refused:
        await asyncio.to_thread(fetch, "evil.test")
    if isinstance(refused.value, urllib.error.HTTPError):
        refused.value.close()


async def test_sixty_four_downloads_at_once_arrive_whole(
    web: Web, proxy: EgressProxy, socket_path: Path
) -> None:
    body = b"0123456789abcdef" * 65_536
    web.route("/file", lambda _: Route(body, content_type="application/octet-stream"))

    answers = await asyncio.gather(*(ask(socket_path, web.url("/file")) for _ in range(64)))

    assert [len(body)] * 64 == [len(each.body) for each in answers]
    assert all(each.body == body for each in answers)
    await eventually(lambda: all(each.ended for each in proxy.decisions()))
