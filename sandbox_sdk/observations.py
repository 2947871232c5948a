"""Observations that are made on the host, and the check of those that come from a sandbox."""

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tool_plugins.contract import Action, Observation, ToolDefinition, ToolFailure
from tool_plugins.errors import ErrorCode, ProtocolError, ToolError

if TYPE_CHECKING:
    from collections.abc import Awaitable

ACTION_TIMEOUT_S = 120.0
"""How long the transport waits for a tool that has no deadline of its own."""

TIMEOUT_MARGIN_S = 30.0
"""How much longer it waits for one that has."""


def deadline_of(definition: ToolDefinition, args: Mapping[str, Any]) -> float:
    """How long the transport waits for an action, in seconds."""
    own = args.get(definition.timeout_argument) if definition.timeout_argument else None
    return ACTION_TIMEOUT_S if own is None else float(own) + TIMEOUT_MARGIN_S


def refused(action: Action, failure: ToolFailure) -> Observation:
    """An action that was not done."""
    return Observation(action_id=action.id, tool=action.tool, error=failure)


def unanswered(action: Action, error: Exception, deadline_s: float) -> Observation:
    """The sandbox is well, but this action was cancelled or its answer was lost."""
    if isinstance(error, TimeoutError):
        code, message = ErrorCode.TIMEOUT, f"no answer within {deadline_s:g} s; it was cancelled"
    else:
        code, message = ErrorCode.INTERNAL, "the connection broke while the action ran"
    hint = "it may have taken effect in part: look before you repeat it"
    return refused(action, ToolFailure(code=code, message=message, hint=hint))


def checked(definition: ToolDefinition, action: Action, observation: Observation) -> Observation:
    """The observation, if its data has the form its tool promises.

    Raises:
        ProtocolError: it has another.
    """
    if observation.data is not None:
        try:
            definition.result.model_validate(observation.data)
        except ValidationError as exc:
            raise ProtocolError(f"{action.tool} answered in a form of its own: {exc}") from exc
    return observation


async def observe(action: Action, work: "Awaitable[dict[str, Any]]") -> Observation:
    """What came of work that the host does itself."""
    begun = monotonic()
    answer: dict[str, Any] = {}
    try:
        answer["data"] = await work
    except ToolError as exc:
        answer["error"] = ToolFailure.model_validate(exc.as_dict())
    return Observation(
        action_id=action.id, tool=action.tool, duration_s=monotonic() - begun, **answer
    )
