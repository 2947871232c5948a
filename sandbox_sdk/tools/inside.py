"""What the host asks of the part that runs in a sandbox: one function for each wire action."""

from collections.abc import Mapping
from typing import Any

from container_runtime.connection import Connection
from sandbox_sdk.observations import TIMEOUT_MARGIN_S
from tool_plugins.contract import Action, Observation
from tool_plugins.errors import ErrorCode, ToolError

from .models import Environment, FileSettings, Source, build_of

INSTALL_TIMEOUT_S = 30.0


async def install(
    connection: Connection,
    source: Source,
    environment: Environment | None,
    settings: FileSettings | None = None,
) -> str:
    """Hands a build over and gives its name; nothing of it runs yet. Idempotent."""
    build = build_of(source, environment)
    args = {
        "build": build,
        "namespace": source.namespace,
        "source": source.text,
        "environment": environment.path if environment else None,
        "process": (settings or FileSettings()).process,
    }
    await _do(connection, "tool.install", args, INSTALL_TIMEOUT_S)
    return build


async def describe(connection: Connection, build: str, timeout_s: float) -> Mapping[str, Any]:
    """What the file says of itself, unchecked."""
    args = {"build": build, "timeout_s": timeout_s}
    return await _do(connection, "tool.describe", args, timeout_s + TIMEOUT_MARGIN_S)


async def drop(connection: Connection, build: str) -> None:
    """Forgets a build; calls that run finish."""
    await _do(connection, "tool.drop", {"build": build}, INSTALL_TIMEOUT_S)


async def answer(connection: Connection, call: str, ask: int, observation: Observation) -> None:
    """Brings a running call what it asked for."""
    error = observation.error.model_dump() if observation.error else None
    args = {"call": call, "ask": ask, "data": observation.data, "error": error}
    await _do(connection, "tool.answer", args, INSTALL_TIMEOUT_S)


def is_missing(observation: Observation) -> bool:
    """Whether a build has to be installed (again): a call found none."""
    return observation.error is not None and observation.error.details.get("missing") == "build"


async def _do(
    connection: Connection, tool: str, args: dict[str, Any], timeout_s: float
) -> dict[str, Any]:
    observation = await connection.execute(Action(tool=tool, args=args), timeout_s=timeout_s)
    if observation.error is not None:
        error = observation.error
        known = error.code in ErrorCode._value2member_map_
        code = ErrorCode(error.code) if known else ErrorCode.INTERNAL
        raise ToolError(code, error.message, hint=error.hint, details=error.details)
    return observation.data or {}
