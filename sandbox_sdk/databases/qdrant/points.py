"""Points as qdrant takes them: checked before anything is written. Standard library only.

Used by the host for populations and by the worker for what a model sends. Says `BadPoint` with
the name of the field; the caller knows whether that is a line of a file or an argument.
"""

import json
import math
import re
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

MAX_ID = 2**64 - 1
MAX_VECTOR = 65_536
MAX_DEPTH = 64
DISTANCES = {"cosine": "Cosine", "dot": "Dot", "euclid": "Euclid", "manhattan": "Manhattan"}
INDEX_TYPES = ("keyword", "integer", "float", "bool", "geo", "datetime", "text", "uuid")
_HYPHENATED = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(rf"[0-9a-f]{{32}}|(?:urn:uuid:)?{_HYPHENATED}|\{{{_HYPHENATED}\}}", re.I)
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)
_TEXT = re.compile(r"[^\ud800-\udfff]*")

PointId = int | str


class BadPoint(ValueError):
    """A point, id or vector that qdrant would not take; the message says which part and why."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a collection holds. `vectors`: name ("" for the unnamed one) to size and distance."""

    vectors: dict[str, tuple[int, str]]
    indexes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """A checked point: `id` in its one spelling, vectors in 32 bits, `payload` is JSON."""

    id: PointId
    vectors: dict[str, "array[float]"]
    payload: dict[str, Any]

    def vector(self) -> list[float] | dict[str, list[float]]:
        """As qdrant's interface has it: a list, or an object of named vectors."""
        plain = {name: each.tolist() for name, each in self.vectors.items()}
        return plain[""] if plain.keys() == {""} else plain

    def as_json(self) -> dict[str, Any]:
        """As a server takes it."""
        return {"id": self.id, "vector": self.vector(), "payload": self.payload}


def point_id(value: Any, where: str = "id") -> PointId:
    """The one spelling of an id. Whole numbers beyond 2^53 are text in JSON results, so that they
    are understood as text too.

    Raises:
        BadPoint: it is neither a whole number of 64 bits nor a UUID.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID:
        return value
    if isinstance(value, str) and _UUID.fullmatch(value):
        return str(UUID(value))
    if isinstance(value, str) and _DIGITS.fullmatch(value) and int(value) <= MAX_ID:
        return int(value)
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    raise BadPoint(f"{where} {shown} is neither a whole number from 0 to 2^64 - 1 nor a UUID")


def point(given: Mapping[str, Any], layout: Layout, where: str = "") -> Point:
    """A point out of plain data: `id`, `vector`, and perhaps `payload`.

    Raises:
        BadPoint: names the field.
    """
    if unknown := [str(name) for name in given if name not in ("id", "vector", "payload")]:
        raise BadPoint(f"{where}{unknown[0]!r} is no field of a point (id, vector, payload)")
    if "id" not in given:
        raise BadPoint(f"{where}id is missing")
    return Point(
        point_id(given["id"], f"{where}id"),
        _vectors(given.get("vector"), layout, f"{where}vector"),
        payload(given.get("payload"), f"{where}payload"),
    )


def vector(value: Any, size: int, where: str = "vector") -> "array[float]":
    """A vector of that size, in 32 bits.

    Raises:
        BadPoint: another size, something that is not a number, or one that is not finite.
    """
    if not isinstance(value, list):
        raise BadPoint(f"{where} is not a list of numbers")
    if len(value) != size:
        raise BadPoint(f"{where} has {len(value)} dimensions, the collection has {size}")
    kinds = set(map(type, value))
    if not kinds <= {int, float}:
        found = next(index for index, each in enumerate(value) if type(each) not in (int, float))
        raise BadPoint(f"{where}[{found}] is not a number")
    try:
        numbers = array("f", value)
    except OverflowError:
        raise BadPoint(f"{where} holds a number too large for 32 bits") from None
    if not all(map(math.isfinite, numbers)):
        found = next(index for index, each in enumerate(numbers) if not math.isfinite(each))
        raise BadPoint(f"{where}[{found}] is not a finite number of 32 bits")
    return numbers


def payload(value: Any, where: str = "payload") -> dict[str, Any]:
    """A payload that is JSON. None is an empty one.

    Raises:
        BadPoint: names the place of what is not JSON.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadPoint(f"{where} is not an object")
    _check_json(value, where, 0)
    return value


def to_text(checked: dict[str, Any]) -> str:
    """A checked payload as compact JSON."""
    return json.dumps(checked, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _vectors(value: Any, layout: Layout, where: str) -> dict[str, "array[float]"]:
    if layout.vectors.keys() == {""}:
        if value is None:
            raise BadPoint(f"{where} is missing")
        if isinstance(value, dict):
            raise BadPoint(f"{where} is an object; the collection has one unnamed vector: a list")
        return {"": vector(value, layout.vectors[""][0], where)}
    known = ", ".join(layout.vectors)
    if not isinstance(value, dict):
        raise BadPoint(f"{where} is not an object of named vectors; their names: {known}")
    for name in value:
        if name not in layout.vectors:
            raise BadPoint(f"{where} {name!r} is not in the collection; its vectors: {known}")
    if not value:
        raise BadPoint(f"{where} is empty; give at least one of: {known}")
    return {
        name: vector(each, layout.vectors[name][0], f"{where} {name!r}")
        for name, each in value.items()
    }


def _check_json(value: Any, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadPoint(f"{where[:80]}… is nested more than {MAX_DEPTH} levels deep")
    kind = type(value)
    if kind is dict:
        for name, each in value.items():
            if not isinstance(name, str) or not _TEXT.fullmatch(name):
                raise BadPoint(f"{where} has the name {name!r}, which is not Unicode text")
            _check_json(each, f"{where}.{name}", depth + 1)
    elif kind is list:
        for index, each in enumerate(value):
            _check_json(each, f"{where}[{index}]", depth + 1)
    elif kind is float:
        if not math.isfinite(value):
            raise BadPoint(f"{where} is {value}, which JSON does not have")
    elif kind is str:
        if not _TEXT.fullmatch(value):
            raise BadPoint(f"{where} is not Unicode text: half of a surrogate pair")
    elif kind is int:
        if not -(2**63) <= value < 2**64:
            raise BadPoint(f"{where} does not fit into 64 bits")
    elif value is not None and kind is not bool:
        raise BadPoint(f"{where} is a {kind.__name__}, which JSON does not have")
