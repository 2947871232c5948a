"""JSON schemas of custom tools, made of what a sandbox says: only what is known is taken over.

A keyword that is unknown, malformed or too large to show is left out, which only makes a schema
allow more: arguments are held to the function's own hints inside, whatever is listed. What cannot
be left out (a reference that leads nowhere, a name no client takes) is refused.

A schema of a result says structure alone: types, fields, items, values. Clients hold shortened
results against it, and a `pattern` of a stranger could keep them, or us, busy for good.
No pattern is evaluated here.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from tool_plugins.registry import RESERVED_ARGUMENTS

from .flat import REFERENCE, Schema, check_circles, flat
from .names import shown
from .texts import is_plain, is_small, plain

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 32
MAX_PARTS = 20_000
"""Schemas within schemas, values of lists and pieces of text, in all of a file."""
PIECE_CHARS = 200
MAX_VALUES = 1_000
MAX_DESCRIPTION_CHARS = 1_000
MAX_RAW_CHARS = 4 * MAX_DESCRIPTION_CHARS
MAX_PATTERN_CHARS = 500
MAX_NAME_CHARS = 128
MAX_COUNT = 2**53

_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_COUNTS = frozenset(
    {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
)
_ARGUMENT = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
_DEFINITION = re.compile(r"[a-zA-Z0-9._-]{1,200}")
_FORMAT = re.compile(r"[a-z][a-z-]{0,30}")
_UNSAFE_NAMES = frozenset({"__proto__"})
"""What sets something else than a field in JavaScript."""


class SchemaError(Exception):
    """A schema cannot be listed. `field` is that of the object it is about, if it is one's."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = shown(field)[1:-1]


class Allowance:
    """How many parts the schemas of a file may have together: `left` of them."""

    def __init__(self, left: int = MAX_PARTS) -> None:
        self.left = left

    def take(self, parts: int = 1) -> None:
        """Uses some up.

        Raises:
            SchemaError: there are not as many.
        """
        self.left -= parts
        if self.left < 0:
            raise SchemaError(f"the schemas of the file have more than {MAX_PARTS} parts")


def input_schema(raw: dict[str, Any], allowance: Allowance) -> Schema:
    """The schema of a function's arguments: a closed object.

    Raises:
        SchemaError: it cannot be listed.
    """
    if raw.get("type") != "object":
        raise SchemaError("its arguments are no object")
    for name in raw["properties"] if isinstance(raw.get("properties"), dict) else ():
        if not _ARGUMENT.fullmatch(name):
            raise SchemaError("an argument's name is at most 64 letters, digits and _", name)
        if name in RESERVED_ARGUMENTS:
            raise SchemaError(f"{name!r} chooses the sandbox of a call: use another name", name)
    # Nothing else is said at the root: some clients refuse a tool over a union there.
    fields = {key: raw[key] for key in ("type", "properties", "required", "$defs") if key in raw}
    reader = _Reader(fields, allowance, result=False)
    schema = {"type": "object", "properties": {}, **reader.root(), "additionalProperties": False}
    return _fitting(schema, reader.definitions)


def output_schema(raw: dict[str, Any], allowance: Allowance) -> Schema:
    """The schema of what a function returns.

    Raises:
        SchemaError: it cannot be listed.
    """
    reader = _Reader(raw, allowance, result=True)
    return _fitting(reader.root(), reader.definitions)


