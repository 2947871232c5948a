"""What a caller says to the tools that manage custom tools. Host side: pydantic."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from tool_plugins.contract import Arguments

Namespace = Annotated[
    str,
    Field(
        pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$",
        max_length=40,
        description="The name of the file without .py: its functions become namespace_function.",
    ),
]
MAX_SOURCE_CHARS = 512 * 1024


class RegisterArguments(Arguments):
    """Arguments of tool.register."""

    namespace: Namespace
    source: Annotated[
        str | None,
        Field(min_length=1, max_length=MAX_SOURCE_CHARS, description="The file's Python source."),
    ] = None
    path: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=4096,
            description="Instead of source: the file in the workspace, as for filesystem_read.",
        ),
    ] = None
    timeout_s: Annotated[
        float, Field(gt=0, le=600, description="For all of it, packages included, in seconds.")
    ] = 120.0

    @model_validator(mode="after")
    def _one_of_both(self) -> "RegisterArguments":
        if (self.source is None) == (self.path is None):
            raise ValueError("give either source or path")
        return self


class ListArguments(Arguments):
    """Arguments of tool.list."""

    namespace: Annotated[
        str | None, Field(max_length=40, description="Only this one, with the tools' schemas.")
    ] = None


class CallArguments(Arguments):
    """Arguments of tool.call."""

    tool: Annotated[
        str,
        Field(
            min_length=3,
            max_length=81,
            description="As tool_list names it: namespace.function, or namespace_function.",
        ),
    ]
    arguments: Annotated[dict[str, Any], Field(description="The function's arguments by name.")] = (
        Field(default_factory=dict)
    )
    timeout_s: Annotated[
        float | None,
        Field(gt=0, le=3600, description="In seconds; left out it is the file's own, or 60."),
    ] = None


class RemoveArguments(Arguments):
    """Arguments of tool.remove."""

    namespace: Namespace
