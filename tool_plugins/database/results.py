"""Results of the database and vector tools. Host side only.

A cell keeps its meaning in JSON: numbers that JSON cannot hold exactly (decimals, whole numbers
beyond 2^53), dates, times, intervals and UUIDs are strings; NaN and the infinities are the strings
"NaN", "Infinity" and "-Infinity"; bytes are `{"base64": "..."}`; arrays and JSON documents are
themselves. The column's `type` is the database's own name for it.
"""

from typing import Any, Literal

from pydantic import Field

from tool_plugins.contract import Result


class DatabaseView(Result):
    """One database as its sandbox may use it. Limits are per call.

    `variable` names the environment variable in which programs find its address, if they may
    connect; `file` is set if it is a file of the sandbox, which only programs open.
    """

    name: str
    engine: Literal["sqlite", "postgres", "qdrant", "neo4j"]
    description: str = ""
    isolation: Literal["copy", "shared"]
    writable: bool
    access: str
    transactions: bool
    max_rows: int
    max_bytes: int
    timeout_s: float
    variable: str | None = None
    file: str | None = None


class ListResult(Result):
    """What `database_list` returns."""

    databases: list[DatabaseView]


class Column(Result):
    """One column of a table, property of a label, or field of a payload index."""

    name: str
    type: str
    nullable: bool | None = None
    primary_key: bool = False
    verbs: list[str] = Field(default_factory=list)
    """What this sandbox may do with it, where that differs from the table."""


class ForeignKey(Result):
    """Columns that refer to another table's."""

    columns: list[str]
    refers_to: str
    refers_to_columns: list[str]


class Index(Result):
    """An index or a constraint that is one."""

    name: str
    columns: list[str]
    unique: bool = False


class SchemaItem(Result):
    """A table, view, collection, node label or relationship type."""

    name: str
    kind: Literal["table", "view", "collection", "label", "relationship"]
    verbs: list[str] = Field(default_factory=list)
    rows_filtered: bool = False
    columns: list[Column] = Field(default_factory=list)
    foreign_keys: list[ForeignKey] = Field(default_factory=list)
    indexes: list[Index] = Field(default_factory=list)
    row_estimate: int | None = None
    vectors: dict[str, str] = Field(default_factory=dict)
    """Of a collection: vector name to "size distance"; "" is the unnamed one."""


class SchemaResult(Result):
    """What `database_schema` returns; `total` counts what matched before `limit`."""

    database: str
    engine: str
    items: list[SchemaItem]
    total: int
    truncated: bool


class ResultColumn(Result):
    """A column of a result."""

    name: str
    type: str


class QueryResult(Result):
    """What `database_query` returns.

    `truncated` is exact: it is set only if there is at least one row more; `truncated_by` says
    which cap it met. `clipped_cells` counts long cells of which only the beginning is shown.
    `plan` is set instead of rows with `explain`; `output_file`, `bytes` and `sha256` with a file.
    """

    columns: list[ResultColumn] = Field(default_factory=list)
    rows: list[list[Any]] = Field(default_factory=list)
    row_count: int = 0
    truncated: bool = False
    truncated_by: Literal["rows", "bytes"] | None = None
    clipped_cells: int = 0
    plan: str | None = None
    output_file: str | None = None
    bytes: int | None = None
    sha256: str | None = None


class StatementResult(Result):
    """What one statement did. `rows` holds what it returned (RETURNING)."""

    status: str
    rows_affected: int | None = None
    columns: list[ResultColumn] = Field(default_factory=list)
    rows: list[list[Any]] = Field(default_factory=list)
    truncated: bool = False


class ExecuteResult(Result):
    """What `database_execute` returns. `committed` is false in a dry run or open transaction."""

    statements: list[StatementResult]
    committed: bool
    dry_run: bool = False
    transaction_id: str | None = None
    attempts: int = 1


class BeginResult(Result):
    """What `database_begin` returns."""

    transaction_id: str
    database: str
    read_only: bool
    idle_timeout_s: float


class TransactionResult(Result):
    """What `database_commit` and `database_rollback` return."""

    transaction_id: str
    outcome: Literal["committed", "rolled back"]


class Hit(Result):
    """One found point."""

    id: int | str
    score: float
    payload: dict[str, Any] = Field(default_factory=dict)
    vector: list[float] | dict[str, list[float]] | None = None


class VectorSearchResult(Result):
    """What `vector_search` returns, best first.

    `truncated` is set if a cap left out hits that `limit` asked for. `clipped_cells` counts long
    texts in payloads of which only the beginning is shown.
    """

    hits: list[Hit]
    truncated: bool = False
    truncated_by: Literal["rows", "bytes"] | None = None
    clipped_cells: int = 0


class VectorChangeResult(Result):
    """What `vector_upsert` and `vector_delete` return; `count` is the collection's size after."""

    collection: str
    changed: int | None
    count: int
