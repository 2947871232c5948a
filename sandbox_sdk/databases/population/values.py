"""Values of rows: exact numbers out of JSON and into it, bytes, cells of CSV files."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn

from sandbox_sdk.documents import exact_number, whole_number


def parse_json(text: str, *, exact: bool = True) -> Any:
    """Reads JSON; with `exact`, numbers with a fraction or an exponent are Decimal, else float.

    Raises:
        ValueError: it is not JSON (NaN and Infinity are not), names a key twice, holds a number
            beyond reason, or is nested too deeply.
    """
    try:
        return json.loads(
            text,
            parse_int=whole_number,
            parse_float=exact_number if exact else _finite,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def as_json(value: Any) -> str:
    """Writes a list or dict of a row as JSON; a Decimal as the number it is."""
    match value:
        case Decimal():
            return str(value)
        case dict():
            pairs = (f"{json.dumps(key)}: {as_json(each)}" for key, each in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(as_json, value))}]"
        case _:
            return json.dumps(value, allow_nan=False)


def cell(value: Any) -> Any:
    """The value of a column as it stands in a row: `{"base64": TEXT}` is bytes.

    Only as the whole value: within a document that a column holds it is left alone.

    Raises:
        ValueError: the text is not Base64.
    """
    if isinstance(value, dict) and value.keys() == {"base64"} and isinstance(value["base64"], str):
        return _bytes(value["base64"])
    return plain(value)


def plain(value: Any) -> Any:
    """Lists and dicts without what a document knows about its lines."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value


def inexact(value: Any) -> Any:
    """The same with float for Decimal, which vectors are made of."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: inexact(each) for key, each in value.items()}
        case list():
            return [inexact(each) for each in value]
        case _:
            return value


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"is not Base64: {exc}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(text: str) -> float:
    """Points have many numbers: this one is quick."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text!r} is too large for a number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _boolean(text: str) -> bool:
    known = {"true": True, "false": False}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither true nor false")
    return known[text.lower()]


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text!r} is not a whole number")
    return whole_number(text)


def _number(text: str) -> int | Decimal:
    value = parse_json(text)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError(f"{text!r} is not a number")
    return value


CELLS: dict[str, Callable[[str], Any]] = {
    "text": str,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "json": parse_json,
}
"""How the text of a CSV cell becomes a value, by the name a population file uses."""
