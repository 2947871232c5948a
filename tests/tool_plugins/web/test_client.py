"""What the client makes of servers and proxies that lie, drip, break off or lead astray."""

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from sandbox_sdk.egress.policy import EgressPolicy
from sandbox_sdk.egress.proxy import EgressProxy
from tests.services.web import Answer, Request, Web
from tests.tool_plugins.web.conftest import Scripted, Tools
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.web.client import USER_AGENT

Serve = Callable[[Callable[[socket.socket], None]], Scripted]


def redirect(web: Web, path: str, to: str, status: int = 302) -> None:
    web.route(path, lambda _: Answer(status=status, headers={"Location": to}))


def raw(web: Web, path: str, *pieces: bytes) -> None:
    web.route(path, lambda _: Answer(raw=pieces))


def allow_port(proxy: EgressProxy, web: Web, port: int) -> None:
    allow = [*web.policy()["allow"], f"site.test:{port}"]
    proxy.set_policy(EgressPolicy(**web.policy(allow=allow)))


@pytest.mark.parametrize("tls", [False, True])
async def test_an_answer_comes_through_the_proxy(tools: Tools, web: Web, tls: bool) -> None:
    web.text("/", "hello", "text/plain")

    answer = await tools.fetch(web.url("/", tls=tls))

    assert answer.content == "hello"
    assert [web.url("", tls=tls).split("/")[2]] == [each.host for each in web.seen]
    assert web.seen[0].headers["user-agent"] == USER_AGENT


async def test_without_a_proxy_there_is_no_network(
    tools: Tools, web: Web, way: pytest.MonkeyPatch
) -> None:
    way.delenv("HTTP_PROXY")

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert error.message == "this sandbox has no way to the network"
    assert web.seen == []


@pytest.mark.parametrize("tls", [False, True])
async def test_a_denial_names_host_and_reason(tools: Tools, web: Web, tls: bool) -> None:
    error = await tools.refused("fetch", web.url("/", host="evil.test", tls=tls))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert error.details["host"] == "evil.test"
    assert error.details["reason"] == "not_allowed"
    assert "evil.test" in error.message
    assert web.seen == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "169.254.169.254"])
async def test_addresses_of_this_machine_are_the_proxys_to_deny(
    tools: Tools, web: Web, name: str
) -> None:
    error = await tools.refused("fetch", web.url("/", host=name))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert web.seen == []


@pytest.mark.parametrize("tls", [False, True])
async def test_errors_of_the_way_there_are_told_apart(
    tools: Tools, web: Web, proxy: EgressProxy, tls: bool
) -> None:
    scheme, port = ("https", 443) if tls else ("http", 80)
    with socket.create_server(("127.0.0.1", 0)) as unused:
        dead = unused.getsockname()[1]
    allow = ["nowhere.invalid", f"site.test:{dead}"]
    proxy.set_policy(EgressPolicy(**web.policy(allow=allow)))

    assert await tools.code("fetch", f"{scheme}://nowhere.invalid:{port}/") == ErrorCode.DNS_ERROR
    assert await tools.code("fetch", f"{scheme}://site.test:{dead}/") == ErrorCode.CONNECTION_ERROR


async def test_a_used_up_quota_is_told(tools: Tools, web: Web, proxy: EgressProxy) -> None:
    web.route("/", lambda _: Answer(os.urandom(3 << 20), content_type="text/plain"))
    proxy.set_policy(EgressPolicy(**web.policy(limits={"max_received_mb": 1})))

    first = await tools.code("download", web.url("/"), path="a")
    second = await tools.code("download", web.url("/"), path="a")

    assert first in (ErrorCode.QUOTA_EXCEEDED, ErrorCode.CONNECTION_ERROR)
    assert second == ErrorCode.QUOTA_EXCEEDED


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(tools: Tools, web: Web, status: int) -> None:
    redirect(web, "/a", "/b?q=1#part", status)
    web.text("/b", "there", "text/plain")

    answer = await tools.fetch(web.url("/a"))

    assert answer.content == "there"
    assert web.url("/b?q=1") == answer.final_url


