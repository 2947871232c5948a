"""Holds a value against a schema that `schema.py` made, in bounded time.

General validators try alternatives of alternatives again and again: a recursive schema and a value
some twenty levels deep keep them busy for minutes, and both are a stranger's here. This one knows
just the keywords that are listed of results, evaluates no pattern, remembers what it has tried, and
gives up after a number of steps.
"""

from collections.abc import Callable, Iterable
from typing import Any

from .flat import REFERENCE, Schema
from .names import MAX_SHOWN_CHARS, shown

MAX_STEPS = 2_000_000
"""Fields, items and alternatives looked at. A megabyte of JSON has at most half as many values."""
MAX_PLACE_CHARS = 400

_KINDS: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int, float),
    "null": (type(None),),
    "number": (float, int),
    "object": (dict,),
    "string": (str,),
}
_NAMES: dict[type, str] = {
    bool: "a boolean",
    dict: "an object",
    float: "a number",
    int: "an integer",
    list: "a list",
    str: "a string",
    type(None): "null",
}
EVERY_KIND = frozenset(_NAMES)


class Exhausted(Exception):
    """The value has been looked at for too long."""


class Misfit:
    """Where a value does not fit, and why. The place is said from the inside out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._steps: list[str | int] = []

    def within(self, step: str | int) -> "Misfit":
        """The same, seen from around: from the object or the list that holds it."""
        self._steps.append(step)
        return self

    def told(self, name: str) -> str:
        """As in "result.places[3].north: is a string, not a number"."""
        for step in reversed(self._steps):
            if isinstance(step, int):
                name += f"[{step}]"
            else:
                plain = step.isidentifier() and step.isascii() and len(step) <= MAX_SHOWN_CHARS
                name += f".{step}" if plain else f"[{shown(step)}]"
        if len(name) > MAX_PLACE_CHARS:
            name = f"{name[: MAX_PLACE_CHARS // 2]}…{name[-MAX_PLACE_CHARS // 2 :]}"
        return f"{name}: {self.reason}"


class Looking:
    """One value being looked at: what is known of its parts, and how long it may go on."""

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self.known: dict[tuple[int, int], bool] = {}

    def go(self, steps: int) -> None:
        """Counts steps.

        Raises:
            Exhausted: there were too many.
        """
        self._left -= steps
        if self._left < 0:
            raise Exhausted


Check = Callable[[Any, Looking], Misfit | None]


class Compiled:
    """A schema as functions. Made once; `misfit` may be asked from many threads."""

    def __init__(self, schema: Schema) -> None:
        self._definitions: dict[str, Schema] = schema.get("$defs", {})
        self._named: dict[str, Check] = {}
        self._root = self._compile(schema)
        for name, each in self._definitions.items():
            self._named[name] = self._compile(each) or _all_of([])

    def misfit(self, value: Any) -> Misfit | None:
        """Why a JSON value does not fit; None if it does.

        Raises:
            Exhausted: it cannot be told in reasonable time.
            RecursionError: the value is nested too deeply.
        """
        return self._root(value, Looking()) if self._root else None

    def _compile(self, schema: Schema) -> Check | None:
        """None where everything fits."""
        if "$ref" in schema:
            return self._reference(schema["$ref"].removeprefix(REFERENCE))
        kinds = _kinds(schema)
        checks = [
            check
            for check in (
                _of_kind(schema),
                _one_of(schema["enum"]) if "enum" in schema else None,
                self._object(schema) if dict in kinds else None,
                self._list(schema) if list in kinds else None,
                self._alternatives(schema["anyOf"]) if "anyOf" in schema else None,
                *map(self._compile, schema.get("allOf", ())),
            )
            if check is not None
        ]
        if len(checks) < 2:
            return checks[0] if checks else None
        return _all_of(checks)

    def _reference(self, name: str) -> Check:
        named, number = self._named, list(self._definitions).index(name)

        def check(value: Any, looking: Looking) -> Misfit | None:
            if type(value) not in (dict, list):
                return named[name](value, looking)
            # The same part of a value is reached on many ways where alternatives contain others.
            key = (number, id(value))
            if key not in looking.known:
                misfit = named[name](value, looking)
                looking.known[key] = misfit is None
                return misfit
            return None if looking.known[key] else Misfit("fits no alternative")

        return check

    def _object(self, schema: Schema) -> Check | None:
        fields = {name: self._compile(each) for name, each in schema.get("properties", {}).items()}
        required = tuple(schema.get("required", ()))
        rest = schema.get("additionalProperties")
        closed = rest is False
        other = self._compile(rest) if isinstance(rest, dict) else None
        if not (closed or other or required or any(fields.values())):
            return None

        def check(value: Any, looking: Looking) -> Misfit | None:
            if type(value) is not dict:
                return None
            looking.go(len(value) + 1)
            for name in required:
                if name not in value:
                    return Misfit(f"has no field {shown(name)}")
            for name, part in value.items():
                if name in fields:
                    inner = fields[name]
                elif closed:
                    return Misfit(f"has the field {shown(name)}, which nothing says")
                else:
                    inner = other
                if inner is not None and (misfit := inner(part, looking)) is not None:
                    return misfit.within(name)
            return None

        return check

    def _list(self, schema: Schema) -> Check | None:
        first = [self._compile(each) for each in schema.get("prefixItems", ())]
        rest = self._compile(schema["items"]) if "items" in schema else None
        if rest is None and not any(first):
            return None

        def check(value: Any, looking: Looking) -> Misfit | None:
            if type(value) is not list:
                return None
            looking.go(len(value) + 1)
            for number, part in enumerate(value):
                inner = first[number] if number < len(first) else rest
                if inner is not None and (misfit := inner(part, looking)) is not None:
                    return misfit.within(number)
            return None

        return check

    def _alternatives(self, schemas: list[Schema]) -> Check:
        """Only those are tried that a value of its kind can fit: the others need no words."""
        compiled = [(each, self._compile(each)) for each in schemas]
        by_kind: dict[type, list[Check | None]] = {
            kind: [
                None if _takes_all(each, kind) else check
                for each, check in compiled
                if kind in self._possible(each)
            ]
            for kind in EVERY_KIND
        }
        wanted = _words(kind for kind, checks in by_kind.items() if checks)

        def check(value: Any, looking: Looking) -> Misfit | None:
            checks = by_kind[type(value)]
            if None in checks:
                return None
            looking.go(len(checks))
            misfit = Misfit(f"is {_NAMES[type(value)]}, not {wanted}")
            for each in checks:
                if each is None or (misfit := each(value, looking)) is None:
                    return None
            return misfit if len(checks) < 2 else Misfit(f"fits none of {len(checks)} alternatives")

        return check

    def _possible(self, schema: Schema) -> frozenset[type]:
        """The kinds of values that may fit, as far as that is said directly."""
        while "$ref" in schema:
            schema = self._definitions[schema["$ref"].removeprefix(REFERENCE)]
        kinds = _kinds(schema)
        if "anyOf" in schema:
            kinds &= frozenset(k for each in schema["anyOf"] for k in self._possible(each))
        return kinds


def _kinds(schema: Schema) -> frozenset[type]:
    return frozenset(_KINDS[schema["type"]]) if "type" in schema else EVERY_KIND


def _takes_all(schema: Schema, kind: type) -> bool:
    """Whether every value of a kind that it can fit does."""
    if schema.get("type") == "integer" and kind is float:
        return False
    return schema.keys() <= {"type", "description", "format"}


def _of_kind(schema: Schema) -> Check | None:
    if "type" not in schema:
        return None
    kinds, wanted = _kinds(schema), _words(_KINDS[schema["type"]][:1])
    integral = schema["type"] == "integer"

    def check(value: Any, _: Looking) -> Misfit | None:
        if type(value) not in kinds or (
            integral and type(value) is float and not value.is_integer()
        ):
            return Misfit(f"is {_NAMES[type(value)]}, not {wanted}")
        return None

    return check


def _one_of(values: list[Any]) -> Check:
    # For Python True is 1, for JSON it is not.
    allowed = frozenset((type(each) is bool, each) for each in values)

    def check(value: Any, _: Looking) -> Misfit | None:
        if type(value) not in (dict, list) and (type(value) is bool, value) in allowed:
            return None
        return Misfit(f"is none of the {len(values)} values it may have")

    return check


def _all_of(checks: list[Check]) -> Check:
    def check(value: Any, looking: Looking) -> Misfit | None:
        for each in checks:
            if (misfit := each(value, looking)) is not None:
                return misfit
        return None

    return check


def _words(kinds: Iterable[type]) -> str:
    given = set(kinds)
    if float in given:
        given.discard(int)
    return " or ".join(sorted(_NAMES[kind] for kind in given)) or "anything"
