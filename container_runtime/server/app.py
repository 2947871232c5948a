"""The ASGI application: routes, and nothing else. `create_app` is what both engines serve."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from tool_plugins.context import Host
from tool_plugins.errors import ErrorCode, ToolError

from .asgi import CancelWhenGone, ClientGone, answer, encode, read_body, refuse, start
from .cgroup import read_limits
from .changes import Changes
from .dispatch import Dispatcher, Request, parse_request
from .egress import Egress, way_out
from .files import Files, Folders, Transfers
from .plugins import Executor
from .protocol import MAX_ACTION_BYTES, PROTOCOL_VERSION
from .stream import Outlet


class Ready:
    """GET /ready: the protocol, the tools and the limits."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        facts = {
            "protocol": PROTOCOL_VERSION,
            "tools": self._dispatcher.tools,
            "limits": read_limits(),
        }
        await answer(send, 200, encode(facts))


class Actions:
    """POST /actions: one action, answered whole or as a stream of events."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            request = parse_request(await read_body(receive, MAX_ACTION_BYTES))
        except ToolError as exc:
            await refuse(send, exc)
            return
        except ClientGone:
            return
        try:
            async with CancelWhenGone(receive):
                if request.stream:
                    await self._stream(request, send)
                    return
                observation = await self._dispatcher.run(request)
            await answer(send, 200, observation)
        except ClientGone:
            return

    async def _stream(self, request: Request, send: Send) -> None:
        await start(send, 200, b"application/x-ndjson")
        outlet = Outlet()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._dispatcher.run(request, outlet.emit))
            task.add_done_callback(lambda _task: outlet.close())
            async for lines in outlet.lines():
                await send({"type": "http.response.body", "body": lines, "more_body": True})
        last = b'{"event":"observation","observation":' + task.result() + b"}\n"
        await send({"type": "http.response.body", "body": last})


class TokenGuard:
    """Lets only requests with the token through; used where the endpoint is TCP."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = b"Bearer " + token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._admits(scope):
            error = ToolError(ErrorCode.PERMISSION_DENIED, "wrong or missing token")
            await refuse(send, error, 401)
            return
        await self._app(scope, receive, send)

    def _admits(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self._expected)


def create_app(
    host: Host, executors: Mapping[str, Executor], egress: Egress | None = None
) -> Router:
    """The application over one host. Its lifespan ends with the host's.

    With `egress`, programs have a way out from before the first of them starts.
    """
    dispatcher = Dispatcher(host, executors)
    files, folders, changes = Files(host), Folders(host), Changes(host)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        async with way_out(egress, host):
            try:
                yield
            finally:
                await host.aclose()

    # A bare router: Starlette's two error layers would only rename what is caught here anyway.
    return Router(
        [
            Route("/actions", Actions(dispatcher), methods=["POST"]),
            Route("/ready", Ready(dispatcher), methods=["GET"]),
            Route("/files", Transfers(GET=files.get, PUT=files.put), methods=["GET", "PUT"]),
            Route("/folders", Transfers(GET=folders.get, PUT=folders.put), methods=["GET", "PUT"]),
            Route("/changes", Transfers(GET=changes.get), methods=["GET"]),
        ],
        redirect_slashes=False,
        lifespan=lifespan,
    )
