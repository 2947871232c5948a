"""Requests to an action server that is an ASGI application in this process.

Behaves like the socket: back-pressure both ways, and a closed response is a disconnect inside.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any, NoReturn

from tool_plugins.errors import ProtocolError

from .spec import AsgiEndpoint
from .transport import Response, Transport
from .wire import Body, ConnectionLost

# How many pieces may wait for the reader; more of them hold the application up.
MAX_WAITING = 4
END_TIMEOUT_S = 10.0


class SourceError(Exception):
    """The caller's own request body failed; `reason` is what it raised."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class AsgiTransport(Transport):
    """Calls the application directly, one task per request."""

    def __init__(self, endpoint: AsgiEndpoint) -> None:
        self._app = endpoint.app
        self._open: set[AsgiResponse] = set()
        self._closed = False

    async def request(self, method: str, target: str, body: Body | None = None) -> Response:
        if self._closed:
            raise ConnectionLost("the connection to the sandbox is closed")
        response = AsgiResponse(_scope(method, target), body, self._open.discard)
        self._open.add(response)
        try:
            await response.begin(self._app)
        except BaseException:
            await response.aclose()
            raise
        return response

    async def aclose(self) -> None:
        self._closed = True
        for response in list(self._open):
            await response.aclose()


class AsgiResponse(Response):
    """One call of the application, as seen from both sides."""

    def __init__(
        self, scope: dict[str, Any], body: Body | None, closed: Callable[["AsgiResponse"], None]
    ) -> None:
        self.status = 0
        self._scope = scope
        self._body = _pieces(body)
        self._closed = closed
        self._head = asyncio.Event()
        self._gone = asyncio.Event()
        self._answer: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        self._complete = False
        self._failure: Exception | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, app: Any) -> None:
        """Starts the application and waits for the head of its answer."""
        self._task = asyncio.create_task(self._run(app))
        await self._head.wait()
        if not self.status:
            self._raise()

    async def next_chunk(self) -> bytes | None:
        if self._gone.is_set():
            raise ConnectionLost("the answer was closed")
        chunk = await self._answer.get()
        if chunk is None:
            # Stays readable: the end can be asked for again.
            self._answer.put_nowait(None)
            if not self._complete:
                self._raise()
        return chunk

    async def aclose(self) -> None:
        self._closed(self)
        self._gone.set()
        while not self._answer.empty():
            self._answer.get_nowait()
        if self._task is None:
            return
        _, pending = await asyncio.wait([self._task], timeout=END_TIMEOUT_S)
        for task in pending:
            task.cancel()
        if not pending:
            await self._body.aclose()

    async def _run(self, app: Any) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        except Exception as exc:
            self._failure = self._failure or exc
        finally:
            self._head.set()
            if not self._gone.is_set():
                await self._answer.put(None)

    def _raise(self) -> NoReturn:
        failure = self._failure
        if isinstance(failure, SourceError):
            raise failure.reason
        if failure is not None and not isinstance(failure, ConnectionError):
            raise ProtocolError(f"the action server failed: {failure!r}") from failure
        raise ConnectionLost("the action server went away") from failure

    async def _receive(self) -> dict[str, Any]:
        if not self._gone.is_set() and not self._complete:
            try:
                piece = await anext(self._body, None)
            except Exception as exc:
                self._failure = SourceError(exc)
                return {"type": "http.disconnect"}
            if piece is not None:
                return piece
            await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone.is_set():
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._head.set()
            return
        if message.get("body"):
            await self._answer.put(message["body"])
        if not message.get("more_body"):
            self._complete = True


async def _pieces(body: Body | None) -> AsyncGenerator[dict[str, Any]]:
    if body is None or isinstance(body, bytes):
        yield {"type": "http.request", "body": body or b"", "more_body": False}
        return
    async for piece in body:
        yield {"type": "http.request", "body": piece, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False}


def _scope(method: str, target: str) -> dict[str, Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [],
        "client": None,
        "server": None,
        "state": {},
    }