async def test_five_redirects_are_followed_and_no_more(tools: Tools, web: Web) -> None:
    for step in range(7):
        redirect(web, f"/{step}", f"/{step + 1}")
    web.text("/7", "there", "text/plain")

    assert (await tools.fetch(web.url("/2"))).content == "there"
    error = await tools.refused("fetch", web.url("/1"))

    assert error.code == ErrorCode.HTTP_ERROR
    assert "5 redirects" in error.message


async def test_a_circle_of_redirects_is_seen_at_once(tools: Tools, web: Web) -> None:
    redirect(web, "/a", "/b")
    redirect(web, "/b", "/a")

    error = await tools.refused("fetch", web.url("/a"))

    assert error.code == ErrorCode.HTTP_ERROR
    assert "in a circle" in error.message
    assert len(web.seen) == 2


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://evil.test/", "evil.test"),
        ("http://127.0.0.1:22/", "127.0.0.1"),
        ("file:///etc/passwd", "'file'"),
        ("gopher://site.test/", "'gopher'"),
        ("http://user@site.test/", "'@'"),
        ("http://2130706433/", "plain address"),
        ("//\\evil.test/", "backslash"),
    ],
)
async def test_a_redirect_is_checked_as_a_url_is(
    tools: Tools, web: Web, to: str, says: str
) -> None:
    redirect(web, "/", to)

    error = await tools.refused("fetch", web.url("/"))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert says in error.message
    assert len(web.seen) == 1


async def test_a_redirect_never_leads_from_https_to_http(tools: Tools, web: Web) -> None:
    redirect(web, "/down", web.url("/x"))
    redirect(web, "/up", web.url("/x", tls=True))
    web.text("/x", "there", "text/plain")

    error = await tools.refused("fetch", web.url("/down", tls=True))

    assert error.code == ErrorCode.EGRESS_DENIED
    assert "plain text" in error.message
    assert (await tools.fetch(web.url("/up"))).content == "there"


SECRETS = {
    "Authorization": "Bearer x",
    "Cookie": "id=1",
    "X-Api-Key": "k",
    "PRIVATE-TOKEN": "t",
    "Accept-Language": "de",
}


async def test_secrets_stay_with_the_server_they_are_for(tools: Tools, web: Web) -> None:
    redirect(web, "/a", "/b")
    redirect(web, "/b", web.url("/c", host="other.test"))
    redirect(web, "/c", web.url("/d"))
    web.text("/d", "there", "text/plain")

    await tools.fetch(web.url("/a"), headers=SECRETS)

    names = {name.lower() for name in SECRETS}
    kept = [names & each.headers.keys() for each in web.seen]
    assert [names, names, {"accept-language"}, {"accept-language"}] == kept


