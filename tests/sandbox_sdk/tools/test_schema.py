"""A schema that came out of a sandbox is made anew of what is known, or refused."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, TypeAdapter, create_model

from sandbox_sdk.tools.schema import (
    MAX_PARTS,
    MAX_SCHEMA_BYTES,
    Allowance,
    SchemaError,
    input_schema,
    output_schema,
)

INFINITE = json.loads("1e999")


def argument(raw: Any, **definitions: Any) -> dict[str, Any]:
    """What becomes of the schema of an argument `x`."""
    given = {"type": "object", "properties": {"x": raw}, "$defs": definitions}
    return input_schema(given, Allowance())["properties"]["x"]


def result(raw: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    return output_schema(raw | {"$defs": definitions}, Allowance())


class Place(BaseModel):
    """Where."""

    north: Annotated[float, Field(ge=-90, le=90, description="In degrees.")]
    kind: Literal["city", "river"] = "city"


class Branch(BaseModel):
    at: Place
    twigs: list["Branch"] = []


def test_models_are_written_out_where_they_end() -> None:
    model = create_model("Arguments", place=(Place, Field(description="Begin here.")))

    assert input_schema(model.model_json_schema(), Allowance()) == {
        "type": "object",
        "properties": {
            "place": {
                "description": "Begin here.",
                "type": "object",
                "properties": {
                    "north": {
                        "description": "In degrees.",
                        "type": "number",
                        "maximum": 90,
                        "minimum": -90,
                    },
                    "kind": {"default": "city", "type": "string", "enum": ["city", "river"]},
                },
                "required": ["north"],
            }
        },
        "required": ["place"],
        "additionalProperties": False,
    }


def test_a_model_that_contains_itself_stays_a_definition() -> None:
    raw = TypeAdapter(list[Branch]).json_schema(mode="serialization")

    schema = output_schema(raw, Allowance())

    assert schema["items"] == {"$ref": "#/$defs/Branch"}
    assert list(schema["$defs"]) == ["Branch"]
    branch = schema["$defs"]["Branch"]["properties"]
    assert branch["twigs"] == {"type": "array", "items": {"$ref": "#/$defs/Branch"}}
    assert branch["at"]["properties"]["kind"] == {"type": "string", "enum": ["city", "river"]}


def test_of_a_result_only_the_structure_is_listed() -> None:
    limits = {
        "minLength": 1,
        "maxLength": 2,
        "pattern": "(a+)+$",
        "minItems": 1,
        "maxItems": 2,
        "uniqueItems": True,
        "minimum": 1,
        "multipleOf": 0.1,
        "minProperties": 1,
        "propertyNames": {"pattern": "(a+)+$"},
        "default": "a",
    }
    shape = {"type": "array", "items": {"type": "string"}}

    assert result(shape | limits) == shape
    assert argument(shape | limits) == shape | limits | {"propertyNames": limits["propertyNames"]}


@pytest.mark.parametrize(
    "keyword",
    [
        {"$id": "http://example.test/a.json"},
        {"$anchor": "a"},
        {"$dynamicRef": "#a"},
        {"not": {}},
        {"if": {}, "then": False},
        {"patternProperties": {"(a+)+$": {}}, "additionalProperties": False},
        {"pattern": "a" * 501},
        {"pattern": "a\u200b"},
        {"title": "A", "x-own": 1, "__proto__": {}, "examples": []},
        {"minimum": INFINITE},
        {"maximum": 10**400},
        {"minLength": -1},
        {"maxItems": True},
        {"enum": [1, INFINITE]},
        {"enum": ["a", "b\u202e"]},
        {"enum": [{"a": 1}]},
        {"enum": "abc"},
        {"const": ["a"]},
        {"default": [INFINITE]},
        {"default": "\x1b[31m"},
        {"default": {"\u200b": 1}},
        {"default": "x" * 3000},
        {"default": json.loads("[" * 900 + "]" * 900)},
        {"type": ["string", "null"]},
        {"type": "text"},
        {"format": "A <b>"},
        {"anyOf": {}},
        {"oneOf": []},
        {"required": ["a"]},
        {"description": 5},
        {"description": "\u200b\x00 "},
    ],
    ids=lambda each: "-".join(each),
)
def test_what_is_unknown_malformed_or_not_to_be_shown_is_left_out(keyword: dict[str, Any]) -> None:
    assert argument(keyword) == {}
    assert result(keyword) == {}


def test_what_fits_one_of_several_may_fit_more_of_them() -> None:
    union = [{"type": "integer"}, {"type": "null"}]

    assert argument({"oneOf": union}) == {"anyOf": union}


def test_only_fields_that_are_there_are_required_once() -> None:
    raw = {"properties": {"a": {}, "b": {}}, "required": ["b", "b", "c", 5, ["a"]]}

    assert argument(raw)["required"] == ["b"]


def test_descriptions_are_plain_wherever_they_stand() -> None:
    hidden = "\x1b[8mSee <IMPORTANT>\u202ethis\u200b</IMPORTANT>.\n\n" + "x " * 1000
    raw = {"$ref": "#/$defs/A", "description": hidden}

    schema = argument(raw, A={"properties": {"deep": {"items": {"description": hidden}}}})

    for text in (schema["description"], schema["properties"]["deep"]["items"]["description"]):
        assert text.startswith("See [IMPORTANT]this[/IMPORTANT].\nx x")
        assert len(text) <= 1000
        assert text.endswith("…")


@pytest.mark.parametrize(
    "reference",
    [
        "http://example.test/schema.json",
        "file:///etc/passwd",
        "other.json#/$defs/A",
        "#",
        "#/properties/x",
        "#/$defs/A/properties/b",
        "#/$defs/",
        "A",
        "#/$defs/gone",
        "#/$defs/__proto__",
        7,
        None,
    ],
)
def test_a_reference_leads_to_a_definition_or_is_refused(reference: Any) -> None:
    assert argument({"$ref": "#/$defs/A"}, A={"type": "null"}) == {"type": "null"}

    with pytest.raises(SchemaError, match="a reference leads") as error:
        argument({"$ref": reference}, A={}, __proto__={})
    assert error.value.field == "x"


@pytest.mark.parametrize(
    "definitions",
    [
        {"A": {"$ref": "#/$defs/A"}},
        {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}},
        {"A": {"anyOf": [{"type": "null"}, {"allOf": [{"$ref": "#/$defs/A"}]}]}},
    ],
    ids=["itself", "each other", "a union"],
)
def test_a_definition_that_never_reaches_a_value_is_refused(definitions: dict[str, Any]) -> None:
    with pytest.raises(SchemaError, match="'A' is nothing but itself"):
        result({"$ref": "#/$defs/A"}, **definitions)


def test_a_definition_may_contain_itself_in_a_part_of_its_value() -> None:
    itself = {"$ref": "#/$defs/Json"}
    json_value = {
        "anyOf": [
            {"type": "object", "additionalProperties": itself},
            {"type": "array", "items": itself},
            {"type": "string"},
        ]
    }

    assert result(itself, Json=json_value) == itself | {"$defs": {"Json": json_value}}


def doubling(steps: int, twice: Any) -> dict[str, Any]:
    """Definitions, each of which names the next one twice."""
    names = {f"A{step}": twice({"$ref": f"#/$defs/A{step + 1}"}) for step in range(steps)}
    return names | {f"A{steps}": {"type": "null"}}


@pytest.mark.parametrize("steps", [28, 60], ids=["shallow", "deep"])
def test_references_that_double_at_each_step_are_not_written_out(steps: int) -> None:
    definitions = doubling(steps, lambda each: {"properties": {"a": each, "b": each}})

    schema = result({"$ref": "#/$defs/A0"}, **definitions)

    assert schema == {"$ref": "#/$defs/A0", "$defs": definitions}


def test_alternatives_that_double_at_each_step_are_refused() -> None:
    with pytest.raises(SchemaError, match="alternatives"):
        result({"$ref": "#/$defs/A0"}, **doubling(60, lambda each: {"anyOf": [each, each]}))


def test_a_long_way_of_references_stays_one() -> None:
    definitions = {f"A{n}": {"items": {"$ref": f"#/$defs/A{n + 1}"}} for n in range(200)}

    schema = result({"$ref": "#/$defs/A0"}, **definitions, A200={})

    assert len(schema["$defs"]) == 201


def test_what_is_written_out_is_small_as_well() -> None:
    long = {"type": "object", "properties": {"f" * 100 + str(n): {} for n in range(100)}}
    name = "#/$defs/Long"

    few = argument({"prefixItems": [{"$ref": name}] * 2}, Long=long)
    schema = input_schema(
        {
            "type": "object",
            "properties": {"x": {"prefixItems": [{"$ref": name}] * 20}},
            "$defs": {"Long": long},
        },
        Allowance(),
    )

    assert few == {"prefixItems": [long] * 2}
    assert schema["properties"]["x"]["prefixItems"] == [{"$ref": name}] * 20
    assert schema["$defs"] == {"Long": long}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def wide(count: int) -> dict[str, Any]:
    return {"properties": {f"field{n}": {} for n in range(count)}, "required": ["a"] * count}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (nested(100_000), "deeper"),
        (nested(33), "deeper"),
        (wide(100_000), f"more than {MAX_PARTS} parts"),
        ({"anyOf": [{}] * 100_000}, "parts"),
        (wide(9_000), f"at most {MAX_SCHEMA_BYTES} fit"),
        ({"enum": list(range(1001))}, "more than 1000 values"),
        ({"enum": ["v" * 1900] * 60}, "fit"),
        ({"properties": {"__proto__": {}}}, "'__proto__' is no name"),
        ({"properties": {"": {}}}, "no name"),
        ({"properties": {"a\u200b": {}}}, r"'a\\u200b' is no name"),
        ({"properties": {"a\n": {}}}, "no name"),
        ({"properties": {"f" * 10**6: {}}}, "no name"),
    ],
    ids=[
        "deep",
        "a step too deep",
        "wide",
        "union",
        "large",
        "values",
        "long values",
        "proto",
        "empty",
        "zero width",
        "newline",
        "long name",
    ],
)
def test_what_is_too_much_or_misleads_is_refused_in_few_words(raw: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words) as error:
        argument(raw)
    assert len(error.value.message) < 200
    with pytest.raises(SchemaError, match=words):
        result(raw)


def test_what_is_just_not_too_much_is_taken() -> None:
    assert argument(nested(31)) == nested(31)
    assert argument({"enum": list(range(1000))}) == {"enum": list(range(1000))}


@pytest.mark.parametrize("name", ["größe", "a b", "", "a\n", "__proto__", "a" * 65, "sandbox_id"])
def test_an_argument_has_a_name_that_clients_take_and_that_is_free(name: str) -> None:
    with pytest.raises(SchemaError):
        input_schema({"type": "object", "properties": {name: {}}}, Allowance())


def test_arguments_are_an_object_without_unions() -> None:
    raw = {"type": "object", "anyOf": [{}], "description": "x", "additionalProperties": True}

    assert input_schema(raw, Allowance()) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }
    for other in ({}, {"type": "array"}, {"$ref": "#/$defs/A", "$defs": {"A": {}}}):
        with pytest.raises(SchemaError, match="no object"):
            input_schema(other, Allowance())


def test_all_schemas_of_a_file_share_what_they_may_have() -> None:
    allowance = Allowance(3)
    output_schema({"items": {}}, allowance)

    with pytest.raises(SchemaError, match="parts"):
        output_schema({"items": {}}, allowance)
