"""Which names of an imported file are its tools: its own public functions."""

import inspect
import types
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .problems import Problem


def select(names: Mapping[str, Any], filename: str) -> tuple[dict[str, Any], list[Problem]]:
    """The tools among the names of a module, and what is wrong with names that were to be some.

    With `__all__` it is those; without, every function that was written in the file itself and
    whose name does not begin with an underscore, also under decorators that tell what they wrap.
    """
    if "__all__" in names:
        return _listed(names["__all__"], names, filename)
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, value in names.items():
        if name.startswith("_") or not _is_from(filename, value):
            continue
        if problem := _unfit(name, value):
            problems.append(problem)
        else:
            found[name] = value
    return found, problems


def _listed(
    listed: Any, names: Mapping[str, Any], filename: str
) -> tuple[dict[str, Any], list[Problem]]:
    if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
        return {}, [Problem("__all__ is not a list of names")]
    found: dict[str, Any] = {}
    problems: list[Problem] = []
    for name in dict.fromkeys(listed):
        if name not in names:
            problems.append(Problem("it is in __all__, but not in the file", function=name))
        elif problem := _unfit(name, names[name]) or _foreign(name, names[name], filename):
            problems.append(problem)
        else:
            found[name] = names[name]
    return found, problems


def _unfit(name: str, value: Any) -> Problem | None:
    if name.startswith("_"):
        return Problem("a name that begins with an underscore is no tool's", function=name)
    if _is(value, type):
        return Problem("a class is no tool: write a function that makes one", function=name)
    if _is(value, types.FunctionType) and value.__name__ == "<lambda>":
        return Problem(
            "a lambda has no type hints: write a def, or begin its name with an underscore",
            function=name,
        )
    return None


def _foreign(name: str, value: Any, filename: str) -> Problem | None:
    if _is_from(filename, value):
        return None
    if is_routine(value):
        return Problem("it is imported: write a function here that calls it", function=name)
    return Problem(
        f"it is no function but of type {type(value).__name__}: write a def that uses it",
        function=name,
    )


def is_routine(value: Any) -> bool:
    """Whether it is a function, in Python or built in."""
    return _is(value, types.FunctionType, types.BuiltinFunctionType)


def _is_from(filename: str, value: Any) -> bool:
    """Whether it is a function of the file, decorated or not."""
    if not callable(value) or _is(value, type):
        return False
    # An object may answer anything when it is asked what it wraps.
    with suppress(BaseException):
        value = inspect.unwrap(value)
    return _is(value, types.FunctionType) and value.__code__.co_filename == filename


def _is(value: Any, *kinds: type) -> bool:
    # Not isinstance: that asks the object, and some (proxies) raise when they are looked at.
    return issubclass(type(value), kinds)
