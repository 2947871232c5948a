"""Values on their way to PostgreSQL and back. Everything travels as text, as in psql.

What Python holds as well as PostgreSQL does becomes a Python value. Everything else (intervals
with months, ranges, addresses, money, composites, dates before year 1, infinity) stays the text
PostgreSQL itself writes for it, which it also reads again.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import pq
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Loader
from psycopg.types import TypeInfo
from psycopg.types.array import register_array

from sandbox_sdk.databases.worker.values import decode_param
from tool_plugins.errors import ErrorCode, ToolError

UNKNOWN, BOOL, BYTEA, INT8, INT4, TEXT = 0, 16, 17, 20, 23, 25
JSON, JSONB, FLOAT8, NUMERIC = 114, 3802, 701, 1700
ARRAY_OF = {BOOL: 1000, BYTEA: 1001, INT8: 1016, TEXT: 1009, JSONB: 3807, NUMERIC: 1231}
INT4_RANGE, INT8_RANGE = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)

LOADED = (
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "bytea"),
    *("date", "time", "timetz", "timestamp", "timestamptz"),
)
"""Types that become something else than text, beside JSON and arrays of all of them."""
EXACT_DIGITS = 15
"""A float holds any decimal number of so many digits."""


@dataclass(slots=True)
class Bound:
    """Parameters as libpq takes them. Type 0 is for the server to find out."""

    values: list[Buffer | None]
    types: list[int]
    lists: list[bool]
    """Which of them are lists: those can only be bound well if the server's type is known."""

    @property
    def open_types(self) -> list[int]:
        """The types with those of lists left to the server."""
        return [
            UNKNOWN if is_list else oid for is_list, oid in zip(self.lists, self.types, strict=True)
        ]

    def fits(self, known: Sequence[int]) -> bool:
        """Whether every list has the type the server found for it."""
        pairs = zip(self.lists, self.types, known, strict=False)
        return all(oid in (UNKNOWN, found) for is_list, oid, found in pairs if is_list)


def bind(params: Any, known: Sequence[int] | None = None) -> Bound:
    """The values of a statement's placeholders.

    A string takes the type the statement needs, as a quoted literal does; a number or a boolean
    is one; an object is jsonb. A list is an array or, where `known` (the types the server found)
    says so, a JSON document.

    Raises:
        ToolError: INVALID_ARGUMENT.
    """
    if params is None:
        return Bound([], [], [])
    if not isinstance(params, list):
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            "params must be a list here: PostgreSQL's placeholders are $1, $2 and so on",
            hint='write $1 in the statement and send {"params": [value]}',
        )
    bound = Bound([], [], [])
    for index, param in enumerate(decode_param(params)):
        target = known[index] if known and index < len(known) else UNKNOWN
        oid, value = _bind_one(param, target)
        bound.values.append(value)
        bound.types.append(oid)
        bound.lists.append(isinstance(param, list))
    return bound


def _bind_one(param: Any, target: int) -> tuple[int, Buffer | None]:
    if param is None:
        return UNKNOWN, None
    if isinstance(param, str):
        return UNKNOWN, param.encode()
    if isinstance(param, list):
        return _bind_list(param, target)
    if isinstance(param, dict) and target == JSON:
        return JSON, _json(param).encode()
    return _type_of(param), _literal(param).encode()


def _bind_list(param: list[Any], target: int) -> tuple[int, Buffer | None]:
    if target in (JSON, JSONB):
        return target, _json(param).encode()
    info = psycopg.adapters.types.get(target) if target else None
    element = info.oid if info is not None and info.array_oid == target else None
    if element is None and target not in (UNKNOWN, TEXT):
        return UNKNOWN, _array(param).encode()  # a type of the database's own
    return (target if element else _array_type(param)), _array(param).encode()


