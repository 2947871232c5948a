"""Validates a tool's arguments, once and for all, before an action is sent."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tool_plugins.contract import ToolDefinition, ToolFailure
from tool_plugins.errors import ErrorCode


def parse_arguments(
    definition: ToolDefinition, given: Mapping[str, Any]
) -> dict[str, Any] | ToolFailure:
    """Every argument of the tool with its default filled in, or what is wrong with each."""
    try:
        model = definition.arguments.model_validate(given)
    except ValidationError as exc:
        known = definition.arguments.model_fields
        problems = [_problem(error, known) for error in exc.errors(include_url=False)]
        told = "; ".join(f"{problem['field']}: {problem['message']}" for problem in problems)
        return ToolFailure(
            code=ErrorCode.INVALID_ARGUMENT,
            message=f"invalid arguments for {definition.name}: {told}",
            hint=f"{definition.name} takes: {', '.join(known) or 'no arguments'}",
            details={"fields": problems},
        )
    return model.model_dump(mode="json")


def _problem(error: ErrorDetails, known: Mapping[str, Any]) -> dict[str, str]:
    """One bad field: where it is, what is wrong, and the name that was probably meant."""
    field = ".".join(map(str, error["loc"])) or "arguments"
    if error["type"] != "extra_forbidden":
        return {"field": field, "message": error["msg"]}
    problem = {"field": field, "message": "unknown argument"}
    near = get_close_matches(field, known, n=1) if len(error["loc"]) == 1 else []
    if near:
        problem |= {"message": f"unknown argument, did you mean {near[0]!r}?", "nearest": near[0]}
    return problem
