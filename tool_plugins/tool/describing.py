"""The tools of the imported file as others see them: descriptions and JSON schemas.

Nothing of this is trusted where it arrives: it is the file that says it.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from .docstrings import Docstring, read_docstring
from .loading import Loaded
from .outline import MAX_DESCRIPTION_CHARS, MAX_WARNINGS, Place, parse, places
from .problems import NO_DOCSTRING, Problem, Unfit, describe_error, schema_error, shorten
from .schemas import input_schema, output_schema
from .selecting import is_routine
from .signature import CONTEXT, Function

MAX_FUNCTIONS = 64
MAX_PARAMETER_CHARS = 1000
NO_FUNCTIONS = "it has no public function: a def whose name does not begin with an underscore"
HIDDEN = "a decorator hides its parameters: let that use functools.wraps"


def describe(file: Loaded) -> dict[str, Any]:
    """The functions of a file, and warnings.

    Raises:
        ToolError: SCHEMA_ERROR, with everything that is wrong with any of them.
    """
    where = places(parse(file.filename, file.source))
    targets, unfit = file.targets()
    problems = [*unfit, *_hidden(where, vars(file.module), targets)]
    if len(targets) > MAX_FUNCTIONS:
        problems = [Problem(f"it has {len(targets)} tools; {MAX_FUNCTIONS} are the most")]
        targets = {}
    elif not targets and not problems:
        problems = [Problem(NO_FUNCTIONS)]
    functions: list[dict[str, Any]] = []
    warnings: list[str] = []
    for name, target in targets.items():
        try:
            told = _Telling(file, name, target, where.get(name))
        except Unfit as exc:
            problems += exc.problems
        except BaseException as exc:  # the file's own code decides what becomes of a look at it
            problems.append(Problem(f"it cannot be read: {describe_error(exc)}", function=name))
        else:
            functions.append(told.function)
            warnings += told.warnings
    if problems:
        raise schema_error(file.filename, [_placed(each, where) for each in problems])
    return {"functions": functions, "warnings": warnings[:MAX_WARNINGS]}


def _hidden(
    where: Mapping[str, Place], names: Mapping[str, Any], targets: Mapping[str, Any]
) -> Iterator[Problem]:
    """Functions of which decorators made something that is none of the file's."""
    if "__all__" in names:
        return
    for name, place in where.items():
        if not place.decorated or name.startswith("_") or name in targets or name not in names:
            continue
        if is_routine(names[name]):
            yield Problem(HIDDEN, function=name)
        else:
            kind = type(names[name]).__name__
            yield Problem(f"a decorator made a {kind} of it, which is no function", function=name)


def _placed(problem: Problem, where: Mapping[str, Place]) -> Problem:
    place = where.get(problem.function or "")
    if place is None:
        return problem
    return problem.at(place.parameters.get(problem.parameter or "", place.line))


class _Telling:
    """What is told of one function. `place` is None where the file's text does not name it.

    Raises:
        Unfit: with everything that is wrong with it.
    """

    def __init__(self, file: Loaded, name: str, target: Any, place: Place | None) -> None:
        code = inspect.unwrap(target).__code__
        self._name = name
        self._line = place.line if place else code.co_firstlineno
        self.warnings: list[str] = []
        text = getattr(target, "__doc__", None)
        docstring = read_docstring(text if isinstance(text, str) else "")
        problems = [] if docstring.description else [Problem(NO_DOCSTRING, function=name)]
        try:
            function = file.build(name, target)
            if not problems:
                self.function = self._described(function, docstring)
        except Unfit as exc:
            problems += exc.problems
        if problems and place and place.decorated and code.co_name != name:
            problems = [Problem(HIDDEN, function=name)]
        if problems:
            raise Unfit(*problems)

    def _described(self, function: Function, docstring: Docstring) -> dict[str, Any]:
        given = input_schema(function, self._warn)
        returned = output_schema(function, self._warn)
        self._tell(function, docstring, given.get("properties", {}))
        if docstring.result:
            returned.setdefault(
                "description", self._cut(docstring.result, "the description of its result")
            )
        return {
            "name": self._name,
            "line": self._line,
            "description": self._cut(
                docstring.description, "its description", MAX_DESCRIPTION_CHARS
            ),
            "input_schema": given,
            "output_schema": returned,
            "context": function.context,
        }

    def _tell(self, function: Function, docstring: Docstring, properties: dict[str, Any]) -> None:
        """Puts the descriptions of the parameters where their schemas have none."""
        described = dict(docstring.parameters)
        for each in function.parameters:
            text = described.pop(each.name, "") or described.pop(each.key, "")
            text = each.description or text
            schema = properties.get(each.key)
            if text and isinstance(schema, dict):
                schema["description"] = self._cut(text, f"the description of {each.name!r}")
        for name in described:
            if name != CONTEXT:
                self._warn(f"its docstring describes {name!r}, which is no parameter")

    def _cut(self, text: str, what: str, limit: int = MAX_PARAMETER_CHARS) -> str:
        if len(text) > limit:
            self._warn(f"{what} is cut: it has more than {limit} characters")
        return shorten(text, limit)

    def _warn(self, message: str) -> None:
        self.warnings.append(f"line {self._line}: {self._name}: {shorten(message)}")