async def test_a_redirect_may_be_written_in_utf8_or_with_spaces(tools: Tools, web: Web) -> None:
    location = "/gr\xfc\xdfe und mehr".encode()
    raw(web, "/", b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\n\r\n")
    web.text("/gr%C3%BC%C3%9Fe%20und%20mehr", "there", "text/plain")

    assert (await tools.fetch(web.url("/"))).content == "there"


# TLS


@pytest.fixture
def tls_server(web: Web, proxy: EgressProxy, serve: Serve) -> Callable[..., int]:
    """Starts a server with a certificate of the authority that tests trust; gives its port."""

    def start(*names: str, expired: bool = False) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(web.authority.certificate(*names, expired=expired))

        def script(client: socket.socket) -> None:
            with context.wrap_socket(client, server_side=True) as wrapped:
                wrapped.recv(65536)
                wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")

        port = serve(script).port
        allow_port(proxy, web, port)
        return port

    return start


async def test_a_certificate_is_checked(
    tools: Tools, tls_server: Callable[..., int], way: pytest.MonkeyPatch
) -> None:
    good = tls_server("site.test")
    assert (await tools.fetch(f"https://site.test:{good}/")).content == "hello"

    expired = tls_server("site.test", expired=True)
    error = await tools.refused("fetch", f"https://site.test:{expired}/")
    assert error.code == ErrorCode.TLS_ERROR
    assert error.message == "the certificate of site.test has expired"

    wrong = tls_server("else.test")
    error = await tools.refused("fetch", f"https://site.test:{wrong}/")
    assert error.code == ErrorCode.TLS_ERROR
    assert "is for another name" in error.message


async def test_an_authority_nobody_vouched_for_is_not_trusted(
    tools: Tools, web: Web, way: pytest.MonkeyPatch
) -> None:
    way.delenv("SSL_CERT_FILE")

    error = await tools.refused("fetch", web.url("/", tls=True))

    assert error.code == ErrorCode.TLS_ERROR
    assert "authority that is not trusted" in error.message
    assert web.seen == []


async def test_trusted_certificates_that_cannot_be_read_trust_nobody(
    tools: Tools, web: Web, way: pytest.MonkeyPatch
) -> None:
    way.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")

    assert await tools.code("fetch", web.url("/", tls=True)) == ErrorCode.TLS_ERROR


async def test_a_server_without_tls_is_told_from_one_that_is_gone(tools: Tools, web: Web) -> None:
    error = await tools.refused("fetch", f"https://site.test:{web.port}/")

    assert error.code in (ErrorCode.TLS_ERROR, ErrorCode.CONNECTION_ERROR)
    assert "TLS" in error.message


# Proxies that answer otherwise


def proxy_that(serve: Serve, way: pytest.MonkeyPatch, *pieces: bytes) -> None:
    def script(client: socket.socket) -> None:
        client.recv(65536)
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        client.recv(65536)

    way.setenv("HTTP_PROXY", f"http://127.0.0.1:{serve(script).port}")


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def test_a_tunnel_that_is_closed_in_the_handshake_names_the_policy(
    tools: Tools, serve: Serve, way: pytest.MonkeyPatch
) -> None:
    proxy_that(serve, way, ESTABLISHED)

    error = await tools.refused("fetch", "https://site.test/")

    assert error.code == ErrorCode.CONNECTION_ERROR
    assert "egress policy" in error.hint


async def test_an_alert_of_the_proxy_is_a_denial(
    tools: Tools, serve: Serve, way: pytest.MonkeyPatch
) -> None:
    proxy_that(serve, way, ESTABLISHED, b"\x15\x03\x03\x00\x02\x02\x31")

    assert await tools.code("fetch", "https://site.test/") == ErrorCode.EGRESS_DENIED


@pytest.mark.parametrize("url", ["http://site.test/", "https://site.test/"])
@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (
            b"HTTP/1.1 403 No way\r\nX-Egress-Error: EGRESS_DENIED\r\n\r\n",
            "EGRESS_DENIED",
            "No way",
        ),
        (
            b"HTTP/1.1 502 x\r\nX-Egress-Error: DNS_ERROR\r\nContent-Length: 99\r\n\r\n{",
            "DNS_ERROR",
            "x",
        ),
        (b"HTTP/1.1 504 x\r\nX-Egress-Error: TIMEOUT\r\n\r\n[1]", "TIMEOUT", "x"),
        (
            b'HTTP/1.1 429 x\r\nX-Egress-Error: QUOTA_EXCEEDED\r\n\r\n{"message":"spent\\u0007"}',
            "QUOTA_EXCEEDED",
            "spent",
        ),
    ],
)
async def test_a_refusal_is_understood_in_whatever_shape(
    tools: Tools,
    serve: Serve,
    way: pytest.MonkeyPatch,
    url: str,
    answer: bytes,
    code: str,
    message: str,
) -> None:
    proxy_that(serve, way, answer)

    error = await tools.refused("fetch", url)

    assert code == error.code
    assert message == error.message
    assert {"host": "site.test", "port": 443 if "s:" in url else 80} == error.details


async def test_a_code_the_proxy_does_not_have_is_a_servers_answer(
    tools: Tools, serve: Serve, way: pytest.MonkeyPatch
) -> None:
    proxy_that(serve, way, b"HTTP/1.1 403 x\r\nX-Egress-Error: INTERNAL\r\n\r\n")

    assert await tools.code("fetch", "http://site.test/") == ErrorCode.HTTP_ERROR


