"""What a tool gives is what it promised, or an error that says where it is not."""

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sandbox_sdk.tools.checking import Compiled
from sandbox_sdk.tools.outcome import MAX_RESULT_CHARS, check_outcome, is_small
from sandbox_sdk.tools.schema import Allowance, output_schema
from tests.sandbox_sdk.tools.versions import tool
from tool_plugins.errors import ToolError

ITSELF = {"$ref": "#/$defs/Json"}
SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "integer"},
    {"type": "number"},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {}, "prefixItems": [{"type": "string"}, {"type": "null"}]},
    {"type": "array", "items": {"type": "null"}, "prefixItems": [{"type": "string"}]},
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    {"items": {"type": "string"}},
    {"enum": [1, "a", None]},
    {"enum": [True]},
    {"type": "string", "enum": ["a", "b"]},
    {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
    {"anyOf": [{"type": "object", "required": ["a"], "properties": {"a": {}}}, {"type": "string"}]},
    {"type": "string", "anyOf": [{"type": "integer"}, {"enum": ["a"]}]},
    {
        "anyOf": [
            {"type": "object", "properties": {"a": {"enum": ["a"]}}, "required": ["a"]},
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        ]
    },
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"enum": [1]}]},
    {"allOf": [{"type": "integer"}, {"anyOf": [{"enum": [1]}, {"enum": [2]}]}]},
    {
        **ITSELF,
        "$defs": {
            "Json": {
                "anyOf": [
                    {"type": "object", "additionalProperties": ITSELF},
                    {"type": "array", "items": ITSELF},
                    {"type": "string"},
                ]
            }
        },
    },
    {
        "type": "array",
        "items": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "integer"}]},
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/Node"}},
                "additionalProperties": False,
            }
        },
    },
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    1.0,
    1.5,
    -(10**30),
    "",
    "a",
    [],
    [1],
    [1.0, True],
    ["a", None],
    ["a", None, 5],
    ["a", ["b", {"c": "d"}]],
    [["a"], [1]],
    [{"a": {"a": {}}}, 3],
    [{"a": {"b": {}}}],
    {},
    {"a": "a"},
    {"a": 1},
    {"a": 1, "b": 2},
    {"b": 1},
    {"__proto__": {"a": "b"}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=range(len(SCHEMAS)))
def test_it_judges_as_a_general_validator_does(schema: dict[str, Any]) -> None:
    general, compiled = Draft202012Validator(schema), Compiled(schema)

    for value in VALUES:
        assert (compiled.misfit(value) is None) == general.is_valid(value), value


PLACES = {
    "type": "object",
    "properties": {
        "places": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "north": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                    "kind": {"enum": ["city", "river"]},
                    "odd name": {"type": "integer"},
                },
                "required": ["north"],
                "additionalProperties": False,
            },
        }
    },
}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ([], "result: is a list, not an object"),
        ({"places": {}}, "result.places: is an object, not a list"),
        ({"places": [{"north": 1}, {}]}, "result.places[1]: has no field 'north'"),
        ({"places": [{"north": "1"}]}, "north: is a string, not a number or null"),
        ({"places": [{"north": None, "kind": "sea"}]}, "kind: is none of the 2 values it may have"),
        ({"places": [{"north": 1, "odd name": 1.5}]}, "[0]['odd name']: is a number, not an int"),
        ({"places": [{"north": 1, "x\u202e" * 10**5: 1}]}, r"has the field 'x\u202ex"),
    ],
)
def test_an_error_says_where_and_what_kind(result: Any, words: str) -> None:
    check_outcome(tool("a.b", output_schema=PLACES), {"result": {"places": [{"north": 1.5}]}})

    with pytest.raises(ToolError) as error:
        check_outcome(tool("a.b", output_schema=PLACES), {"result": result})
    assert error.value.code == "INVALID_RESULT"
    assert error.value.message.startswith("a.b: result")
    assert words in error.value.message
    assert error.value.message.isprintable()
    assert len(error.value.message) < 500


FILE = {"path": ".tool_results/a.b-1f.json", "bytes": 5, "mime_type": "application/json"}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"result": None, "file": None, "logs": "", "logs_truncated": False},
        {"result": {"any": ["thing"]}, "logs": "\x1b[31mred", "logs_truncated": True},
        {"result": None, "file": FILE},
    ],
    ids=["empty", "full", "logs", "file"],
)
def test_a_call_result_is_passed_on(data: dict[str, Any]) -> None:
    check_outcome(tool("a.b"), data)


