"""JSON schemas that every client accepts, made from the tools' pydantic models.

Some clients refuse a whole toolset over one `$ref`, one array without `items` or one union at the
root, so a schema is flat: no references, no titles, no formats, no lists of types, closed objects.
"""

import copy
from typing import Any

from pydantic import BaseModel

from tool_plugins.errors import ConfigurationError

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
    result = {k: v for k, v in schema.items() if k not in _NOISE and k != "$defs"}
    for key in _NESTED:
        if isinstance(result.get(key), dict):
            result[key] = _inline(result[key], definitions, seen)
    for key in _NESTED_LISTS:
        if key in result:
            result[key] = [_inline(part, definitions, seen) for part in result[key]]
    if "properties" in result:
        result["properties"] = {
            name: _inline(value, definitions, seen) for name, value in result["properties"].items()
        }
    return _simplified(result)


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
