"""What a sandbox answers, parsed into models. Whatever is not the protocol is a `ProtocolError`."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, NoReturn, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from tool_plugins.contract import (
    Action,
    Observation,
    ToolFailure,
    Value,
    WireEvent,
)
from tool_plugins.errors import ErrorCode, ProtocolError, ToolError

from .transport import Response

MAX_ANSWER_BYTES = 16 * 1024 * 1024 + 64 * 1024
MAX_LINE_BYTES = MAX_ANSWER_BYTES
MAX_ERROR_BYTES = 64 * 1024

EVENTS: TypeAdapter[WireEvent] = TypeAdapter(WireEvent, config=ConfigDict(defer_build=True))
Model = TypeVar("Model", bound=Value)


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


def event(line: bytes) -> WireEvent:
    """One event of a stream."""
    try:
        return EVENTS.validate_python(load(line))
    except ValidationError as exc:
        raise _malformed(exc) from None


def checked(action: Action, observation: Observation) -> Observation:
    """The observation, if it is one of that action."""
    if observation.action_id != action.id or observation.tool != action.tool:
        raise ProtocolError("the sandbox answered another action")
    if (observation.data is None) == (observation.error is None):
        raise ProtocolError("the sandbox answered neither data nor an error, or both")
    return observation


def refused(action: Action, status: int, body: bytes) -> Observation:
    """An action the server would not even look at, such as one that is too large."""
    try:
        raise_error(status, body)
    except ToolError as exc:
        failure = ToolFailure(**exc.as_dict())
    return Observation(action_id=action.id, tool=action.tool, error=failure)


def raise_error(status: int, body: bytes) -> NoReturn:
    """Raises the error a request was answered with."""
    if status == 401:
        raise ProtocolError("the sandbox refused the token")
    answer = load(body)
    try:
        failure = ToolFailure.model_validate(answer["error"])
        code = ErrorCode(failure.code)
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(f"the sandbox answered with status {status}") from None
    raise ToolError(code, failure.message, hint=failure.hint, details=failure.details)


async def lines(response: Response, deadline: float | None) -> AsyncGenerator[bytes]:
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
            whole = bytes(rest[:end]).split(b"\n")
            del rest[:end]
            for line in whole:
                if line:
                    yield line
        if len(rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"the sandbox sent a line of more than {MAX_LINE_BYTES} bytes")
