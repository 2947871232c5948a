"""What is wrong with a file of custom tools, by line, function and parameter."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NoReturn

from tool_plugins.errors import ErrorCode, ToolError

MAX_PROBLEMS = 20
MAX_CHARS = 300
"""Of one message: a library's, or a tool's own exception's, may be of any length."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `line` is None where only the file is known, or not known yet."""

    message: str
    line: int | None = None
    function: str | None = None
    parameter: str | None = None

    def at(self, line: int | None) -> "Problem":
        """The same at that line, if it had none."""
        return self if self.line is not None else replace(self, line=line)


class Unfit(Exception):
    """What is asked of a file or of a function does not hold. `problems` is never empty."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems[0].message)
        self.problems = problems


def shorten(text: str, limit: int = MAX_CHARS) -> str:
    """The text, cut where it is too long."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def describe_error(exc: BaseException) -> str:
    """An exception as "Type: text" in one short line. Never raises, whatever its `__str__` does."""
    try:
        text = " ".join(str(exc).split())
    except BaseException:  # it is the file's own code
        text = ""
    name = type(exc).__name__
    return shorten(f"{name}: {text}" if text else name)


def schema_error(file: str, problems: Sequence[Problem], hint: str = "") -> ToolError:
    """The error that tells all problems of a file, those of the first lines first."""
    ordered = sorted(problems, key=lambda each: each.line or 0)
    lines = [_sentence(file, each) for each in ordered[:MAX_PROBLEMS]]
    if left := len(ordered) - MAX_PROBLEMS:
        lines += [f"and {left} more"] if left > 0 else []
    return ToolError(
        ErrorCode.SCHEMA_ERROR,
        "\n".join(lines),
        hint=hint or "mend the file and register it again",
        details={"problems": [asdict(each) for each in ordered[:MAX_PROBLEMS]]},
    )


def refuse(file: str, problems: Iterable[Problem], hint: str = "") -> NoReturn:
    """Raises the error of `schema_error`."""
    raise schema_error(file, list(problems), hint)


def _sentence(file: str, problem: Problem) -> str:
    place = file if problem.line is None else f"{file}:{problem.line}"
    named = problem.function or ""
    if problem.parameter is not None:
        named += f"({problem.parameter})"
    return ": ".join(part for part in (place, named, shorten(problem.message)) if part)