def _fitting(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The schema without references, where that is possible and not too large."""
    if reason := check_circles(definitions):
        raise SchemaError(reason)
    inlined = flat(schema, definitions, max_bytes=MAX_SCHEMA_BYTES, max_depth=MAX_DEPTH)
    if inlined is not None and _size(inlined) <= MAX_SCHEMA_BYTES:
        return inlined
    schema = {**schema, "$defs": definitions} if definitions else schema
    if (size := _size(schema)) > MAX_SCHEMA_BYTES:
        raise SchemaError(f"its schema has {size} bytes, at most {MAX_SCHEMA_BYTES} fit")
    return schema


def _size(schema: Schema) -> int:
    return len(json.dumps(schema, ensure_ascii=False).encode())


class _Reader:
    """Reads one schema and the definitions it leads to; each definition once."""

    def __init__(self, raw: dict[str, Any], allowance: Allowance, *, result: bool) -> None:
        given = raw.get("$defs")
        self._given: dict[str, Any] = given if isinstance(given, dict) else {}
        self._raw = raw
        self._allowance = allowance
        self._result = result
        self._wanted: list[str] = []
        self.definitions: dict[str, Schema] = {}

    def root(self) -> Schema:
        """The schema itself. Only then `definitions` is whole."""
        schema = self._read(self._raw, ())
        while self._wanted:
            name = self._wanted.pop()
            if name not in self.definitions:
                self.definitions[name] = self._read(self._given[name], (f"$defs.{name}",))
        return schema

    def _read(self, raw: Any, path: tuple[str, ...]) -> Schema:
        self._allowance.take()
        if len(path) > MAX_DEPTH:
            raise SchemaError(f"its schema is nested deeper than {MAX_DEPTH}", _field(path))
        if not isinstance(raw, dict):
            return {}
        schema = self._said(raw)
        if "$ref" in raw:
            return {"$ref": self._reference(raw["$ref"], path), **schema}
        return _merged(schema | self._limits(raw, path) | self._nested(raw, path))

    def _reference(self, raw: Any, path: tuple[str, ...]) -> str:
        name = raw.removeprefix(REFERENCE) if isinstance(raw, str) else ""
        if not _DEFINITION.fullmatch(name) or name in _UNSAFE_NAMES or raw == name:
            raise SchemaError("a reference leads out of the schema", _field(path))
        if name not in self._given:
            raise SchemaError(f"a reference leads to {name!r}, which is not there", _field(path))
        self._wanted.append(name)
        return raw

    def _said(self, raw: dict[str, Any]) -> Schema:
        """What may also stand beside a reference."""
        said: Schema = {}
        description = raw.get("description")
        if isinstance(description, str):
            self._allowance.take(min(len(description), MAX_RAW_CHARS) // PIECE_CHARS)
            if text := plain(description[:MAX_RAW_CHARS], MAX_DESCRIPTION_CHARS):
                said["description"] = text
        if not self._result and "default" in raw and is_small(raw["default"]):
            said["default"] = raw["default"]
        return said

    def _limits(self, raw: dict[str, Any], path: tuple[str, ...]) -> Schema:
        """The keywords without schemas in them."""
        limits: Schema = {}
        if isinstance(kind := raw.get("type"), str) and kind in _TYPES:
            limits["type"] = kind
        if isinstance(form := raw.get("format"), str) and _FORMAT.fullmatch(form):
            limits["format"] = form
        values = [raw["const"]] if "const" in raw else raw.get("enum")
        if isinstance(values, list):
            if len(values) > MAX_VALUES:
                raise SchemaError(f"there are more than {MAX_VALUES} values", _field(path))
            self._allowance.take(len(values))
            if values and all(map(_is_listed, values)):
                limits["enum"] = values
        return limits if self._result else limits | _bounds(raw)

    def _nested(self, raw: dict[str, Any], path: tuple[str, ...]) -> Schema:
        """The keywords with schemas in them."""
        nested: Schema = {}
        if isinstance(raw.get("properties"), dict):
            nested["properties"] = dict(self._properties(raw["properties"], path))
            required = raw.get("required")
            given = required if isinstance(required, list) else []
            names = {name for name in given if isinstance(name, str)}
            # In the order of the fields, and none that is not described.
            if needed := [name for name in nested["properties"] if name in names]:
                nested["required"] = needed
        if isinstance(rest := raw.get("additionalProperties"), dict):
            nested["additionalProperties"] = self._read(rest, (*path, "additionalProperties"))
        elif rest is False and "patternProperties" not in raw:
            nested["additionalProperties"] = False
        for key in ("items",) if self._result else ("items", "propertyNames"):
            if isinstance(raw.get(key), dict):
                nested[key] = self._read(raw[key], (*path, key))
        if raw.get("type") == "array":
            nested.setdefault("items", {})
        # That only one may fit is what dropped keywords would make untrue.
        for key, shown_as in (
            ("prefixItems", "prefixItems"),
            ("allOf", "allOf"),
            ("oneOf", "anyOf"),
            ("anyOf", "anyOf"),
        ):
            if isinstance(raw.get(key), list) and raw[key]:
                nested[shown_as] = [self._read(each, (*path, key)) for each in raw[key]]
        return nested

    def _properties(
        self, raw: dict[str, Any], path: tuple[str, ...]
    ) -> Iterator[tuple[str, Schema]]:
        for name, value in raw.items():
            here = (*path, name)
            fits = 0 < len(name) <= MAX_NAME_CHARS and is_plain(name) and name not in _UNSAFE_NAMES
            if not fits:
                raise SchemaError(f"{shown(name)} is no name of a field", _field(here))
            yield name, self._read(value, here)


def _field(path: tuple[str, ...]) -> str:
    """The field of the root that a place belongs to, as far as the place itself tells."""
    return "" if not path or path[0].startswith("$defs.") else path[0]


def _bounds(raw: dict[str, Any]) -> Schema:
    bounds: Schema = {}
    for key in raw.keys() & _BOUNDS:
        if _is_number(raw[key]):
            bounds[key] = raw[key]
    for key in raw.keys() & _COUNTS:
        if type(raw[key]) is int and 0 <= raw[key] <= MAX_COUNT:
            bounds[key] = raw[key]
    if raw.get("uniqueItems") is True:
        bounds["uniqueItems"] = True
    pattern = raw.get("pattern")
    if isinstance(pattern, str) and len(pattern) <= MAX_PATTERN_CHARS and is_plain(pattern):
        bounds["pattern"] = pattern
    return dict(sorted(bounds.items()))


def _is_number(value: Any) -> bool:
    """Whether every reader gets a finite number of it."""
    if type(value) is int:
        return -(10**300) < value < 10**300
    return type(value) is float and math.isfinite(value)


def _is_listed(value: Any) -> bool:
    """Whether a value can be one of a list of values, exactly as it is."""
    if isinstance(value, str):
        return is_small(value)
    return value is None or isinstance(value, bool) or _is_number(value)


def _merged(schema: Schema) -> Schema:
    """One schema instead of one that has to fit `allOf` a single other."""
    inner = schema.get("allOf", ())
    if len(inner) != 1:
        return schema
    outer = {key: value for key, value in schema.items() if key != "allOf"}
    return {**inner[0], **outer} if outer.keys() <= {"description", "default"} else schema
