"""The host end of the action protocol: one `Connection` per sandbox.

It parses what the sandbox answers into models and refuses everything else; it never decides who
may do what, and never asks an engine.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self
from urllib.parse import urlencode

from tool_plugins.contract import (
    Action,
    ChangeEvent,
    Observation,
    ObservationEvent,
    Value,
    WireEvent,
)
from tool_plugins.errors import ErrorCode, GoneCause, ProtocolError, SandboxGoneError, ToolError

from .answers import (
    MAX_ANSWER_BYTES,
    MAX_ERROR_BYTES,
    checked,
    event,
    lines,
    parse,
    raise_error,
    refused,
)
from .asgi import AsgiTransport
from .spec import PROTOCOL_VERSION, AsgiEndpoint, Endpoint
from .transport import Response, SocketTransport, Transport
from .wire import Body, ConnectionLost

__all__ = ("Connection", "ConnectionLost", "FolderResult", "Ready", "UploadResult")

READY_TIMEOUT_S = 20.0
READY_POLL_S = 0.01
# A sandbox could otherwise fill this host's disk with one sparse file.
MAX_FOLDER_BYTES = 16 * 1024**3
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
READY_LINE = b'{"event":"ready"}'


class Ready(Value):
    """What the action server says of itself once it is ready."""

    protocol: int
    tools: tuple[str, ...]
    limits: dict[str, float | None]


class UploadResult(Value):
    """A file that was written. `path` is relative to the workspace."""

    path: str
    bytes: int
    sha256: str


class FolderResult(Value):
    """A folder that was copied. `skipped` counts links that would have led out of it."""

    path: str
    files: int
    bytes: int
    skipped: int = 0


class Connection:
    """Speaks the action protocol to one sandbox. Many calls may run at once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport: Transport = (
            AsgiTransport(endpoint)
            if isinstance(endpoint, AsgiEndpoint)
            else SocketTransport(endpoint)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every socket; calls under way end with `ConnectionLost`. Idempotent."""
        await self._transport.aclose()

    async def ready(self, timeout_s: float = READY_TIMEOUT_S) -> Ready:
        """Waits until the action server answers.

        Raises:
            SandboxGoneError: it did not within the time.
            ProtocolError: it speaks another protocol.
        """
        try:
            async with asyncio.timeout(timeout_s):
                ready = await self._poll()
        except TimeoutError:
            raise SandboxGoneError(
                f"the sandbox was not ready within {timeout_s:g} s", cause=GoneCause.TIMEOUT
            ) from None
        if ready.protocol != PROTOCOL_VERSION:
            raise ProtocolError(
                f"the sandbox speaks protocol {ready.protocol}, this program {PROTOCOL_VERSION}",
                hint="build the sandbox image again",
            )
        return ready

    async def execute(self, action: Action, *, timeout_s: float | None = None) -> Observation:
        """Runs an action and returns what came of it.

        Raises:
            TimeoutError: the time is over; the action was told to stop.
            ConnectionLost: the sandbox went away.
            ProtocolError: the sandbox answered something else.
        """
        async with asyncio.timeout(timeout_s):
            response = await self._transport.request("POST", "/actions", _encoded(action, False))
            try:
                body = await response.read(MAX_ANSWER_BYTES)
            finally:
                await response.aclose()
        if response.status != 200:
            return refused(action, response.status, body)
        return checked(action, parse(Observation, body))

    async def stream(
        self, action: Action, *, timeout_s: float | None = None
    ) -> AsyncGenerator[WireEvent]:
        """Runs an action and gives its live events; the last one holds the observation.

        Closing the generator stops the action. Raises as `execute` does.
        """
        deadline = _deadline(timeout_s)
        async with asyncio.timeout_at(deadline):
            response = await self._transport.request("POST", "/actions", _encoded(action, True))
        try:
            if response.status != 200:
                body = await response.read(MAX_ERROR_BYTES)
                yield ObservationEvent(observation=refused(action, response.status, body))
                return
            async with aclosing(lines(response, deadline)) as stream:
                async for line in stream:
                    found = event(line)
                    if isinstance(found, ObservationEvent):
                        checked(action, found.observation)
                        yield found
                        return
                    yield found
            raise ConnectionLost("the stream ended without an observation")
        finally:
            await response.aclose()

    async def upload(
        self,
        path: str,
        content: bytes | AsyncIterable[bytes],
        *,
        mode: Literal["overwrite", "create"] = "overwrite",
        executable: bool = False,
    ) -> UploadResult:
        """Writes a file: all of it or nothing. Without `executable` a present file keeps its mode.

        Raises:
            ToolError: it cannot be written there.
        """
        query = {"path": path, "mode": mode} | ({"executable": 1} if executable else {})
        body = await self._transfer("PUT", "/files", query, content)
        return parse(UploadResult, body)

    async def download(self, path: str) -> AsyncGenerator[bytes]:
        """The bytes of a file, in pieces.

        Raises:
            ToolError: it cannot be read.
        """
        async with aclosing(self._chunks("/files", {"path": path})) as chunks:
            async for chunk in chunks:
                yield chunk

    async def upload_folder(self, source: Path, path: str) -> FolderResult:
        """Copies a folder of this host into the sandbox, over what is there.

        Raises:
            ToolError: it cannot be read here or written there.
        """
        folder = await asyncio.to_thread(os.open, source, OPEN_FOLDER)
        try:
            body = await self._transfer("PUT", "/folders", {"path": path}, _packed(folder))
        finally:
            os.close(folder)
        return parse(FolderResult, body)

    async def download_folder(
        self, path: str, target: Path, *, max_bytes: int = MAX_FOLDER_BYTES
    ) -> FolderResult:
        """Copies a folder of the sandbox to this host, over what is there.

        Raises:
            ToolError: it cannot be read there or written here, or holds more than `max_bytes`.
            ProtocolError: the sandbox sent an archive that is malformed or leads out of `target`.
        """
        async with aclosing(self._chunks("/folders", {"path": path})) as chunks:
            # The first piece shows that there is something to make a folder for.
            first = await anext(chunks, b"")
            await asyncio.to_thread(target.mkdir, parents=True, exist_ok=True)
            folder = await asyncio.to_thread(os.open, target, OPEN_FOLDER)
            unpacker = _archive().Unpacker(folder, max_bytes=max_bytes)
            try:
                await _to_end(unpacker.feed, first)
                async for chunk in chunks:
                    await _to_end(unpacker.feed, chunk)
                summary = unpacker.finish()
            except ToolError as exc:
                if exc.code is ErrorCode.INVALID_ARGUMENT:
                    raise ProtocolError(f"the sandbox sent a bad archive: {exc}") from exc
                raise
            finally:
                unpacker.close()
                os.close(folder)
        return FolderResult(
            path=path, files=summary.files, bytes=summary.bytes, skipped=summary.skipped
        )

    @asynccontextmanager
    async def watch(
        self, path: str, *, recursive: bool = True
    ) -> AsyncIterator[AsyncIterator[ChangeEvent]]:
        """Changes below a folder while the block lasts; none after it is entered is missed.

        A change of the folder itself says that some were lost: look at everything again.

        Raises:
            ToolError: it cannot be watched.
        """
        response = await self._open("GET", "/changes", {"path": path, "recursive": int(recursive)})
        try:
            async with aclosing(lines(response, None)) as stream:
                if await anext(stream, None) != READY_LINE:
                    raise ProtocolError("the sandbox does not say when watching begins")
                yield _changes(stream)
        finally:
            await response.aclose()

    async def _chunks(self, target: str, query: dict[str, Any]) -> AsyncGenerator[bytes]:
        response = await self._open("GET", target, query)
        try:
            while (chunk := await response.next_chunk()) is not None:
                yield chunk
        finally:
            await response.aclose()

    async def _transfer(
        self, method: str, target: str, query: dict[str, Any], content: Body | None
    ) -> bytes:
        response = await self._open(method, target, query, content)
        try:
            return await response.read(MAX_ANSWER_BYTES)
        finally:
            await response.aclose()

    async def _open(
        self, method: str, target: str, query: dict[str, Any], content: Body | None = None
    ) -> Response:
        response = await self._transport.request(method, f"{target}?{urlencode(query)}", content)
        if response.status == 200:
            return response
        try:
            raise_error(response.status, await response.read(MAX_ERROR_BYTES))
        finally:
            await response.aclose()

    async def _poll(self) -> Ready:
        while True:
            try:
                response = await self._transport.request("GET", "/ready")
            except ConnectionLost:
                await asyncio.sleep(READY_POLL_S)
                continue
            try:
                body = await response.read(MAX_ANSWER_BYTES)
            finally:
                await response.aclose()
            if response.status != 200:
                raise_error(response.status, body)
            return parse(Ready, body)


async def _changes(stream: AsyncIterator[bytes]) -> AsyncIterator[ChangeEvent]:
    async for line in stream:
        yield parse(ChangeEvent, line)
    raise ConnectionLost("the sandbox stopped watching")


def _encoded(action: Action, stream: bool) -> bytes:
    fields = {"id": action.id, "tool": action.tool, "args": action.args, "stream": stream}
    return json.dumps(fields, separators=(",", ":")).encode()


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


def _archive() -> ModuleType:
    """The archive module, by name: with `tarfile` it is a fifteenth of the SDK's import time, and
    few programs move folders."""
    return import_module(f"{__package__}.archive")


async def _packed(folder: int) -> AsyncGenerator[bytes]:
    pieces = _archive().pack(folder)
    while (piece := await _to_end(next, pieces, None)) is not None:
        yield piece


async def _to_end(function: Callable[..., Any], *args: Any) -> Any:
    """Runs a blocking step in a thread, to its end even when cancelled: it uses open files."""
    step = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(step)
    except asyncio.CancelledError:
        await asyncio.wait([step])
        raise
