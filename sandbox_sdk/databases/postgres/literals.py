"""Values of a fixture as the text that a column's type reads."""

from dataclasses import dataclass
from typing import Any

from sandbox_sdk.databases.population.values import as_json

JSON_TYPES = ("json", "jsonb")


@dataclass(frozen=True, slots=True)
class Type:
    """A column's type: its name, and of an array that of its elements."""

    name: str
    array: bool = False
    element: str = ""


def as_text(value: Any, type_: Type) -> str | None:
    """What COPY takes for a value; None is NULL.

    Text for a JSON column is JSON already, as in SQL. Lists and dicts for other types are written
    as JSON too, which types for vectors understand.
    """
    if value is None:
        return None
    if type_.name in JSON_TYPES and not isinstance(value, str):
        return as_json(value)
    if type_.array and isinstance(value, list):
        return _array(value, Type(type_.element))
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if isinstance(value, (list, dict)):
        return as_json(value)
    return str(value)


def _array(values: list[Any], element: Type) -> str:
    parts: list[str] = []
    for value in values:
        if isinstance(value, list) and element.name not in JSON_TYPES:
            parts.append(_array(value, element))
            continue
        text = as_text(value, element)
        parts.append("NULL" if text is None else _quoted(text))
    return "{" + ",".join(parts) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
