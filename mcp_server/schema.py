"""JSON schemas that every client accepts, of our own tools' models and of custom tools.

Some clients refuse a whole toolset over one `$ref`, one array without `items` or one union at the
root, so a schema is flat: no references, no titles, no formats, no lists of types, closed objects.
Schemas of custom tools were made flat when they were registered, but for what contains itself.
"""

import copy
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from tool_plugins.errors import ConfigurationError
from tool_plugins.tool.results import CallResult

Schema = dict[str, Any]

SANDBOX_ID: Schema = {
    "type": "string",
    "description": "The sandbox to use, from sandbox_create or sandbox_list. "
    "Leave it out to use your own default sandbox, made on first use.",
}

_NOISE = frozenset({"title", "format", "discriminator"})
_NESTED = ("items", "additionalProperties", "contains", "propertyNames", "not")
_NESTED_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")


def input_schema(model: type[BaseModel], *, with_sandbox_id: bool = False) -> Schema:
    """The schema of a tool's arguments, with the optional `sandbox_id` where it routes the call."""
    schema = _flat(model)
    # A null that merely says "left out" only makes models pass null: the default says it already.
    schema["properties"] = {
        name: _without_null(value) for name, value in schema["properties"].items()
    }
    if with_sandbox_id:
        schema["properties"]["sandbox_id"] = copy.deepcopy(SANDBOX_ID)
    return schema


def output_schema(model: type[BaseModel]) -> Schema:
    """The schema of a tool's structured content."""
    return _flat(model)


def custom_input_schema(given: Mapping[str, Any]) -> Schema:
    """The schema of a custom tool's arguments, with the optional `sandbox_id`."""
    properties = {
        name: _without_null(value) if "default" in value and value["default"] is None else value
        for name, value in given["properties"].items()
    }
    schema = _with_told_formats({**given, "properties": properties})
    schema["properties"]["sandbox_id"] = copy.deepcopy(SANDBOX_ID)
    return schema


def custom_output_schema(result: Mapping[str, Any]) -> Schema:
    """The schema of what a call of a custom tool answers: its `result` is the function's own."""
    own = _without_formats(result)
    definitions = own.pop("$defs", None)
    schema = _of_every_call()
    schema = {**schema, "properties": {**schema["properties"], "result": own}}
    return schema if definitions is None else {**schema, "$defs": definitions}


@cache
def _of_every_call() -> Schema:
    return output_schema(CallResult)


def _flat(model: type[BaseModel]) -> Schema:
    raw = model.model_json_schema(mode="validation")
    flat = _inline(raw, raw.get("$defs", {}), ())
    flat.pop("description", None)
    flat.setdefault("type", "object")
    flat.setdefault("properties", {})
    flat["additionalProperties"] = False
    return flat


def _inline(schema: Schema, definitions: Schema, seen: tuple[str, ...]) -> Schema:
    """A copy without references and noise. Beside a reference, its siblings win."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name in seen:
            raise ConfigurationError(
                f"schema {name!r} contains itself", hint="MCP tool schemas cannot be recursive"
            )
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        return _inline({**definitions[name], **siblings}, definitions, (*seen, name))
    kept = {k: v for k, v in schema.items() if k not in _NOISE and k != "$defs"}
    return _simplified(_each(kept, lambda part: _inline(part, definitions, seen)))


def _simplified(schema: Schema) -> Schema:
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if schema.get("type") == "array":
        schema.setdefault("items", {})
    if len(schema.get("allOf", ())) == 1:
        schema = {**schema["allOf"][0], **{k: v for k, v in schema.items() if k != "allOf"}}
    return schema


def _without_null(schema: Schema) -> Schema:
    result = {k: v for k, v in schema.items() if not (k == "default" and v is None)}
    if "anyOf" not in result:
        return result
    options = [option for option in result.pop("anyOf") if option != {"type": "null"}]
    if len(options) == 1:
        return {**options[0], **result}
    return {"anyOf": options, **result}


def _without_formats(schema: Mapping[str, Any]) -> Schema:
    kept = {key: value for key, value in schema.items() if key != "format"}
    return _each(kept, _without_formats)


def _with_told_formats(schema: Mapping[str, Any]) -> Schema:
    """A copy whose formats are words of the descriptions."""
    kept = {key: value for key, value in schema.items() if key != "format"}
    if "format" in schema:
        words = (kept.get("description"), f"Format: {schema['format']}.")
        kept["description"] = " ".join(filter(None, words))
    return _each(kept, _with_told_formats)


def _each(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A copy whose direct parts are changed."""
    changed = dict(schema)
    for key in changed.keys() & {*_NESTED}:
        if isinstance(changed[key], dict):
            changed[key] = change(changed[key])
    for key in changed.keys() & {*_NESTED_LISTS}:
        changed[key] = [change(part) for part in changed[key]]
    for key in changed.keys() & {"properties", "$defs"}:
        changed[key] = {name: change(part) for name, part in changed[key].items()}
    return changed