@pytest.mark.parametrize(
    "data",
    [
        {"other": 1},
        {"logs": None},
        {"logs": "x" * 1_000_001},
        {"logs_truncated": 1},
        {"file": ".tool_results/a.json"},
        {"file": FILE, "result": 1},
        {"file": FILE | {"more": 1}},
        {"file": FILE | {"path": "/etc/passwd"}},
        {"file": FILE | {"path": ".tool_results/../a"}},
        {"file": FILE | {"path": ".tool_results/.."}},
        {"file": FILE | {"path": ".tool_results/a\n"}},
        {"file": FILE | {"path": ".tool_results/a\u202e"}},
        {"file": FILE | {"bytes": -1}},
        {"file": FILE | {"bytes": True}},
        {"file": FILE | {"bytes": 10**30}},
        {"file": FILE | {"mime_type": "text"}},
        {"file": FILE | {"mime_type": "text/html; x=<script>"}},
        {"result": json.loads("1e999")},
        {"result": [{"a": json.loads("-1e999")}]},
        {"result": "x" * MAX_RESULT_CHARS},
        {"result": json.loads("[" * 201 + "]" * 201)},
        {"result": json.loads('{"a":' * 900 + "1" + "}" * 900)},
    ],
    ids=range(22),
)
def test_what_is_no_call_result_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ToolError) as error:
        check_outcome(tool("a.b"), data)
    assert error.value.code == "INVALID_RESULT"
    assert error.value.message.startswith("a.b: the ")


def test_a_file_stands_for_a_result_of_any_type() -> None:
    check_outcome(tool("a.b", output_schema={"type": "string"}), {"file": FILE})
    with pytest.raises(ToolError):
        check_outcome(tool("a.b", output_schema={"type": "string"}), {"result": None})


def test_two_tools_of_one_name_are_held_to_their_own_promises() -> None:
    one = tool("a.b", output_schema={"type": "string"})
    other = tool("a.b", output_schema={"type": "integer"})

    for _ in range(2):
        check_outcome(one, {"result": "1"})
        check_outcome(other, {"result": 1})
        with pytest.raises(ToolError):
            check_outcome(other, {"result": "1"})


def alike() -> dict[str, Any]:
    """A schema by which a general validator takes twice as long for each level of a value."""
    branch = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/A"}, "kind": {"type": "integer"}},
        "required": ["kind"],
    }
    raw = {"$ref": "#/$defs/A", "$defs": {"A": {"anyOf": [branch, branch, {"type": "null"}]}}}
    return output_schema(raw, Allowance())


def test_alternatives_that_contain_each_other_take_no_longer() -> None:
    good: dict[str, Any] = {"kind": 1}
    bad: dict[str, Any] = {"kind": "1"}
    for _ in range(90):
        good, bad = {"next": good, "kind": 1}, {"next": bad, "kind": 1}

    check_outcome(tool("a.b", output_schema=alike()), {"result": good})
    with pytest.raises(ToolError, match="fits none of 2 alternatives") as error:
        check_outcome(tool("a.b", output_schema=alike()), {"result": bad})
    assert len(error.value.message) < 500


def test_what_takes_too_long_is_given_up() -> None:
    schema = output_schema({"allOf": [{"items": {"type": "integer"}}] * 25}, Allowance())
    check_outcome(tool("a.b", output_schema=schema), {"result": [1] * 1000})

    with pytest.raises(ToolError, match="too involved"):
        check_outcome(tool("a.b", output_schema=schema), {"result": [1] * 100_000})


def test_a_pattern_is_not_even_there() -> None:
    schema = output_schema({"type": "string", "pattern": "^(a+)+$"}, Allowance())

    check_outcome(tool("a.b", output_schema=schema), {"result": "a" * 60 + "!"})
    assert not re.search("pattern", json.dumps(schema))


@pytest.mark.parametrize(
    ("result", "small"),
    [
        (1, True),
        ("x" * 1000, True),
        ({"a": [1, 2, {"b": "c"}]}, True),
        ("x" * 30_000, False),
        (list(range(1000)), False),
        ([[[list(range(1000))]]], False),
        ([["x" * 1000] * 5] * 10, False),
    ],
    ids=["number", "text", "record", "long text", "long list", "deep list", "many texts"],
)
def test_only_small_results_are_checked_in_the_event_loop(result: object, small: bool) -> None:
    assert is_small({"result": result, "logs": ""}) is small
