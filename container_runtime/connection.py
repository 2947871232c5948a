"""The host end of the action protocol: one `Connection` per sandbox.

It parses what the sandbox answers into models and refuses everything else; it never decides who
may do what, and never asks an engine.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any, Literal, NoReturn, Self, TypeVar
from urllib.parse import urlencode

from pydantic import TypeAdapter, ValidationError

from tool_plugins.contract import (
    Action,
    ActionEvent,
    Observation,
    ObservationEvent,
    ToolFailure,
    Value,
)
from tool_plugins.errors import ErrorCode, GoneCause, ProtocolError, SandboxGoneError, ToolError

from .asgi import AsgiTransport
from .spec import PROTOCOL_VERSION, AsgiEndpoint, Endpoint
from .transport import Response, SocketTransport, Transport
from .wire import Body, ConnectionLost

__all__ = ("Connection", "ConnectionLost", "FolderResult", "Ready", "UploadResult")

READY_TIMEOUT_S = 20.0
READY_POLL_S = 0.01
MAX_ANSWER_BYTES = 16 * 1024 * 1024 + 64 * 1024
MAX_LINE_BYTES = MAX_ANSWER_BYTES
MAX_ERROR_BYTES = 64 * 1024

EVENTS: TypeAdapter[ActionEvent] = TypeAdapter(ActionEvent)
Model = TypeVar("Model", bound=Value)


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
            return _refused(action, response.status, body)
        return _checked(action, parse(Observation, body))

    async def stream(
        self, action: Action, *, timeout_s: float | None = None
    ) -> AsyncGenerator[ActionEvent]:
        """Runs an action and gives its live events; the last one holds the observation.

        Closing the generator stops the action. Raises as `execute` does.
        """
        deadline = _deadline(timeout_s)
        async with asyncio.timeout_at(deadline):
            response = await self._transport.request("POST", "/actions", _encoded(action, True))
        try:
            if response.status != 200:
                body = await response.read(MAX_ERROR_BYTES)
                yield ObservationEvent(observation=_refused(action, response.status, body))
                return
            async with aclosing(_lines(response, deadline)) as lines:
                async for line in lines:
                    event = _event(line)
                    if isinstance(event, ObservationEvent):
                        _checked(action, event.observation)
                        yield event
                        return
                    yield event
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
        """Writes a file: all of it or nothing.

        Raises:
            ToolError: it cannot be written there.
        """
        query = {"path": path, "mode": mode, "executable": int(executable)}
        body = await self._transfer("PUT", "/files", query, content)
        return parse(UploadResult, body)

    async def download(self, path: str) -> AsyncGenerator[bytes]:
        """The bytes of a file, in pieces.

        Raises:
            ToolError: it cannot be read.
        """
        response = await self._open("GET", "/files", {"path": path})
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
            _raise_error(response.status, await response.read(MAX_ERROR_BYTES))
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
                _raise_error(response.status, body)
            return parse(Ready, body)


def parse(model: type[Model], body: bytes) -> Model:
    """A model out of JSON a sandbox sent.

    Raises:
        ProtocolError: it is not JSON, or not this model.
    """
    try:
        return model.model_validate(load(body))
    except ValidationError as exc:
        raise _malformed(exc) from None


def load(body: bytes) -> Any:
    """Strict JSON: no NaN, no lone surrogates, no bottomless nesting.

    Raises:
        ProtocolError: it is not that.
    """
    try:
        value = json.loads(body, parse_constant=_refuse_constant)
        if rb"\ud" in body or rb"\uD" in body:
            # Only an escape can smuggle in text that no encoder takes later.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"the sandbox answered malformed JSON ({type(exc).__name__})") from None
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _malformed(exc: ValidationError) -> ProtocolError:
    # Only where it is wrong: the values are the sandbox's own words.
    where = ", ".join(".".join(str(part) for part in e["loc"]) for e in exc.errors()[:3])
    return ProtocolError(f"the sandbox answered malformed data (at {where[:200]!r})")


def _encoded(action: Action, stream: bool) -> bytes:
    fields = {"id": action.id, "tool": action.tool, "args": action.args, "stream": stream}
    return json.dumps(fields, separators=(",", ":")).encode()


def _event(line: bytes) -> ActionEvent:
    try:
        return EVENTS.validate_python(load(line))
    except ValidationError as exc:
        raise _malformed(exc) from None


def _checked(action: Action, observation: Observation) -> Observation:
    if observation.action_id != action.id or observation.tool != action.tool:
        raise ProtocolError("the sandbox answered another action")
    if (observation.data is None) == (observation.error is None):
        raise ProtocolError("the sandbox answered neither data nor an error, or both")
    return observation


def _refused(action: Action, status: int, body: bytes) -> Observation:
    """An action the server would not even look at, such as one that is too large."""
    try:
        _raise_error(status, body)
    except ToolError as exc:
        failure = ToolFailure(**exc.as_dict())
    return Observation(action_id=action.id, tool=action.tool, error=failure)


def _raise_error(status: int, body: bytes) -> NoReturn:
    if status == 401:
        raise ProtocolError("the sandbox refused the token")
    answer = load(body)
    try:
        failure = ToolFailure.model_validate(answer["error"])
        code = ErrorCode(failure.code)
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(f"the sandbox answered with status {status}") from None
    raise ToolError(code, failure.message, hint=failure.hint, details=failure.details)


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s


async def _lines(response: Response, deadline: float | None) -> AsyncGenerator[bytes]:
    """Lines of an NDJSON body without the blank ones; the deadline holds for each wait."""
    rest = bytearray()
    while True:
        async with asyncio.timeout_at(deadline):
            chunk = await response.next_chunk()
        if chunk is None:
            return
        searched = len(rest)
        rest += chunk
        end = rest.rfind(b"\n", searched) + 1
        if end:
            lines = bytes(rest[:end]).split(b"\n")
            del rest[:end]
            for line in lines:
                if line:
                    yield line
        if len(rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"the sandbox sent a line of more than {MAX_LINE_BYTES} bytes")