# Heads and bodies that are not what they say


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ([b""], "gave no answer"),
        ([b"HTTP/1.1 200 OK\r\nContent-Ty"], "within its headers"),
        ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], "HTTP/1.1"),
        ([b"HTTP/2 200\r\n\r\n"], "HTTP/1.1"),
        ([b"HTTP/1.1 99999 x\r\n\r\n"], "HTTP/1.1"),
        ([b"HTTP/1.1 101 Switching\r\n\r\n"], "protocol"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"] * 50, "interim"),
        ([OK, *[b"X: " + b"a" * 1000 + b"\r\n"] * 70, b"\r\n"], "65536 bytes"),
        ([OK, b"X: " + b"a" * 100_000, b"\r\n\r\n"], "65536 bytes"),
        ([OK, b"Content-Length: 10\r\n\r\nshort"], "5 of 10 bytes"),
        ([OK, b"Content-Length: -1\r\n\r\n"], "Content-Length"),
        ([OK, b"Content-Length: 0x10\r\n\r\n"], "Content-Length"),
        ([OK, b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"], "Content-Length"),
        ([OK, b"Content-Length: 99999999999999999999999999\r\n\r\n"], "Content-Length"),
        ([OK, b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"], "transfer coding"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"], "last chunk"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"], "within a chunk"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n"], "another length"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"], "without a size"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 5000], "without a size"),
        ([OK, b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n"], "within its headers"),
    ],
)
async def test_a_broken_answer_is_an_error_and_never_a_shorter_one(
    tools: Tools, web: Web, answer: list[bytes], says: str
) -> None:
    raw(web, "/", *answer)

    # Through TLS: what the proxy itself makes of such an answer is its own matter.
    error = await tools.refused("request", web.url("/", tls=True), method="GET")

    assert error.code == ErrorCode.CONNECTION_ERROR
    assert says in error.message
    assert "site.test" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        [OK, b"Content-Length: 5\r\n\r\nhello"],
        [OK, b"Content-Length: 5, 5\r\n\r\nhello"],
        [OK, b"Content-Length: 5\r\n\r\nhello and more"],
        [OK, b"\r\nhello"],
        [OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        [OK, b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3 \r\nllo\r\n000\r\nT: r\r\n\r\n"],
        [OK, b"Transfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        [b"HTTP/1.0 200\nContent-Type: text/plain\n\nhello"],
        [b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", OK, b"\r\nhello"],
        [OK, b"nonsense\r\n folded\r\nX:\r\n\ty\r\n\r\nhello"],
    ],
)
async def test_answers_as_servers_write_them_are_read(
    tools: Tools, web: Web, answer: list[bytes]
) -> None:
    raw(web, "/", *answer)

    result = await tools.request(web.url("/", tls=True), method="GET")

    assert (result.status, result.body, result.total_bytes) == (200, "hello", 5)


def drips(head: bytes, drop: bytes) -> Iterator[bytes]:
    yield head
    while True:
        time.sleep(0.05)
        yield drop


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"."),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
)
async def test_drips_do_not_extend_the_deadline(
    tools: Tools, web: Web, head: bytes, drop: bytes
) -> None:
    web.route("/", lambda _: Answer(raw=drips(head, drop)))

    error = await tools.refused("request", web.url("/", tls=True), method="GET", timeout_s=0.4)

    assert error.code == ErrorCode.TIMEOUT
    assert "0.4 s" in error.message


async def test_a_server_that_says_nothing_is_waited_for_no_longer_than_told(
    tools: Tools, web: Web
) -> None:
    def silent(_request: Request) -> Answer:
        time.sleep(1)
        return Answer()

    web.route("/", silent)

    assert await tools.code("fetch", web.url("/"), timeout_s=0.3) == ErrorCode.TIMEOUT


async def test_a_redirect_does_not_renew_the_deadline(tools: Tools, web: Web) -> None:
    def slow(request: Request) -> Answer:
        time.sleep(0.25)
        step = int(request.path[1:])
        return Answer(status=302, headers={"Location": f"/{step + 1}"})

    for step in range(6):
        web.route(f"/{step}", slow)

    assert await tools.code("fetch", web.url("/0"), timeout_s=0.6) == ErrorCode.TIMEOUT


async def test_an_answer_counts_although_the_request_was_not_read(
    tools: Tools, web: Web, proxy: EgressProxy, serve: Serve
) -> None:
    def script(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    port = serve(script).port
    allow_port(proxy, web, port)

    answer: Any = None
    with suppress(ToolError):  # the reset may overtake the answer, which is no lie either
        answer = await tools.request(f"http://site.test:{port}/", method="POST", body="x" * 999_999)

    assert answer is None or (answer.status, answer.body) == (413, "no")
