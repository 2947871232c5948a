"""Values on their way to JSON and back, so that a cell keeps its meaning (see `results.py`)."""

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite, isnan
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

MAX_EXACT = 2**53
"""Whole numbers up to here are the same in every JSON reader."""
MAX_DEPTH = 100

_PLAIN = (bool, type(None))


def encode(value: Any, depth: int = 0) -> Any:
    """The JSON form of a value that came out of a database.

    Raises:
        ToolError: TOO_LARGE, it is nested more than 100 levels deep.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if kind in _PLAIN:
        return value
    if kind is int:
        return value if -MAX_EXACT <= value <= MAX_EXACT else str(value)
    if kind is float:
        return value if isfinite(value) else _not_finite(value)
    if depth > MAX_DEPTH:
        raise ToolError(
            ErrorCode.TOO_LARGE,
            f"a value is nested more than {MAX_DEPTH} levels deep",
            hint="select a part of it",
        )
    return _encode_other(value, depth)


def decode_param(value: Any) -> Any:
    """The Python form of one parameter a caller sent: `{"base64": "..."}` becomes bytes.

    Lists and objects are gone through. What is no JSON stays as it is.

    Raises:
        ToolError: INVALID_ARGUMENT, for bad base64 and for text no database takes.
    """
    if isinstance(value, str):
        return check_text(value, "a parameter")
    if isinstance(value, dict):
        if value.keys() == {"base64"} and isinstance(value["base64"], str):
            return _bytes(value["base64"])
        return {check_text(key, "a key"): decode_param(each) for key, each in value.items()}
    if isinstance(value, list):
        return [decode_param(each) for each in value]
    return value


def check_text(text: str, what: str) -> str:
    """The text, if every database can hold it.

    Raises:
        ToolError: INVALID_ARGUMENT, it holds a NUL or half of a surrogate pair.
    """
    if "\x00" in text:
        problem = "a NUL character"
    elif text.isascii() or _is_unicode(text):
        return text
    else:
        problem = "half of a surrogate pair"
    raise ToolError(
        ErrorCode.INVALID_ARGUMENT,
        f"{what} holds {problem}",
        hint='send binary values as {"base64": "..."}',
    )


def duration(value: timedelta) -> str:
    """An interval in ISO 8601, such as "P1DT2H3M4.5S"; a negative one begins with "-"."""
    sign, value = ("-", -value) if value < timedelta(0) else ("", value)
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06d}".rstrip("0") if value.microseconds else ""
    clock = "".join(
        f"{number}{fraction if unit == 'S' else ''}{unit}"
        for number, unit in ((hours, "H"), (minutes, "M"), (seconds, "S"))
        if number or (unit == "S" and fraction)
    )
    days = f"{value.days}D" if value.days else ""
    if not days and not clock:
        return "PT0S"
    return f"{sign}P{days}{'T' if clock else ''}{clock}"


def _encode_other(value: Any, depth: int) -> Any:
    if isinstance(value, Enum):
        return encode(value.value, depth + 1)
    if isinstance(value, str | int | float):
        return encode(_base(value), depth + 1)
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {_text(str(key)): encode(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [encode(each, depth + 1) for each in value]
    if isinstance(value, set | frozenset):
        return [encode(each, depth + 1) for each in _ordered(value)]
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return _text(str(value))


def _base(value: str | int | float) -> str | int | float:
    """The plain value of a subclass, such as numpy's float."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return float.__float__(value)


def _ordered(values: Iterable[Any]) -> list[Any]:
    """The same answer twice for the same set, whatever is in it."""
    return sorted(values, key=lambda each: (type(each).__name__, str(each)))


def _not_finite(value: float) -> str:
    if isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _text(value: str) -> str:
    """Text as every JSON reader takes it: half of a surrogate pair becomes a question mark."""
    return value if _is_unicode(value) else value.encode("utf-8", "replace").decode()


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            "a parameter is no valid base64",
            hint='binary values are {"base64": "..."}, with padding',
        ) from None
