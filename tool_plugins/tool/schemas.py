"""JSON schemas of a function's arguments and of its result, by pydantic."""

import json
from collections.abc import Callable
from typing import Any

from pydantic import create_model
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import (
    CoreSchema,
    PydanticSerializationError,
    PydanticUndefined,
    to_jsonable_python,
)

from .building import unexpressed
from .problems import Problem, Unfit
from .signature import Function

MAX_SCHEMA_BYTES = 64 * 1024
Warn = Callable[[str], None]
# Made before the file runs, which may change what it finds.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def input_schema(function: Function, warn: Warn) -> dict[str, Any]:
    """What a caller gives, one object.

    Raises:
        Unfit: a parameter has no schema, or all of them have one that is too large.
    """
    model = function.arguments
    try:
        schema = _schema(model.__pydantic_core_schema__, "validation", warn)
    except BaseException as exc:  # a type's own code has a say in its schema
        raise Unfit(*_blamed(function, exc)) from exc
    schema.pop("title", None)
    properties = schema.get("properties", {})
    for each in function.parameters:
        info = model.model_fields.get(each.field)
        has_default = info is not None and info.default is not PydanticUndefined
        if has_default and "default" not in properties.get(each.key, {}):
            warn(f"the default of {each.name!r} is not shown: it is no JSON")
    return _checked(schema, function.name, "its parameters have a schema")


def output_schema(function: Function, warn: Warn) -> dict[str, Any]:
    """What the function returns, as JSON.

    Raises:
        Unfit: it has no schema, or one that is too large.
    """
    try:
        schema = _schema(function.result.core_schema, "serialization", warn)
    except BaseException as exc:
        raise Unfit(Problem(unexpressed(exc), function=function.name, parameter="return")) from exc
    return _checked(schema, function.name, "its result has a schema")


def _schema(core: CoreSchema, mode: JsonSchemaMode, warn: Warn) -> dict[str, Any]:
    generator = _Generator()
    generator.warn = warn
    return generator.generate(core, mode)


def _checked(schema: dict[str, Any], name: str, what: str) -> dict[str, Any]:
    try:
        size = len(_encode(schema).encode("utf-8", "replace"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise Unfit(Problem(f"{what} that is no JSON: {exc}", function=name)) from exc
    if size > MAX_SCHEMA_BYTES:
        limit = MAX_SCHEMA_BYTES // 1024
        raise Unfit(Problem(f"{what} of {size // 1024} KB; {limit} are the most", function=name))
    return schema


def _blamed(function: Function, whole: BaseException) -> list[Problem]:
    """The parameters that have no schema on their own."""
    problems: list[Problem] = []
    for each in function.parameters:
        info = function.arguments.model_fields.get(each.field)
        if info is None:
            continue
        alone: Any = {each.field: (info.annotation, info)}
        try:
            core = create_model("Arguments", **alone).__pydantic_core_schema__
            _schema(core, "validation", lambda _message: None)
        except BaseException as exc:
            problems.append(Problem(unexpressed(exc), None, function.name, each.name))
    return problems or [Problem(unexpressed(whole), function=function.name)]


class _Generator(GenerateJsonSchema):
    warn: Warn

    def field_title_should_be_set(self, schema: Any) -> bool:
        # It would repeat the name of the field.
        return False

    def emit_warning(self, kind: Any, detail: str) -> None:
        # Those of defaults are told by parameter.
        if kind != "non-serializable-default":
            self.warn(f"a part of a type is left out of the schema: {detail}")

    def is_subclass_schema(self, schema: Any) -> JsonSchemaValue:
        # Pydantic takes anything for it, and no caller can give a class.
        return self.handle_invalid_for_json_schema(schema, "a class")

    def encode_default(self, dft: Any) -> Any:
        try:
            # Where a type is known, what is no number would become null.
            _encode(to_jsonable_python(dft))
        except (TypeError, ValueError, RecursionError) as exc:
            raise PydanticSerializationError(str(exc)) from exc
        return super().encode_default(dft)