def _array_type(param: list[Any]) -> int:
    """The array type that a list without any context is."""
    kinds = {_type_of(each) for each in _leaves(param)} - {UNKNOWN}
    if kinds <= {INT4, INT8} and kinds:
        return ARRAY_OF[INT8]
    if kinds <= {INT4, INT8, NUMERIC} and kinds:
        return ARRAY_OF[NUMERIC]
    return ARRAY_OF[kinds.pop()] if len(kinds) == 1 else ARRAY_OF[TEXT]


def _leaves(param: list[Any]) -> list[Any]:
    found: list[Any] = []
    for each in param:
        found.extend(_leaves(each) if isinstance(each, list) else [each])
    return found


def _type_of(param: Any) -> int:
    """The type PostgreSQL gives the same value when it is written in a statement."""
    match param:
        case bool():
            return BOOL
        case int():
            if INT4_RANGE[0] <= param <= INT4_RANGE[1]:
                return INT4
            return INT8 if INT8_RANGE[0] <= param <= INT8_RANGE[1] else NUMERIC
        case float():
            return NUMERIC
        case bytes():
            return BYTEA
        case dict():
            return JSONB
        case None:
            return UNKNOWN
        case _:
            return TEXT


def _literal(param: Any) -> str:
    match param:
        case bool():
            return "t" if param else "f"
        case bytes():
            return f"\\x{param.hex()}"
        case dict():
            return _json(param)
        case _:
            return str(param)


def _array(param: list[Any]) -> str:
    return "{" + ",".join(_element(each) for each in param) + "}"


def _element(param: Any) -> str:
    if isinstance(param, list):
        return _array(param)
    if param is None:
        return "NULL"
    escaped = _literal(param).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _json(param: Any) -> str:
    try:
        return json.dumps(param, ensure_ascii=False)
    except TypeError:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            "a JSON document cannot hold binary values",
            hint='send {"base64": ...} as a parameter of its own',
        ) from None


class JsonLoader(Loader):
    """A JSON document; numbers that a float would change are kept as decimals."""

    def load(self, data: Buffer) -> Any:
        """The document as Python values."""
        return json.loads(bytes(data), parse_float=_number)


def _number(text: str) -> float | Decimal:
    if len(text) <= EXACT_DIGITS:
        return float(text)
    exact = Decimal(text)
    near = float(text)
    return near if Decimal(repr(near)) == exact else exact


class LenientLoader(Loader):
    """PostgreSQL's own text for what Python cannot hold; bytes for what is no UTF-8."""

    strict: type[Loader]

    def __init__(self, oid: int, context: Any = None) -> None:
        super().__init__(oid, context)
        self._load = self.strict(oid, context).load

    def load(self, data: Buffer) -> Any:
        """The value, or its text."""
        try:
            return self._load(data)
        except (psycopg.Error, ValueError, ArithmeticError, RecursionError):
            raw = bytes(data)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw


class Loaders:
    """Which loader reads which type. `strict` is quick and fails at odd values, `lenient` reads
    everything."""

    def __init__(self) -> None:
        self.strict, self.lenient = AdaptersMap(), AdaptersMap()
        known = psycopg.adapters.types
        for name in LOADED:
            info = known[name]
            loader = psycopg.adapters.get_loader(info.oid, pq.Format.TEXT)
            self._register(info.oid, loader)
        text = psycopg.adapters.get_loader(TEXT, pq.Format.TEXT)
        self._register(UNKNOWN, text)
        for oid in (JSON, JSONB):
            self._register(oid, JsonLoader)
        for info in known:
            if info.array_oid:
                self.add_array(info)

    def add_array(self, info: TypeInfo) -> None:
        """Reads arrays of that type as lists."""
        for adapters in (self.strict, self.lenient):
            register_array(info, adapters)

    def _register(self, oid: int, loader: type[Any] | None) -> None:
        if loader is None:
            raise LookupError(f"psycopg has no loader for type {oid}")
        self.strict.register_loader(oid, loader)
        lenient = type(f"Lenient{loader.__name__}", (LenientLoader,), {"strict": loader})
        self.lenient.register_loader(oid, lenient)
