"""What is wrong with a file of custom tools, by line, function and parameter."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from tool_plugins.errors import ErrorCode, ToolError

MAX_PROBLEMS = 20
MAX_CHARS = 300
"""Of one message: a library's, or a tool's own exception's, may be of any length."""

HINT = "mend the file; the name of a function that is no tool begins with an underscore"
NO_DOCSTRING = "it has no docstring: say there what it does, for who is to call it"
NO_HINT = "it has no type hint"
NO_RESULT_HINT = "its result has no type hint; write -> None if it returns nothing"
GENERATOR = "a generator cannot be a tool: return a list instead of yielding"
LIST_ARGUMENTS = "*{} has no schema: take a list instead"
DICT_ARGUMENTS = "**{} has no schema: name each parameter, or take a dict"


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
    if len(ordered) > MAX_PROBLEMS:
        lines.append(f"and {len(ordered) - MAX_PROBLEMS} more")
    return ToolError(
        ErrorCode.SCHEMA_ERROR,
        "\n".join(lines),
        hint=hint or HINT,
        details={"problems": [asdict(each) for each in ordered[:MAX_PROBLEMS]]},
    )


def _sentence(file: str, problem: Problem) -> str:
    place = file if problem.line is None else f"{file}:{problem.line}"
    named = problem.function or ""
    if problem.parameter is not None:
        named += f"({problem.parameter})"
    return ": ".join(part for part in (place, named, shorten(problem.message)) if part)
