"""What a file of custom tools may import from us: its context and its error.

    from tool_plugins.authoring import Context, ToolError

    def count_lines(path: str, ctx: Context) -> int:
        \"\"\"Counts the lines of a file.

        Args:
            path: A file of the workspace.
        \"\"\"
        ctx.progress(0, 1, "reading")
        return ctx.filesystem.read(path).total_lines

Standard library only. A function asks for its context by a parameter named `ctx`, which is not
part of its schema: `Context` in a `def`, `AsyncContext` in an `async def`, whose tools are awaited.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol


class ToolError(Exception):
    """Raised by a tool to say in its own words why it cannot: shown without a traceback.

    Also raised by `ctx`, where a tool of the sandbox refused; `code` is that tool's error code.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


class Data(dict[str, Any]):
    """A result with its fields as attributes too: `data.content` is `data["content"]`."""

    def __getattr__(self, name: str) -> Any:
        try:
            value = self[name]
        except KeyError:
            raise AttributeError(f"no field {name!r}; there are: {', '.join(self)}") from None
        return Data(value) if isinstance(value, Mapping) else value


class Plugin(Protocol):
    """The tools of one plugin: `ctx.filesystem.read("a.txt", max_lines=10)`.

    Arguments are those of the tool of that name. Raises `ToolError`.
    """

    def __getattr__(self, verb: str) -> Callable[..., Data]: ...


class AsyncPlugin(Protocol):
    """The same, awaited."""

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Data]]: ...


class Reporting(Protocol):
    """What both contexts have. `workspace` is the folder that is also the current one."""

    workspace: Path

    def progress(self, done: float, total: float | None = None, message: str = "") -> None:
        """Tells the caller how far it is. `total` is None where the end is not known."""
        ...

    def log(self, text: str) -> None:
        """A line for the logs, as `print` makes one."""
        ...


class Context(Reporting, Protocol):
    """The sandbox as a `def` sees it: its tools, with the permissions every caller has."""

    filesystem: Plugin
    terminal: Plugin
    web: Plugin
    document: Plugin
    database: Plugin
    vector: Plugin


class AsyncContext(Reporting, Protocol):
    """The sandbox as an `async def` sees it."""

    filesystem: AsyncPlugin
    terminal: AsyncPlugin
    web: AsyncPlugin
    document: AsyncPlugin
    database: AsyncPlugin
    vector: AsyncPlugin
