"""web.request: any method, any status, any body."""

import base64
import gzip
import itertools
import json
from typing import Any

import pytest
from pydantic import ValidationError

from tests.services.web import Answer, Web
from tests.tool_plugins.web.conftest import Tools
from tool_plugins.errors import ErrorCode

MIB = 1024 * 1024


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_is_sent(tools: Tools, web: Web, method: str) -> None:
    web.route("/", lambda request: Answer(request.method.encode(), content_type="text/plain"))

    result = await tools.request(web.url("/?a=1"), method=method)

    assert (result.status, result.body) == (200, method)
    assert web.seen[0].query == "a=1"
    has_body = method in ("POST", "PUT", "PATCH")
    assert web.seen[0].headers.get("content-length") == ("0" if has_body else None)


async def test_head_has_a_length_and_no_body(tools: Tools, web: Web) -> None:
    web.text("/", "hello")

    result = await tools.request(web.url("/"), method="HEAD")

    assert (result.status, result.body, result.total_bytes) == (200, "", 0)
    assert result.headers["content-length"] == "5"


@pytest.mark.parametrize("status", [201, 204, 301, 304, 400, 401, 404, 418, 429, 500, 503, 599])
async def test_every_status_is_a_result(tools: Tools, web: Web, status: int) -> None:
    web.route("/", lambda _: Answer(status=status, headers={"Location": "/next"}))

    assert (await tools.request(web.url("/"), method="POST")).status == status
    assert len(web.seen) == 1


async def test_redirects_are_followed_when_asked(tools: Tools, web: Web) -> None:
    web.route("/", lambda _: Answer(status=302, headers={"Location": "/next"}))
    web.text("/next", "there")

    result = await tools.request(web.url("/"), method="GET", follow_redirects=True)

    assert (result.body, result.final_url) == ("there", web.url("/next"))


@pytest.mark.parametrize(
    ("given", "sent", "content_type"),
    [
        ({"json_body": {"a": "grün\ud800", "b": [1, None]}}, None, "application/json"),
        ({"json_body": 0}, b"0", "application/json"),
        ({"json_body": ""}, b'""', "application/json"),
        ({"body": "grün"}, "grün".encode(), "text/plain; charset=utf-8"),
        ({"body": ""}, b"", "text/plain; charset=utf-8"),
        ({"body": "a=1", "headers": {"content-type": "x/y"}}, b"a=1", "x/y"),
        ({"json_body": 1, "headers": {"Content-Type": "x/y+json"}}, b"1", "x/y+json"),
    ],
)
async def test_bodies_are_sent_with_their_type(
    tools: Tools, web: Web, given: dict[str, Any], sent: bytes | None, content_type: str
) -> None:
    web.text("/", "ok")

    await tools.request(web.url("/"), method="POST", **given)

    request = web.seen[0]
    if sent is None:
        assert json.loads(request.body)["b"] == [1, None]
    else:
        assert request.body == sent
    assert request.headers["content-type"] == content_type


async def test_headers_are_sent_and_returned(tools: Tools, web: Web) -> None:
    head = (
        b"HTTP/1.1 200 OK\r\nX-One: 1\r\nx-one: 2\r\nSet-Cookie: a=1, b\r\nSet-Cookie: c=2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    web.route("/", lambda _: Answer(raw=[head]))
    headers = {"Authorization": "Bearer x", "X-Latin": "gr\xfcn", "User-Agent": "mine"}

    result = await tools.request(web.url("/", tls=True), method="GET", headers=headers)

    assert result.headers == {
        "x-one": "1, 2",
        "set-cookie": "a=1, b\nc=2",
        "content-length": "0",
    }
    sent = web.seen[0].headers
    assert (sent["authorization"], sent["user-agent"]) == ("Bearer x", "mine")
    assert sent["x-latin"] == "gr\xfcn"
    assert sent["host"] == f"site.test:{web.tls_port}"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.test"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
        {"Proxy-Authorization": "x"},
        {"A B": "x"},
        {"A:": "x"},
        {"A": "x\r\nB: y"},
        {"A": "x\0"},
        {"A": " x"},
        {"A": "\u20ac"},
    ],
)
async def test_headers_that_would_reframe_the_request_are_refused(
    tools: Tools, web: Web, headers: dict[str, str]
) -> None:
    with pytest.raises(ValidationError):
        await tools.request(web.url("/"), method="GET", headers=headers)

    assert web.seen == []


async def test_a_binary_body_comes_in_base64(tools: Tools, web: Web) -> None:
    body = bytes(range(256)) * 10
    web.route("/", lambda _: Answer(body, content_type="image/png"))

    whole = await tools.request(web.url("/"), method="GET")
    part = await tools.request(web.url("/"), method="GET", max_chars=101)

    assert (whole.encoding, whole.truncated, whole.total_bytes) == ("base64", False, len(body))
    assert base64.b64decode(whole.body) == body
    assert (part.encoding, part.truncated, part.total_bytes) == ("base64", True, len(body))
    assert base64.b64decode(part.body) == body[:75]


@pytest.mark.parametrize("letter", ["x", "ü", "人", "\U0001f600"])
async def test_a_long_text_is_cut_between_characters(tools: Tools, web: Web, letter: str) -> None:
    text = letter * 1000
    web.text("/", text, "text/plain; charset=utf-8")

    part = await tools.request(web.url("/"), method="GET", max_chars=100)
    whole = await tools.request(web.url("/"), method="GET", max_chars=1000)

    assert (part.body, part.truncated) == (letter * 100, True)
    assert (whole.body, whole.truncated) == (text, False)
    assert part.total_bytes == whole.total_bytes == len(text.encode())


async def test_a_compressed_body_is_counted_as_it_was(tools: Tools, web: Web) -> None:
    headers = {"Content-Encoding": "gzip"}
    web.route("/", lambda _: Answer(gzip.compress(b"x" * MIB), headers=headers))

    result = await tools.request(web.url("/"), method="GET", max_chars=100)

    assert (result.body, result.total_bytes, result.truncated) == ("x" * 100, MIB, True)


async def test_an_endless_body_is_cut(tools: Tools, web: Web) -> None:
    head = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\n\r\n"
    web.route("/", lambda _: Answer(raw=itertools.chain([head], itertools.repeat(b"x" * 65536))))

    result = await tools.request(web.url("/"), method="POST", max_chars=100)

    assert (result.status, result.body, result.truncated) == (201, "x" * 100, True)
    assert result.total_bytes > 20 * MIB


async def test_a_body_that_breaks_off_tells_the_status_too(tools: Tools, web: Web) -> None:
    head = b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nshort"
    web.route("/", lambda _: Answer(raw=[head]))

    error = await tools.refused("request", web.url("/", tls=True), method="POST")

    assert error.code == ErrorCode.CONNECTION_ERROR
    assert error.details["status"] == 201


async def test_a_denied_request_is_never_sent(tools: Tools, web: Web) -> None:
    error = await tools.refused("request", web.url("/", host="evil.test"), method="HEAD")

    assert error.code == ErrorCode.EGRESS_DENIED
    assert web.seen == []
