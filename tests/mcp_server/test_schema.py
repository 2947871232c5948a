"""Schemas that every client takes, from models of every shape."""

from datetime import datetime
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field

from mcp_server.schema import input_schema, output_schema
from tool_plugins.contract import Arguments, Result
from tool_plugins.errors import ConfigurationError
from tool_plugins.registry import load_registry


class Edit(Arguments):
    """A nested model."""

    old: str
    title: str = ""


class Everything(Arguments):
    """Every shape at once."""

    title: str = Field(description="A field of the name of a keyword.")
    edits: list[Edit] = Field(min_length=1, max_length=50)
    one: Edit | None = None
    mode: Literal["a", "b"] | None = None
    only: Literal["x"] = "x"
    environment: dict[str, str] = Field(default_factory=dict)
    either: int | str | None = None
    when: datetime | None = None
    anything: list[Any] = Field(default_factory=list)


class Tree(BaseModel):
    """A model that contains itself."""

    model_config = ConfigDict(extra="forbid")
    children: list["Tree"] = Field(default_factory=list)


class Answer(Result):
    """A result with a null."""

    found: int | None
    parts: list[Edit] = Field(default_factory=list)


def test_an_input_schema_is_flat_closed_and_without_nulls() -> None:
    assert input_schema(Everything) == {
        "type": "object",
        "required": ["title", "edits"],
        "additionalProperties": False,
        "properties": {
            "title": {"type": "string", "description": "A field of the name of a keyword."},
            "edits": {"type": "array", "minItems": 1, "maxItems": 50, "items": EDIT},
            "one": EDIT,
            "mode": {"type": "string", "enum": ["a", "b"]},
            "only": {"type": "string", "enum": ["x"], "default": "x"},
            "environment": {"type": "object", "additionalProperties": {"type": "string"}},
            "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            "when": {"type": "string"},
            "anything": {"type": "array", "items": {}},
        },
    }


EDIT = {
    "type": "object",
    "description": "A nested model.",
    "required": ["old"],
    "additionalProperties": False,
    "properties": {"old": {"type": "string"}, "title": {"type": "string", "default": ""}},
}


def test_a_null_in_a_result_stays_allowed() -> None:
    schema = output_schema(Answer)
    for value in ({"found": None}, {"found": 1, "parts": [{"old": "x"}]}):
        Draft202012Validator(schema).validate(value)
    assert schema["properties"]["found"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_a_schema_that_contains_itself_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Tree"):
        input_schema(Tree)


@pytest.mark.parametrize("definition", list(load_registry()), ids=lambda each: each.mcp_name)
def test_every_shipped_tool_has_valid_schemas_and_says_what_each_argument_is(
    definition: Any,
) -> None:
    taken = input_schema(definition.arguments, with_sandbox_id=True)
    given = output_schema(definition.result)
    for schema in (taken, given):
        Draft202012Validator.check_schema(schema)
        assert "$ref" not in str(schema)
        assert not {"anyOf", "oneOf", "allOf"} & schema.keys()
    for name, argument in taken["properties"].items():
        assert argument.get("description"), name
