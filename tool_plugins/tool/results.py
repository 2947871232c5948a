"""What the tools that manage custom tools answer, and what a custom tool answers."""

from typing import Any, Literal

from pydantic import Field

from tool_plugins.contract import Result


class ToolSummary(Result):
    """A custom tool. `name` is the dotted name, `mcp_name` the one over MCP.

    The schemas are left out where a whole list was asked for.
    """

    name: str
    mcp_name: str
    description: str
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None


class FileSummary(Result):
    """A registered file. `version` changes with its source, its packages and its descriptions.

    `status` is "failed" where no version of it ever worked. `error` is why the newest one does
    not; with status "ready" the last good version goes on working. `origin` says where it came
    from; `scope` whether it came with the group or was registered in this sandbox.
    """

    namespace: str
    status: Literal["ready", "failed"]
    version: str = ""
    origin: str
    scope: Literal["group", "sandbox"]
    description: str = ""
    dependencies: list[str] = Field(default_factory=list)
    tools: list[ToolSummary] = Field(default_factory=list)
    error: str = ""


class RegisterResult(Result):
    """A file as it was registered.

    `changes` says what became of tools that were there before, each as one sentence.
    """

    namespace: str
    version: str
    tools: list[ToolSummary]
    dependencies: list[str] = Field(default_factory=list)
    changes: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)


class ListResult(Result):
    """The registered files."""

    files: list[FileSummary]


class ResultFile(Result):
    """A result that was too large to be returned. `path` is relative to the workspace."""

    path: str
    bytes: int
    mime_type: str


class CallResult(Result):
    """What a custom tool gave. `result` is what the function returned, as JSON.

    Bytes and images come as attachments; `result` then says what they are. What is too large lies
    in `file`. `logs` is what was printed meanwhile.
    """

    result: Any = None
    file: ResultFile | None = None
    logs: str = ""
    logs_truncated: bool = False


class RemoveResult(Result):
    """What tool.remove did."""

    namespace: str
    removed: list[str]
