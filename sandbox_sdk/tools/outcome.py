"""What a call of a custom tool gave, before it is passed on: is it what the tool promised?

The answer was made by code of a stranger, as was the schema: checking takes bounded time, and an
error says where and what kind, and no more of a value than the name of a field.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .checking import Compiled, Exhausted
from .models import CustomTool
from .texts import is_shallow

MAX_RESULT_CHARS = 1_100_000
"""As JSON. Inside, what has more than a megabyte becomes a file."""
MAX_RESULT_DEPTH = 200
"""As many as a message from inside may have (`tool_plugins.worker.wire`)."""
MAX_LOG_CHARS = 1_000_000
MAX_COMPILED = 512
SMALL_VALUES = 500
SMALL_CHARS = 20_000

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_FIELDS = {"result", "file", "logs", "logs_truncated"}
_FILE_FIELDS = {"path", "bytes", "mime_type"}
_PATH = re.compile(r"\.tool_results/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_MIME_TYPE = re.compile(r"[A-Za-z0-9_.+-]{1,60}/[A-Za-z0-9_.+-]{1,60}")


def check_outcome(tool: CustomTool, data: Mapping[str, Any]) -> None:
    """Refuses data that are no `CallResult`, or whose result is not of the tool's return type.

    Raises:
        ToolError: INVALID_RESULT.
    """
    if reason := _malformed(data):
        raise _refusal(tool, f"the sandbox answered a malformed {reason}")
    result = data.get("result")
    if not is_shallow(result, MAX_RESULT_DEPTH):
        raise _refusal(tool, f"the result is nested deeper than {MAX_RESULT_DEPTH}")
    try:
        size = len(_encode(result))
    except ValueError:
        raise _refusal(tool, "the result has a number that JSON has not") from None
    if size > MAX_RESULT_CHARS:
        raise _refusal(tool, f"the result has {size} characters, at most {MAX_RESULT_CHARS} fit")
    if data.get("file") is None:
        _check_result(tool, result)


def is_small(data: Mapping[str, Any]) -> bool:
    """Whether checking takes so short that it need not go to a thread."""
    todo: list[Any] = [data]
    seen = 0
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            seen += len(value) * SMALL_VALUES // SMALL_CHARS
        elif isinstance(value, Mapping | list):
            seen += len(value)
            if seen > SMALL_VALUES:
                return False
            todo += value.values() if isinstance(value, Mapping) else value
    return seen <= SMALL_VALUES


def _check_result(tool: CustomTool, result: Any) -> None:
    compiled = _compiled(_Same(tool))
    try:
        misfit = compiled.misfit(result)
    except (Exhausted, RecursionError):
        raise _refusal(tool, "the result is too involved to be checked") from None
    if misfit is not None:
        hint = "return what the type hint says; a serializer of a field needs a hint of its own"
        raise _refusal(tool, misfit.told("result"), hint=hint)


def _malformed(data: Mapping[str, Any]) -> str:
    """The first part that is not as `CallResult` has it."""
    if not data.keys() <= _FIELDS:
        return "answer"
    logs = data.get("logs", "")
    if type(logs) is not str or len(logs) > MAX_LOG_CHARS:
        return "logs"
    if type(data.get("logs_truncated", False)) is not bool:
        return "logs_truncated"
    file = data.get("file")
    if file is not None and (not _is_file(file) or data.get("result") is not None):
        return "file"
    return ""


def _is_file(file: Any) -> bool:
    return (
        type(file) is dict
        and file.keys() == _FILE_FIELDS
        and type(file["path"]) is str
        and _PATH.fullmatch(file["path"]) is not None
        and type(file["bytes"]) is int
        and 0 <= file["bytes"] < 2**53
        and type(file["mime_type"]) is str
        and _MIME_TYPE.fullmatch(file["mime_type"]) is not None
    )


def _refusal(tool: CustomTool, reason: str, *, hint: str = "") -> ToolError:
    return ToolError(ErrorCode.INVALID_RESULT, f"{tool.name}: {reason}", hint=hint)


class _Same:
    """A tool as a key: equal to itself alone. Its schemas cannot be hashed."""

    __slots__ = ("tool",)

    def __init__(self, tool: CustomTool) -> None:
        self.tool = tool

    def __hash__(self) -> int:
        return id(self.tool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.tool is other.tool


@lru_cache(MAX_COMPILED)
def _compiled(same: _Same) -> Compiled:
    return Compiled(same.tool.output_schema)
