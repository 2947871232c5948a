"""The tools as a model sees them. Loaded by the server, which never loads the executor."""

from typing import Annotated, Literal

from pydantic import Field

from tool_plugins.contract import Annotations, Arguments, Result, ToolDefinition

File = Annotated[str, Field(description="A CSV file of the workspace; its first line has names.")]


class DescribeArguments(Arguments):
    """What `csv.describe` takes."""

    path: File


class Column(Result):
    """A column. `empty` counts the rows without a value in it."""

    name: str
    type: Literal["integer", "number", "text"]
    empty: int
    example: str


class DescribeResult(Result):
    """What is in the file."""

    rows: int
    columns: list[Column]


class QueryArguments(Arguments):
    """What `csv.query` takes."""

    path: File
    query: Annotated[
        str, Field(max_length=10_000, description="One SELECT of SQLite on the table `data`.")
    ]
    max_rows: Annotated[int, Field(ge=1, le=1000)] = 100


class QueryResult(Result):
    """The answer. `truncated` says that there are more rows than `max_rows`."""

    columns: list[str]
    rows: list[list[str | int | float | None]]
    truncated: bool


LOOK = {"read_only": True, "destructive": False, "idempotent": True}

TOOLS = (
    ToolDefinition(
        name="csv.describe",
        description="Counts the rows of a CSV file, and gives each column with its type.",
        arguments=DescribeArguments,
        result=DescribeResult,
        annotations=Annotations("Describe a CSV file", **LOOK),
        executor="acme_tools.executor:describe",
    ),
    ToolDefinition(
        name="csv.query",
        description=(
            "Answers a SELECT on the table `data`, which holds the rows of a CSV file. Use "
            "csv_describe first for the names of its columns. Nothing is written."
        ),
        arguments=QueryArguments,
        result=QueryResult,
        annotations=Annotations("Query a CSV file", **LOOK),
        executor="acme_tools.executor:query",
    ),
)
