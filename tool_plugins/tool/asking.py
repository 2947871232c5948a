"""What a function's `ctx` is: the tools of its sandbox, progress, logs. Runs in a worker.

Tools are not called here: the host is asked for them, which does them as for any caller. Whatever
a function holds of its context is dead once its call is over.
"""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic_core import to_jsonable_python

from tool_plugins.authoring import Context, Data, ToolError
from tool_plugins.errors import ErrorCode
from tool_plugins.errors import ToolError as Refusal
from tool_plugins.worker.wire import MAX_ASKS, MAX_EVENT_BYTES

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PLUGINS = tuple(Context.__annotations__)
MAX_PROGRESS_CHARS = 500

_threads: "list[ThreadPoolExecutor]" = []


class Call(Protocol):
    """What is used of `tool_plugins.worker.child.Call`."""

    def emit(self, event: dict[str, Any]) -> None:
        """Tells the caller something."""
        ...

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Asks the caller for something; blocks. Raises the error that came instead."""
        ...


def context_of(call: Call, workspace: Path, *, asynchronous: bool) -> object:
    """The context of one call, `authoring.Context` or `authoring.AsyncContext`."""
    return _Context(call, workspace, _later if asynchronous else _now)


class _Context:
    def __init__(self, call: Call, workspace: Path, how: Callable[..., Any]) -> None:
        self.workspace = workspace
        self._call = call
        for plugin in PLUGINS:
            setattr(self, plugin, _Plugin(plugin, partial(how, call)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"ctx has no {name!r}: its tools are those of {', '.join(PLUGINS)}")

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """See `authoring.Reporting`."""
        self._call.emit(
            {
                "event": "progress",
                "progress": _number(done),
                "total": None if total is None else _number(total),
                "message": str(message)[:MAX_PROGRESS_CHARS],
            }
        )

    def log(self, text: str) -> None:
        """See `authoring.Reporting`."""
        print(text)


class _Plugin:
    def __init__(self, name: str, ask: Callable[..., Any]) -> None:
        self._name = name
        self._ask = ask

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        # Whoever looks at an object from outside, as copy and pickle do, asks for such names.
        if verb.startswith("_"):
            raise AttributeError(verb)
        return partial(self._ask, f"{self._name}.{verb}")

    def __repr__(self) -> str:
        return f"<the tools of {self._name}>"


def _number(value: float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"progress is a number, not {number}")
    return number


def _now(call: Call, tool: str, /, *positional: Any, **named: Any) -> Data:
    request = _request(tool, positional, named)
    return _answer(call, tool, request)


async def _later(call: Call, tool: str, /, *positional: Any, **named: Any) -> Data:
    request = _request(tool, positional, named)
    return await _in_a_thread(partial(_answer, call, tool, request))


def _request(tool: str, positional: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments as JSON: a path, a date or a model may be given as it is."""
    try:
        values = to_jsonable_python({"positional": positional, "named": named})
    except Exception as exc:  # of what the function gave, some may be its own objects
        raise _unfit(tool, exc) from exc
    return {"tool": tool, **values}


def _answer(call: Call, tool: str, request: dict[str, Any]) -> Data:
    try:
        return _data(call.ask(request))
    except Refusal as exc:
        raise ToolError(exc.message, hint=exc.hint, code=str(exc.code)) from None
    except (TypeError, ValueError) as exc:
        raise _unfit(tool, exc) from None


def _data(value: Any) -> Any:
    """The value with each of its objects as `Data`, in lists too."""
    if isinstance(value, dict):
        return Data({key: _data(each) for key, each in value.items()})
    return [_data(each) for each in value] if isinstance(value, list) else value


def _unfit(tool: str, exc: Exception) -> ToolError:
    return ToolError(
        f"the arguments of {tool} cannot be sent: {exc}",
        hint=f"they have to be JSON, of at most {MAX_EVENT_BYTES} bytes together",
        code=str(ErrorCode.INVALID_ARGUMENT),
    )


def _in_a_thread(work: Callable[[], Data]) -> Awaitable[Data]:
    # Loaded by then: only functions that were called on a loop get here.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    if not _threads:
        # Threads of our own: user code may fill those of its loop.
        _threads.append(ThreadPoolExecutor(MAX_ASKS, "ask"))
    return asyncio.get_running_loop().run_in_executor(_threads[0], work)
