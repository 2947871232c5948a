"""Arguments of the database and vector tools. Host side only."""

import base64
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, model_validator

from tool_plugins.contract import Arguments


def plain(value: Any) -> Any:
    """A value of a Python caller as JSON; what comes over MCP is JSON already.

    Raises:
        ValueError: it is of a type that no database parameter can have.
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes() | bytearray() | memoryview():
            return {"base64": base64.b64encode(value).decode()}
        case Decimal() | UUID():
            return str(value)
        case date() | datetime() | time():
            return value.isoformat()
        case Mapping():
            return {str(key): plain(part) for key, part in value.items()}
        case Sequence():
            return [plain(part) for part in value]
    raise ValueError(f"a {type(value).__name__} cannot be a parameter")


Params = list[Any] | dict[str, Any]

DatabaseName = Annotated[
    str, Field(min_length=1, max_length=30, description="A name from database_list.")
]
QueryText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100_000,
        description="One statement in the database's language (SQL; Cypher for neo4j). Write "
        "values as $1, $2 (SQL) or $name (Cypher) and pass them in params.",
    ),
]
QueryParams = Annotated[
    Params | None,
    BeforeValidator(plain),
    Field(
        description="Values for the placeholders: a list for $1, $2; an object for $name. "
        'Binary values are {"base64": "..."}.'
    ),
]
TransactionId = Annotated[
    str | None,
    Field(max_length=64, description="From database_begin. Without it the call stands alone."),
]
TimeoutSeconds = Annotated[
    float | None,
    Field(gt=0, le=600, description="Deadline in seconds; the database's own limit if lower."),
]
CollectionName = Annotated[str, Field(min_length=1, max_length=200)]
PointId = int | str


class ListArguments(Arguments):
    """`database_list` takes none."""


class SchemaArguments(Arguments):
    """Arguments of `database_schema`."""

    database: DatabaseName
    pattern: Annotated[
        str, Field(max_length=200, description="Names to show; * and ? are wildcards.")
    ] = "*"
    detail: Annotated[
        Literal["names", "columns", "full"],
        Field(description="full adds foreign keys, indexes and an estimate of the rows."),
    ] = "columns"
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class QueryArguments(Arguments):
    """Arguments of `database_query`."""

    database: DatabaseName
    query: QueryText
    params: QueryParams = None
    limit: Annotated[
        int, Field(ge=1, le=100_000, description="Rows to return; the database's cap if lower.")
    ] = 100
    timeout_s: TimeoutSeconds = None
    transaction_id: TransactionId = None
    explain: Annotated[bool, Field(description="Return the plan; nothing is run.")] = False
    output_file: Annotated[
        str | None,
        Field(
            max_length=4096,
            description="Write every row to this file of the workspace (.csv or .jsonl) instead "
            "of returning it.",
        ),
    ] = None

    @model_validator(mode="after")
    def _check_output(self) -> "QueryArguments":
        if self.output_file is not None and not self.output_file.endswith((".csv", ".jsonl")):
            raise ValueError("output_file must end in .csv or .jsonl")
        if self.output_file is not None and self.explain:
            raise ValueError("explain and output_file exclude each other")
        return self


class StatementArgument(Arguments):
    """One statement of `database_execute`."""

    query: QueryText
    params: QueryParams = None


class ExecuteArguments(Arguments):
    """Arguments of `database_execute`."""

    database: DatabaseName
    statements: Annotated[list[StatementArgument], Field(min_length=1, max_length=50)]
    dry_run: Annotated[
        bool, Field(description="Run them, report, and roll back. Sequences still advance.")
    ] = False
    timeout_s: TimeoutSeconds = None
    transaction_id: TransactionId = None


class BeginArguments(Arguments):
    """Arguments of `database_begin`."""

    database: DatabaseName
    read_only: bool = False
    isolation: Annotated[
        Literal["read committed", "repeatable read", "serializable"] | None,
        Field(description="Left out: the database's default."),
    ] = None
    idle_timeout_s: Annotated[
        float,
        Field(gt=0, le=600, description="Rolled back when unused for so long, in seconds."),
    ] = 60.0


class TransactionArguments(Arguments):
    """Arguments of `database_commit` and `database_rollback`."""

    transaction_id: Annotated[str, Field(min_length=1, max_length=64)]


class VectorSearchArguments(Arguments):
    """Arguments of `vector_search`: exactly one of `vector` and `point_id`."""

    database: DatabaseName
    collection: CollectionName
    vector: Annotated[list[float] | None, Field(min_length=1, max_length=65_536)] = None
    point_id: Annotated[PointId | None, Field(description="Search near this point.")] = None
    vector_name: Annotated[
        str | None, Field(description="Which vector, where points have several.")
    ] = None
    filter: Annotated[
        dict[str, Any] | None,
        Field(
            description="A Qdrant filter: {must, should, must_not} of "
            '{"key": "city", "match": {"value": "Paris"}} or {"key": "price", "range": {"lt": 10}}.'
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 10
    offset: Annotated[int, Field(ge=0, le=100_000)] = 0
    score_threshold: float | None = None
    with_vector: bool = False
    timeout_s: TimeoutSeconds = None

    @model_validator(mode="after")
    def _check_query(self) -> "VectorSearchArguments":
        if (self.vector is None) == (self.point_id is None):
            raise ValueError("give exactly one of vector and point_id")
        return self


class Point(Arguments):
    """One point. `vector` is a list, or an object of named vectors."""

    id: Annotated[PointId, Field(description="A whole number >= 0, or a UUID.")]
    vector: list[float] | dict[str, list[float]]
    payload: dict[str, Any] = Field(default_factory=dict)


class VectorUpsertArguments(Arguments):
    """Arguments of `vector_upsert`."""

    database: DatabaseName
    collection: CollectionName
    points: Annotated[list[Point], Field(min_length=1, max_length=256)]
    timeout_s: TimeoutSeconds = None


class VectorDeleteArguments(Arguments):
    """Arguments of `vector_delete`: exactly one of `ids` and `filter`."""

    database: DatabaseName
    collection: CollectionName
    ids: Annotated[list[PointId] | None, Field(min_length=1, max_length=1000)] = None
    filter: Annotated[
        dict[str, Any] | None, Field(description="As in vector_search; not empty.")
    ] = None
    timeout_s: TimeoutSeconds = None

    @model_validator(mode="after")
    def _check_selection(self) -> "VectorDeleteArguments":
        if (self.ids is None) == (not self.filter):
            raise ValueError("give exactly one of ids and filter")
        return self
