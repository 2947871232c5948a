"""The database and vector tools. Which of them a sandbox has follows from its access."""

from tool_plugins.contract import Annotations, ToolDefinition

from . import arguments as a
from . import results as r

LIST = ToolDefinition(
    name="database.list",
    description="Lists the databases of this sandbox: engine, what may be done, limits.",
    arguments=a.ListArguments,
    result=r.ListResult,
    annotations=Annotations("List databases", read_only=True, idempotent=True),
    broker="database",
)
SCHEMA = ToolDefinition(
    name="database.schema",
    description=(
        "Shows tables and columns (neo4j: labels and properties; qdrant: collections). Only what "
        "this sandbox may use is shown. Look here before you write a query."
    ),
    arguments=a.SchemaArguments,
    result=r.SchemaResult,
    annotations=Annotations("Show a database's schema", read_only=True, idempotent=True),
    broker="database",
)
QUERY = ToolDefinition(
    name="database.query",
    description=(
        "Reads from a database with one statement of SQL (postgres, sqlite) or Cypher (neo4j). "
        "Runs read-only: to write use database_execute. Pass values in params, never inside the "
        'text: {"query": "SELECT name FROM users WHERE id = $1", "params": [7]}. '
        "`truncated` says that there are more rows: narrow the query, raise limit, or write all "
        "of them to output_file. Numbers too exact for JSON, dates and UUIDs come as strings."
    ),
    arguments=a.QueryArguments,
    result=r.QueryResult,
    annotations=Annotations("Query a database", read_only=True, idempotent=True),
    timeout_argument="timeout_s",
    broker="database",
)
EXECUTE = ToolDefinition(
    name="database.execute",
    description=(
        "Runs 1 to 50 statements in one transaction: all take effect, or none. One statement per "
        "entry. BEGIN, COMMIT and ROLLBACK are not statements here: use database_begin for a "
        "transaction that spans calls. dry_run shows the effect and undoes it."
    ),
    arguments=a.ExecuteArguments,
    result=r.ExecuteResult,
    annotations=Annotations("Write to a database"),
    timeout_argument="timeout_s",
    broker="database",
)
BEGIN = ToolDefinition(
    name="database.begin",
    description=(
        "Opens a transaction that spans calls. Pass its transaction_id to database_query and "
        "database_execute, then end it with database_commit or database_rollback. It is rolled "
        "back by itself when unused for idle_timeout_s and when the sandbox ends."
    ),
    arguments=a.BeginArguments,
    result=r.BeginResult,
    annotations=Annotations("Begin a transaction", destructive=False),
    broker="database",
)
COMMIT = ToolDefinition(
    name="database.commit",
    description="Makes everything done in a transaction permanent.",
    arguments=a.TransactionArguments,
    result=r.TransactionResult,
    annotations=Annotations("Commit a transaction"),
    broker="database",
)
ROLLBACK = ToolDefinition(
    name="database.rollback",
    description="Undoes everything done in a transaction.",
    arguments=a.TransactionArguments,
    result=r.TransactionResult,
    annotations=Annotations("Roll back a transaction", destructive=False),
    broker="database",
)
VECTOR_SEARCH = ToolDefinition(
    name="vector.search",
    description="Finds the points of a qdrant collection nearest to a vector or to a point.",
    arguments=a.VectorSearchArguments,
    result=r.VectorSearchResult,
    annotations=Annotations("Search vectors", read_only=True, idempotent=True),
    timeout_argument="timeout_s",
    broker="database",
)
VECTOR_UPSERT = ToolDefinition(
    name="vector.upsert",
    description="Adds points to a qdrant collection; points with the same id are replaced.",
    arguments=a.VectorUpsertArguments,
    result=r.VectorChangeResult,
    annotations=Annotations("Upsert vectors", idempotent=True),
    timeout_argument="timeout_s",
    broker="database",
)
VECTOR_DELETE = ToolDefinition(
    name="vector.delete",
    description="Deletes points of a qdrant collection, by id or by filter.",
    arguments=a.VectorDeleteArguments,
    result=r.VectorChangeResult,
    annotations=Annotations("Delete vectors", idempotent=True),
    timeout_argument="timeout_s",
    broker="database",
)

TOOLS = (
    LIST,
    SCHEMA,
    QUERY,
    EXECUTE,
    BEGIN,
    COMMIT,
    ROLLBACK,
    VECTOR_SEARCH,
    VECTOR_UPSERT,
    VECTOR_DELETE,
)
"""Every one; `sandbox_sdk.databases.broker` chooses those that the configured access can use."""
