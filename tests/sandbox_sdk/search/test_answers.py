"""Servers that lie, stall, flood or answer something else."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox_sdk.search.api import MAX_ANSWER_BYTES, MAX_AT_ONCE
from sandbox_sdk.search.execute import execute
from tests.fakes import eventually
from tests.sandbox_sdk.search.test_providers import KEY, SEARXNG, TAVILY, provider, serve
from tests.services.web import Answer, Web
from tool_plugins.errors import ErrorCode, ToolError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def refusal(provider: Any) -> ToolError:
    with pytest.raises(ToolError) as raised:
        await execute(provider, {"query": "cats"})
    assert KEY not in json.dumps(raised.value.as_dict())
    return raised.value


def searchers() -> int:
    return sum(thread.name == "web search" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Sign in</html>",
        b"",
        b"{",
        b"[" * 200_000,
        b'{"a": ' + b"9" * 6000 + b"}",
        b"\xff\xfe{",
    ],
)
async def test_what_is_not_json_is_told_apart(web: Web, body: bytes) -> None:
    serve(web, "/search", body)
    assert (await refusal(provider(web, "searxng"))).code == ErrorCode.UNSUPPORTED_CONTENT


async def test_compressed_answers_were_not_asked_for(web: Web) -> None:
    serve(web, "/search", SEARXNG, headers={"Content-Encoding": "gzip"})
    assert (await refusal(provider(web, "searxng"))).code == ErrorCode.UNSUPPORTED_CONTENT
    assert web.seen[-1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "text",
        None,
        {"results": "none"},
        {"results": {"a": 1}},
        {"results": [1, None, [], {}, {"url": 7, "title": []}, {"title": "no url"}]},
    ],
)
async def test_json_of_another_form_holds_no_results(web: Web, answer: Any) -> None:
    serve(web, "/search", answer)
    assert (await execute(provider(web, "searxng"), {"query": "cats"}))["results"] == []


async def test_a_huge_answer_is_refused_while_it_arrives(web: Web) -> None:
    sent = 0

    def flood() -> Iterator[bytes]:
        nonlocal sent
        yield HEAD + b"\r\n"
        while True:
            yield b" " * 65_536
            sent += 65_536

    web.route("/search", lambda _request: Answer(raw=flood()))
    assert (await refusal(provider(web, "searxng"))).code == ErrorCode.TOO_LARGE
    assert sent < 8 * MAX_ANSWER_BYTES


async def test_a_redirect_is_refused_and_the_key_stays(web: Web) -> None:
    target = web.url("/elsewhere", host="localhost", tls=True)
    serve(web, "/search", b"", status=307, headers={"Location": target})
    error = await refusal(provider(web, "tavily"))
    assert (error.code, error.details["status"]) == (ErrorCode.HTTP_ERROR, 307)
    assert [request.path for request in web.seen] == ["/search"]


@pytest.mark.parametrize(
    "raw",
    [
        [HEAD + b'Content-Length: 500\r\n\r\n{"results": []}'],
        [HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\r\n"],
        [b"SSH-2.0-OpenSSH_9.2 secret words\r\n"],
        [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n{}"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n{}"],
        [],
    ],
)
async def test_an_answer_that_breaks_off_or_is_no_http_is_a_broken_connection(
    web: Web, raw: list[bytes]
) -> None:
    web.route("/search", lambda _request: Answer(raw=raw))
    error = await refusal(provider(web, "searxng"))
    assert error.code == ErrorCode.CONNECTION_ERROR
    assert "secret words" not in error.message


def _drip(release: threading.Event, first: bytes, every_s: float = 0.02) -> Iterator[bytes]:
    yield first
    while not release.wait(every_s):
        yield b" "


@pytest.mark.parametrize("every_s", [0.02, 60])
@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: ", HEAD + b"\r\n"])
async def test_a_server_that_drips_or_falls_silent_is_given_up_and_its_thread_ends(
    web: Web, first: bytes, every_s: float
) -> None:
    release = threading.Event()
    web.route("/search", lambda _request: Answer(raw=_drip(release, first, every_s)))
    try:
        error = await refusal(provider(web, "searxng", timeout_s=0.5))
        assert error.code == ErrorCode.TIMEOUT
        await eventually(lambda: searchers() == 0)
    finally:
        release.set()


async def test_a_cancelled_search_lets_its_connection_go(web: Web) -> None:
    release, asked = threading.Event(), threading.Event()

    def answer(_request: Any) -> Answer:
        asked.set()
        return Answer(raw=_drip(release, HEAD + b"\r\n", 60))

    web.route("/search", answer)
    searching = asyncio.create_task(execute(provider(web, "searxng"), {"query": "cats"}))
    try:
        await eventually(asked.is_set)
        searching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await searching
        await eventually(lambda: searchers() == 0)
    finally:
        release.set()


async def test_many_searches_at_once_wait_for_a_place(web: Web) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def answer(_request: Any) -> Answer:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return Answer(json.dumps(SEARXNG).encode())

    web.route("/search", answer)
    made = provider(web, "searxng")
    found = await asyncio.gather(*(execute(made, {"query": "cats"}) for _ in range(60)))
    assert [len(each["results"]) for each in found] == [2] * 60
    assert 1 < most <= MAX_AT_ONCE


async def test_a_server_that_is_not_there_is_a_connection_error(web: Web) -> None:
    made = provider(web, "searxng", url="http://127.0.0.1:1")
    error = await refusal(made)
    assert error.code == ErrorCode.CONNECTION_ERROR
    assert "refused" in error.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid", "a..b"])
async def test_a_name_without_an_address_is_a_dns_error(web: Web, host: str) -> None:
    made = provider(web, "searxng", url=f"http://{host}:{web.port}")
    assert (await refusal(made)).code == ErrorCode.DNS_ERROR


async def test_a_certificate_nobody_vouches_for_is_a_tls_error(web: Web) -> None:
    serve(web, "/search", TAVILY)
    error = await refusal(provider(web, "tavily", ca_file=None))
    assert error.code == ErrorCode.TLS_ERROR
    assert web.seen == []


async def test_a_certificate_for_another_name_is_a_tls_error(web: Web) -> None:
    # Resolves to the server's address, but is none of the names it shows.
    error = await refusal(provider(web, "tavily", url=f"https://127.1:{web.tls_port}"))
    assert error.code == ErrorCode.TLS_ERROR
    assert web.seen == []
