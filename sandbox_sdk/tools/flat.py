"""References of a schema: replaced by what they name, where that ends and stays small.

For schemas that `schema.py` made: every reference is to a definition that is there.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Schema = dict[str, Any]

REFERENCE = "#/$defs/"
MAX_ALTERNATIVES = 250

_HERE = ("anyOf", "allOf")
"""Lists of schemas that are about the same value as the schema they stand in."""
_BELOW = ("items", "additionalProperties", "propertyNames")


def flat(
    schema: Schema, definitions: dict[str, Schema], *, max_bytes: int, max_depth: int
) -> Schema | None:
    """The schema without references; what contains itself stays, in `$defs`.

    None where it would be larger or deeper than that. Values may be shared: change nothing in it.
    """
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    order = _straight(definitions, _every)
    for name in order:
        sizes[name] = _length(definitions[name]) + _sum(sizes, definitions[name])
        depths[name] = _depth(depths, definitions[name])
    kept = {name: each for name, each in definitions.items() if name not in sizes}
    size = sum(_length(each) + _sum(sizes, each) for each in (schema, *kept.values()))
    if size > max_bytes or any(
        _depth(depths, each) > max_depth for each in (schema, *kept.values())
    ):
        return None
    done: dict[str, Schema] = {}
    for name in order:
        done[name] = _inlined(definitions[name], done)
    left = {name: _inlined(each, done) for name, each in kept.items()}
    return {**_inlined(schema, done), "$defs": left} if left else _inlined(schema, done)


def check_circles(definitions: dict[str, Schema]) -> str:
    """Why a value could not be held against the definitions in reasonable time; "" if it can.

    What contains itself is fine where each step goes into a part of the value. A definition that
    is about the same value again never ends, and alternatives of alternatives double at each step.
    """
    weights: dict[str, int] = {}
    for name in _straight(definitions, _same):
        weights[name] = 1 + sum(weights[each] for each in _same(definitions[name]))
        if weights[name] > MAX_ALTERNATIVES:
            return f"{name!r} has more than {MAX_ALTERNATIVES} alternatives"
    endless = definitions.keys() - weights.keys()
    return f"{min(endless)!r} is nothing but itself" if endless else ""


def parts(schema: Schema) -> Iterator[Schema]:
    """The schemas directly within a schema."""
    for key in (*_HERE, "prefixItems"):
        yield from schema.get(key, ())
    for key in _BELOW:
        if isinstance(schema.get(key), dict):
            yield schema[key]
    yield from schema.get("properties", {}).values()


def _every(schema: Schema) -> Iterator[str]:
    """The name behind each reference within a schema, once for each time it is named."""
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(REFERENCE)
    for part in parts(schema):
        yield from _every(part)


def _same(schema: Schema) -> Iterator[str]:
    """The same, of references that are about the same value."""
    if "$ref" in schema:
        yield schema["$ref"].removeprefix(REFERENCE)
    for key in _HERE:
        for part in schema.get(key, ()):
            yield from _same(part)


def _straight(
    definitions: dict[str, Schema], named: Callable[[Schema], Iterable[str]]
) -> list[str]:
    """Names that lead to no circle, each after those that it names itself."""
    waiting = {name: set(named(each)) for name, each in definitions.items()}
    users: dict[str, list[str]] = {}
    for name, targets in waiting.items():
        for target in targets:
            users.setdefault(target, []).append(name)
    order = [name for name, targets in waiting.items() if not targets]
    for name in order:  # grows while it is read
        for user in users.get(name, ()):
            waiting[user].discard(name)
            if not waiting[user]:
                order.append(user)
    return order


def _length(schema: Schema) -> int:
    return len(json.dumps(schema, ensure_ascii=False).encode())


def _sum(sizes: dict[str, int], schema: Schema) -> int:
    return sum(sizes.get(name, 0) for name in _every(schema))


def _depth(depths: dict[str, int], schema: Schema) -> int:
    inner = max((_depth(depths, part) for part in parts(schema)), default=0)
    if "$ref" in schema:
        inner = depths.get(schema["$ref"].removeprefix(REFERENCE), 0)
    return 1 + inner


def _inlined(schema: Schema, done: dict[str, Schema]) -> Schema:
    """A copy without references to what is done. What stands beside one wins."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**done[name], **beside} if name in done else schema
    copy = dict(schema)
    for key in (*_HERE, "prefixItems"):
        if key in copy:
            copy[key] = [_inlined(each, done) for each in copy[key]]
    for key in _BELOW:
        if isinstance(copy.get(key), dict):
            copy[key] = _inlined(copy[key], done)
    if "properties" in copy:
        copy["properties"] = {name: _inlined(v, done) for name, v in copy["properties"].items()}
    return copy
