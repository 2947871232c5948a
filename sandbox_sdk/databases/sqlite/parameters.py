"""Binds the values of a statement to its placeholders."""

import json
import re
from typing import Any

from sandbox_sdk.databases.worker.driver import Params, Statement
from sandbox_sdk.databases.worker.values import decode_param
from tool_plugins.errors import ErrorCode, ToolError

Bound = tuple[Any, ...] | dict[str, Any]

# Strings, quoted names and comments are passed over, and so are identifiers, which may hold "$".
_PLACEHOLDER = re.compile(
    r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|\[[^\]]*\]"
    r"|--[^\n]*|/\*.*?(?:\*/|\Z)|[A-Za-z_\x80-\U0010ffff][\w$]*"
    r"|(?P<name>[$:@#][\w$]+|\?\d*)",
    re.DOTALL,
)
_HINT = "write $1, $2 with a list, or $name with an object"


def bind(statement: Statement) -> Bound:
    """The values for SQLite, in the form its placeholders ask for.

    Raises:
        ToolError: INVALID_ARGUMENT, they do not fit.
    """
    names = [match["name"] for match in _PLACEHOLDER.finditer(statement.query) if match["name"]]
    params = statement.params
    if not params:
        if names:
            raise _wrong(f"the statement has the placeholder {names[0]}, but there are no params")
        return ()
    if isinstance(params, dict):
        return _by_name(names, params)
    return _by_position(names, params)


def _by_name(names: list[str], params: dict[str, Any]) -> Bound:
    if "?" in names:
        raise _wrong("the placeholder ? has no name, but params is an object")
    wanted = {name[1:] for name in names}
    if missing := sorted(wanted - params.keys()):
        raise _wrong(f"params has no value for {missing[0]!r}")
    if spare := sorted(params.keys() - wanted):
        raise _wrong(f"the statement has no placeholder for {spare[0]!r}")
    return {name: _value(params[name]) for name in wanted}


def _by_position(names: list[str], params: list[Any]) -> Bound:
    if names and all(name == "?" for name in names):
        if len(names) != len(params):
            raise _wrong(f"the statement has {len(names)} placeholders for {len(params)} values")
        return tuple(_value(value) for value in params)
    if "?" in names:
        raise _wrong("? and numbered placeholders cannot be mixed")
    if named := [name for name in names if not _number(name)]:
        raise _wrong(f"the placeholder {named[0]} has a name, but params is a list")
    numbers = {_number(name) for name in names}
    if (highest := max(numbers, default=0)) > len(params):
        raise _wrong(f"${highest} has no value: params has {len(params)}")
    if spare := sorted(set(range(1, len(params) + 1)) - numbers):
        raise _wrong(f"value {spare[0]} of params has no placeholder ${spare[0]}")
    return {name[1:]: _value(params[_number(name) - 1]) for name in names}


def _number(name: str) -> int:
    digits = name[1:]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _value(given: Params | Any) -> Any:
    value = decode_param(given)
    if isinstance(value, list | dict):
        return json.dumps(given, ensure_ascii=False)  # what SQLite's JSON functions take
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _wrong(f"{value} does not fit into SQLite's integers of 64 bits", hint="send text")
    return value


def _wrong(message: str, *, hint: str = _HINT) -> ToolError:
    return ToolError(ErrorCode.INVALID_ARGUMENT, message, hint=hint)


def bind_nothing(query: str) -> Bound:
    """NULL for every placeholder, for a statement that is only explained."""
    names = [match["name"] for match in _PLACEHOLDER.finditer(query) if match["name"]]
    if "?" in names:
        return (None,) * len(names)
    return dict.fromkeys(name[1:] for name in names)
