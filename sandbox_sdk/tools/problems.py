"""What is wrong with a file of tools: each problem where it is, all of them in one error."""

from collections.abc import Sequence
from typing import NamedTuple

from tool_plugins.errors import ErrorCode, ToolError

MAX_PROBLEMS = 20


class Problem(NamedTuple):
    """One thing that is wrong. `line` is None where it is not one place of the file.

    `parameter` is "return" where it is about what the function returns.
    """

    message: str
    line: int | None = None
    function: str = ""
    parameter: str = ""

    def told(self, namespace: str) -> str:
        """As in "my_tools.py:12: count, parameter path: why"."""
        place = f"{namespace}.py" if self.line is None else f"{namespace}.py:{self.line}"
        parameter = f"parameter {self.parameter}" if self.parameter else ""
        if self.parameter == "return":
            parameter = "result"
        where = ", ".join(filter(None, (self.function, parameter)))
        return ": ".join(filter(None, (place, where, self.message)))


def refusal(namespace: str, problems: Sequence[Problem], *, hint: str = "") -> ToolError:
    """SCHEMA_ERROR with a line for each problem; `details` has `problems` with their fields."""
    told = [each.told(namespace) for each in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        told.append(f"and {len(problems) - MAX_PROBLEMS} more")
    listed = [each._asdict() for each in problems[:MAX_PROBLEMS]]
    return ToolError(
        ErrorCode.SCHEMA_ERROR, "\n".join(told), hint=hint, details={"problems": listed}
    )
