"""Reads what a file says of itself. It was said inside the sandbox: nothing of it is believed.

Text is made plain (`texts.py`), schemas are made anew of what is known (`schema.py`), packages
are held to a form that no installer misreads (`requirements.py`). Takes time in proportion to
what was sent, which for a file that means harm is about a second: belongs into a thread.
"""

from typing import Annotated, Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tool_plugins.contract import Value
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.invisible import visible

from .models import CustomTool, FileSettings, Source
from .names import check_names, name_problem, shown
from .problems import MAX_PROBLEMS, Problem, refusal
from .requirements import parse_requirements
from .schema import Allowance, SchemaError, input_schema, output_schema
from .texts import plain

MAX_FUNCTIONS = 64
MAX_WARNINGS = 20
MAX_DESCRIPTION_CHARS = 4_000
MAX_WARNING_CHARS = 300
MAX_TOTAL_BYTES = 1024 * 1024
"""Of all descriptions and schemas of a file: every client that takes its list gets them."""
MAX_MESSAGE_CHARS = 8_000
MAX_VERSION_CHARS = 200
MAX_LINE = 10**6


class Report(Value):
    """What a file says of itself, checked. `tools` is None where its packages are not there yet."""

    python: str
    dependencies: tuple[str, ...] = ()
    requires_python: str | None = None
    settings: FileSettings
    description: str = ""
    warnings: tuple[str, ...] = ()
    tools: tuple[CustomTool, ...] | None = None


class _Function(BaseModel):
    model_config = ConfigDict(strict=True, defer_build=True)

    name: str
    line: int
    description: str
    input_schema: dict[str, Any]
    output_schema: dict[str, Any]
    context: bool


class _Raw(BaseModel):
    model_config = ConfigDict(strict=True, defer_build=True)

    python: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+[a-z0-9+]*$", max_length=20)]
    dependencies: list[str]
    requires_python: str | None
    settings: dict[str, Any]
    description: str
    warnings: list[str]
    functions: list[_Function] | None = Field(max_length=MAX_FUNCTIONS)


def read_report(raw: Any, source: Source) -> Report:
    """The report, if it can be taken over.

    Raises:
        ToolError: SCHEMA_ERROR with every problem of the file, or DEPENDENCY_ERROR.
    """
    try:
        given = _Raw.model_validate(raw)
    except ValidationError as exc:
        raise refusal(source.namespace, [_malformed(exc)]) from None
    if given.requires_python is not None:
        _check_python(given.requires_python, given.python)
    return Report(
        python=given.python,
        dependencies=parse_requirements(given.dependencies),
        requires_python=given.requires_python,
        settings=_settings(given.settings, source),
        description=plain(given.description, MAX_DESCRIPTION_CHARS),
        warnings=tuple(plain(each, MAX_WARNING_CHARS) for each in given.warnings[:MAX_WARNINGS]),
        tools=None if given.functions is None else _tools(given.functions, source),
    )


def _check_python(requires: str, python: str) -> None:
    try:
        allowed, there = SpecifierSet(requires[:MAX_VERSION_CHARS]), Version(python)
    except (InvalidSpecifier, InvalidVersion):
        raise ToolError(
            ErrorCode.DEPENDENCY_ERROR,
            f"requires-python is {shown(requires)}",
            hint='write it as in requires-python = ">=3.11"',
        ) from None
    if not allowed.contains(there, prereleases=True):
        raise ToolError(
            ErrorCode.DEPENDENCY_ERROR,
            f"the file needs Python {allowed}, the sandbox has {there}",
        )


def read_failure(error: ToolError) -> ToolError:
    """What a file was refused with inside, in words that can be shown and kept."""
    details: dict[str, Any] = {
        key: visible(value[:MAX_MESSAGE_CHARS])
        for key in ("missing", "package", "traceback", "type")
        if isinstance(value := error.details.get(key), str)
    }
    problems = error.details.get("problems")
    if isinstance(problems, list):
        details["problems"] = [
            _problem(each)._asdict() for each in problems[:MAX_PROBLEMS] if isinstance(each, dict)
        ]
    return ToolError(
        error.code,
        plain(error.message, MAX_MESSAGE_CHARS),
        hint=plain(error.hint, MAX_WARNING_CHARS),
        details=details,
    )


def _problem(raw: dict[str, Any]) -> Problem:
    def text(key: str) -> str:
        value = raw.get(key)
        return plain(value, MAX_WARNING_CHARS) if isinstance(value, str) else ""

    line = raw.get("line")
    return Problem(text("message"), _line(line), text("function"), text("parameter"))


def _line(raw: Any) -> int | None:
    return raw if type(raw) is int and 0 < raw <= MAX_LINE else None


def _malformed(exc: ValidationError) -> Problem:
    # Where it is wrong, and never a value: a bug of ours, or a file that speaks for the worker.
    where = {".".join(map(str, each["loc"])) or "all of it" for each in exc.errors()[:3]}
    told = ", ".join(sorted(shown(each) for each in where))
    return Problem(f"what the sandbox says of the file is malformed, at {told}")


def _settings(raw: dict[str, Any], source: Source) -> FileSettings:
    try:
        return FileSettings.model_validate(raw)
    except ValidationError as exc:
        problems = [
            Problem(f"[tool.sandbox-sdk] {shown('.'.join(map(str, each['loc'])))}: {each['msg']}")
            for each in exc.errors()[:MAX_PROBLEMS]
        ]
        raise refusal(source.namespace, problems) from None


def _tools(functions: list[_Function], source: Source) -> tuple[CustomTool, ...]:
    allowance = Allowance()
    tools: list[CustomTool] = []
    problems = [] if functions else [Problem("it has no public function", None)]
    for each in functions:
        line = _line(each.line) or 1
        if problem := name_problem(each.name, source.namespace, line):
            problems.append(problem)
            continue
        try:
            tools.append(_tool(each, line, source.namespace, allowance))
        except SchemaError as exc:
            problems.append(Problem(exc.message, line, each.name, exc.field))
    size = sum(len(each.model_dump_json()) for each in tools)
    if size > MAX_TOTAL_BYTES:
        problems.append(Problem(f"its schemas have {size} bytes, at most {MAX_TOTAL_BYTES} fit"))
    if problems:
        raise refusal(source.namespace, problems)
    check_names(tools, {})
    return tuple(tools)


def _tool(raw: _Function, line: int, namespace: str, allowance: Allowance) -> CustomTool:
    description = plain(raw.description, MAX_DESCRIPTION_CHARS)
    if not description:
        raise SchemaError("it has no description: write a docstring")
    try:
        result = output_schema(raw.output_schema, allowance)
    except SchemaError as exc:
        raise SchemaError(exc.message, "return") from None
    return CustomTool(
        namespace=namespace,
        function=raw.name,
        description=description,
        input_schema=input_schema(raw.input_schema, allowance),
        output_schema=result,
        context=raw.context,
        line=line,
    )
