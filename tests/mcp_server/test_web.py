"""HTTP as real clients use it: both eras, SSE, hang-ups, wrong hosts, an orderly end."""

import asyncio
import contextlib
import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp.types as types
import pytest
from mcp import Client
from mcp.client.sse import sse_client

from mcp_server.server import SandboxServer
from mcp_server.web import MAX_BODY_BYTES, bind, serve_http
from tests.mcp_server import tools
from tests.mcp_server.conftest import Servers, how_it_ended

TRANSPORTS = pytest.mark.parametrize("transport", ["http-legacy", "http-modern", "sse"])
ROUTES = ["/mcp", "/sse", "/messages/", "/health"]
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}


class Site:
    """A server that listens on a port of its own."""

    def __init__(self, server: SandboxServer, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def client(self, transport: str, **options: Any) -> Client:
        """A client of the mcp package."""
        if transport == "sse":
            return Client(sse_client(f"{self.url}/sse"), **options)
        mode: Any = "legacy" if transport == "http-legacy" else "2026-07-28"
        return Client(f"{self.url}/mcp", mode=mode, **options)


@asynccontextmanager
async def serving(servers: Servers) -> AsyncIterator[Site]:
    server, stop = servers.make(), asyncio.Event()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    task = asyncio.create_task(serve_http(server, listener, (), stop))
    try:
        yield Site(server, port)
    finally:
        stop.set()
        async with asyncio.timeout(5):
            await task


@pytest.fixture
async def site(servers: Servers) -> AsyncIterator[Site]:
    async with serving(servers) as site:
        yield site


@TRANSPORTS
async def test_every_transport_calls_a_tool_and_carries_its_output(
    site: Site, transport: str
) -> None:
    heard: list[tuple[float, str]] = []

    async def on_progress(progress: float, _total: float | None, message: str | None) -> None:
        heard.append((progress, message or ""))

    async with site.client(transport) as client:
        result = await client.call_tool("demo_wait", {"lines": 3}, progress_callback=on_progress)
    assert result.structured_content == {"lines": 3}
    assert "".join(message for _, message in heard) == "line 0\nline 1\nline 2\n"
    assert [number for number, _ in heard] == sorted({number for number, _ in heard})


@TRANSPORTS
async def test_a_client_that_cancels_ends_what_it_started(site: Site, transport: str) -> None:
    async with site.client(transport) as client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await call_until_it_waits(client)
        assert await how_it_ended() == "cancelled"
        assert not (await client.call_tool("demo_echo", {"text": "still here"})).is_error


async def call_until_it_waits(client: Client) -> None:
    """Cancels a call that never ends, once it is seen to run."""
    running = asyncio.Event()

    async def on_progress(*_: Any) -> None:
        running.set()

    arguments = {"lines": 1, "forever": True}
    call = asyncio.create_task(
        client.call_tool("demo_wait", arguments, progress_callback=on_progress)
    )
    await running.wait()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call


@pytest.mark.parametrize("version", ["2025-11-25", "2026-07-28"])
async def test_a_client_that_hangs_up_ends_what_it_started(site: Site, version: str) -> None:
    async with httpx2.AsyncClient(base_url=site.url, headers=HEADERS) as http:
        extra = await session_headers(http) if version == "2025-11-25" else {}
        await call_and_hang_up(
            site.port,
            call_message(version, progress=True),
            extra
            | {
                "MCP-Protocol-Version": version,
                "Mcp-Method": "tools/call",
                "Mcp-Name": "demo_wait",
            },
        )
        assert await how_it_ended() == "cancelled"


async def session_headers(http: httpx2.AsyncClient) -> dict[str, str]:
    """Opens a session of the earlier era."""
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    answer = await http.post("/mcp", json=hello, headers=HEADERS)
    session = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await http.post("/mcp", json=ready, headers=HEADERS | session)
    return session


def call_message(version: str, *, progress: bool) -> bytes:
    """A call that writes a line, then waits for ever."""
    meta: dict[str, Any] = {"progressToken": "p"} if progress else {}
    if version == "2026-07-28":
        prefix = "io.modelcontextprotocol"
        meta |= {
            f"{prefix}/protocolVersion": version,
            f"{prefix}/clientInfo": {"name": "test", "version": "1"},
            f"{prefix}/clientCapabilities": {},
        }
    params = {"name": "demo_wait", "arguments": {"lines": 1, "forever": True}, "_meta": meta}
    return json.dumps(
        {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
    ).encode()


async def call_and_hang_up(port: int, body: bytes, headers: dict[str, str]) -> None:
    """Sends a call over a bare socket, and drops it once the first output has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))} | HEADERS | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n".encode() + body)
    async with asyncio.timeout(5):
        await reader.readuntil(b"line 0")
    writer.close()
    await writer.wait_closed()


@TRANSPORTS
async def test_a_client_that_leaves_while_a_call_runs_ends_it(site: Site, transport: str) -> None:
    running = asyncio.Event()

    async def on_progress(*_: Any) -> None:
        running.set()

    async def use() -> None:
        async with site.client(transport) as client:
            arguments = {"lines": 1, "forever": True}
            await client.call_tool("demo_wait", arguments, progress_callback=on_progress)

    using = asyncio.create_task(use())
    async with asyncio.timeout(5):
        await running.wait()
    using.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await using
    assert await how_it_ended() == "cancelled"


@TRANSPORTS
async def test_a_result_above_a_mebibyte_does_not_break_the_client(
    site: Site, transport: str
) -> None:
    async with site.client(transport) as client:
        result = await client.call_tool("demo_echo", {"text": "💡", "times": 1_000_000})
        again = await client.call_tool("demo_echo", {"text": "ok"})
    assert result.structured_content["truncated"] is True
    assert again.structured_content["said"] == "ok"


async def test_a_modern_call_does_not_list_the_tools_first(site: Site) -> None:
    listed: list[str] = []

    async def list_tools(_ctx: Any, _params: Any) -> types.ListToolsResult:
        listed.append("tools/list")
        return types.ListToolsResult(tools=[], ttl_ms=0, cache_scope="private")

    site.server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    body = json.loads(call_message("2026-07-28", progress=False))
    body["params"] |= {"name": "demo_echo", "arguments": {"text": "x"}}
    headers = {
        **HEADERS,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "demo_echo",
    }
    async with httpx2.AsyncClient(base_url=site.url) as http:
        answer = await http.post("/mcp", json=body, headers=headers)
    assert answer.json()["result"]["structuredContent"]["said"] == "x"
    assert listed == []


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": "localhost@evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "file://localhost"}, 403),
        ({"Origin": "http://localhost/x"}, 403),
    ],
)
async def test_a_wrong_host_or_origin_is_refused_on_every_route(
    site: Site, route: str, headers: dict[str, str], status: int
) -> None:
    async with httpx2.AsyncClient(base_url=site.url) as http:
        method = "GET" if route in ("/sse", "/health") else "POST"
        answer = await http.request(method, route, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:8765"])
async def test_the_names_of_this_machine_are_allowed(site: Site, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    async with httpx2.AsyncClient(base_url=site.url) as http:
        answer = await http.get("/health", headers=headers)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"


async def test_white_space_around_a_header_is_not_part_of_it(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"GET /health HTTP/1.1\r\nHost:   localhost \t\r\nConnection: close\r\n\r\n")
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("route", ["/mcp", "/messages/"])
async def test_a_body_that_is_too_large_is_refused(site: Site, route: str) -> None:
    async with httpx2.AsyncClient(base_url=site.url) as http:
        answer = await http.post(route, content=b"x" * (MAX_BODY_BYTES + 1), headers=HEADERS)
    assert answer.status_code == 413


# The mcp package leaves the memory streams of a connection that is cut to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("stream", ["listen", "legacy", "sse"])
async def test_an_open_stream_does_not_hold_up_the_end(servers: Servers, stream: str) -> None:
    """`serving` bounds the end; the client here never hangs up."""
    async with contextlib.AsyncExitStack() as stack, serving(servers) as site:
        http = await stack.enter_async_context(httpx2.AsyncClient(base_url=site.url))
        if stream == "listen":
            opening = listening(http)
        elif stream == "legacy":
            headers = HEADERS | await session_headers(http)
            opening = http.stream("GET", "/mcp", headers=headers)
        else:
            opening = http.stream("GET", "/sse")
        answer = await stack.enter_async_context(opening)
        assert answer.status_code == 200
    gc.collect()


async def test_a_listen_stream_is_told_that_it_ends(servers: Servers) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with serving(servers) as site:
            http = await stack.enter_async_context(httpx2.AsyncClient(base_url=site.url))
            lines = (await stack.enter_async_context(listening(http))).aiter_lines()
            while "acknowledged" not in await anext(lines):
                continue
        rest = [line async for line in lines if line.startswith("data:")]
    assert '"resultType":"complete"' in rest[-1]


def listening(http: httpx2.AsyncClient) -> Any:
    """An open stream of change notifications."""
    body = json.loads(call_message("2026-07-28", progress=False))
    body["method"] = "subscriptions/listen"
    body["params"] = {
        "notifications": {"toolsListChanged": True},
        "_meta": body["params"]["_meta"],
    }
    headers = {
        **HEADERS,
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
    }
    return http.stream("POST", "/mcp", json=body, headers=headers)


@TRANSPORTS
async def test_a_running_call_does_not_hold_up_the_end(servers: Servers, transport: str) -> None:
    running = asyncio.Event()

    async def on_progress(*_: Any) -> None:
        running.set()

    async def use(site: Site) -> None:
        async with site.client(transport) as client:
            arguments = {"lines": 1, "forever": True}
            await client.call_tool("demo_wait", arguments, progress_callback=on_progress)

    async with serving(servers) as site:
        using = asyncio.create_task(use(site))
        await running.wait()
    assert await how_it_ended() == "cancelled"
    using.cancel()
    await asyncio.wait({using})
    assert tools.ended[-1].empty()
