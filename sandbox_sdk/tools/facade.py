"""Custom tools as functions: `await sandbox.tools.my_tools.my_function(...)`."""

from collections.abc import Awaitable, Callable
from typing import Any

from sandbox_sdk.facades import Executes
from tool_plugins.contract import Observation
from tool_plugins.errors import ToolCallError
from tool_plugins.tool.results import CallResult, ResultFile

from .models import CustomTool
from .shelf import Shelf

Function = Callable[..., Awaitable[Any]]


class CustomTools:
    """Attributes are namespaces, their attributes functions. What is registered now counts."""

    def __init__(self, sandbox: Executes, shelf: Callable[[], Shelf]) -> None:
        self._sandbox = sandbox
        self._shelf = shelf

    def __getattr__(self, namespace: str) -> "Namespace":
        tools = [each for each in self._shelf().tools() if each.namespace == namespace]
        if not tools:
            raise AttributeError(f"no custom tools of the namespace {namespace!r}")
        return Namespace(self._sandbox, namespace, tools)

    def __dir__(self) -> list[str]:
        return sorted({each.namespace for each in self._shelf().tools()})


class Namespace:
    """The functions of one file."""

    def __init__(self, sandbox: Executes, name: str, tools: list[CustomTool]) -> None:
        self._sandbox = sandbox
        self._name = name
        self._tools = {each.function: each for each in tools}

    def __getattr__(self, function: str) -> Function:
        tool = self._tools.get(function)
        if tool is None:
            raise AttributeError(f"{self._name!r} has no tool {function!r}: {', '.join(self)}")
        return _function(self._sandbox, tool)

    def __dir__(self) -> list[str]:
        return sorted(self._tools)

    def __iter__(self) -> Any:
        return iter(self._tools)


def _function(sandbox: Executes, tool: CustomTool) -> Function:
    async def call(*positional: Any, **named: Any) -> Any:
        """Calls the tool and gives what it returned.

        Bytes come as bytes, what was too large as a `ResultFile`.

        Raises:
            ToolCallError: the tool raised, or refused the arguments.
        """
        names = tuple(tool.input_schema.get("properties", {}))
        if len(positional) > len(names):
            raise TypeError(f"{tool.name} takes {len(names)} arguments, got {len(positional)}")
        placed = dict(zip(names, positional, strict=False))
        if twice := sorted(placed.keys() & named.keys()):
            raise TypeError(f"{tool.name} got {twice[0]!r} twice")
        return value_of(await sandbox.execute(tool.name, placed | named))

    call.__name__ = tool.function
    call.__doc__ = tool.description
    return call


def value_of(observation: Observation) -> Any:
    """What the function returned.

    Raises:
        ToolCallError: it did not return.
    """
    if (error := observation.error) is not None:
        raise ToolCallError(error.code, error.message, hint=error.hint, details=error.details)
    answer = CallResult.model_validate(observation.data)
    if isinstance(answer.file, ResultFile):
        return answer.file
    if len(observation.attachments) == 1 and _is_attachment(answer.result):
        return observation.attachments[0].content()
    return answer.result


def _is_attachment(result: Any) -> bool:
    return isinstance(result, dict) and result.keys() == {"attachment", "mime_type", "bytes"}
