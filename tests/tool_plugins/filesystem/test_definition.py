"""The definitions say what the executors do."""

import inspect
import json
from typing import Any

import pytest
from pydantic import ValidationError

from tool_plugins.contract import ToolDefinition
from tool_plugins.filesystem.definition import TOOLS
from tool_plugins.filesystem.executor import EXECUTORS
from tool_plugins.registry import ToolRegistry

by_name = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)


def test_there_are_eight_tools_and_each_has_an_executor() -> None:
    verbs = ["read", "write", "edit", "list", "glob", "grep", "move", "delete"]

    assert [f"filesystem.{verb}" for verb in verbs] == [tool.name for tool in ToolRegistry(TOOLS)]
    assert verbs == list(EXECUTORS)


@by_name
def test_the_executor_has_the_models_arguments_and_defaults(tool: ToolDefinition) -> None:
    executor = EXECUTORS[tool.name.partition(".")[2]]
    parameters = list(inspect.signature(executor).parameters.values())[1:]
    found = {p.name: p.default for p in parameters}
    expected = {
        name: inspect.Parameter.empty if field.is_required() else field.default
        for name, field in tool.arguments.model_fields.items()
    }

    assert expected == found
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters)
    assert f"tool_plugins.filesystem.executor:{executor.__name__}" == tool.executor


@by_name
def test_schemas_are_flat_and_every_field_is_described(tool: ToolDefinition) -> None:
    for model in (tool.arguments, tool.result):
        schema = model.model_json_schema()
        assert schema["type"] == "object"
        assert "$ref" not in json.dumps(schema)
        assert "anyOf" not in schema
        assert schema["additionalProperties"] is False
        for field in _fields(schema):
            assert field.get("description")
            assert field.get("type") != "array" or "items" in field


def _fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = list(schema.get("properties", {}).values())
    for field in found.copy():
        found += _fields(field.get("items", {}))
    return found


@by_name
def test_integers_of_the_arguments_are_bounded(tool: ToolDefinition) -> None:
    for field in _fields(tool.arguments.model_json_schema()):
        if field.get("type") == "integer":
            assert {"minimum", "maximum"} <= field.keys()


@by_name
def test_an_unknown_argument_is_refused_by_name(tool: ToolDefinition) -> None:
    with pytest.raises(ValidationError, match="no_such_argument"):
        tool.arguments.model_validate({"no_such_argument": 1})


@by_name
def test_the_description_is_short_and_begins_with_one_sentence(tool: ToolDefinition) -> None:
    assert len(tool.description) < 1200
    assert tool.description.split("\n")[0].endswith(".")
