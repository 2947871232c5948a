"""Typed methods for the database tools, such as `sandbox.database.query(...)`.

See `sandbox_sdk.facades`: the signatures are the tools' argument models, written once more.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal

from sandbox_sdk.facades import Executes, call
from tool_plugins.database import arguments, results
from tool_plugins.errors import SandboxError

Statement = arguments.StatementArgument | Mapping[str, Any]
IsolationLevel = Literal["read committed", "repeatable read", "serializable"]


class DatabaseTools:
    """Databases of the sandbox. The arguments are described in the tools themselves."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def list(self) -> results.ListResult:
        """Lists the databases there are and what may be done with them."""
        return await call(results.ListResult, "database.list", locals())

    async def schema(
        self,
        database: str,
        *,
        pattern: str = "*",
        detail: Literal["names", "columns", "full"] = "columns",
        limit: int = 100,
    ) -> results.SchemaResult:
        """Shows what this sandbox may use."""
        return await call(results.SchemaResult, "database.schema", locals())

    async def query(
        self,
        database: str,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        timeout_s: float | None = None,
        transaction_id: str | None = None,
        explain: bool = False,
        output_file: str | None = None,
    ) -> results.QueryResult:
        """Reads with one statement. `rows` are JSON values; `columns` name their types."""
        return await call(results.QueryResult, "database.query", locals())

    async def execute(
        self,
        database: str,
        statements: Sequence[Statement],
        *,
        dry_run: bool = False,
        timeout_s: float | None = None,
        transaction_id: str | None = None,
    ) -> results.ExecuteResult:
        """Runs 1 to 50 statements: all take effect, or none."""
        return await call(results.ExecuteResult, "database.execute", locals())

    async def begin(
        self,
        database: str,
        *,
        read_only: bool = False,
        isolation: IsolationLevel | None = None,
        idle_timeout_s: float = 60.0,
    ) -> results.BeginResult:
        """Opens a transaction that spans calls. `transaction` ends it for you."""
        return await call(results.BeginResult, "database.begin", locals())

    async def commit(self, transaction_id: str) -> results.TransactionResult:
        """Makes everything done in a transaction permanent."""
        return await call(results.TransactionResult, "database.commit", locals())

    async def rollback(self, transaction_id: str) -> results.TransactionResult:
        """Undoes everything done in a transaction."""
        return await call(results.TransactionResult, "database.rollback", locals())

    @asynccontextmanager
    async def transaction(
        self,
        database: str,
        *,
        read_only: bool = False,
        isolation: IsolationLevel | None = None,
        idle_timeout_s: float = 60.0,
    ) -> AsyncIterator[str]:
        """The id of a transaction that the block commits, or rolls back when it raises."""
        begun = await self.begin(
            database, read_only=read_only, isolation=isolation, idle_timeout_s=idle_timeout_s
        )
        try:
            yield begun.transaction_id
        except BaseException:
            # What ended the block is the news; a transaction that is over already is rolled back.
            with suppress(SandboxError):
                await self.rollback(begun.transaction_id)
            raise
        await self.commit(begun.transaction_id)


class VectorTools:
    """Vector collections of the sandbox. The arguments are described in the tools themselves."""

    def __init__(self, sandbox: Executes) -> None:
        self._sandbox = sandbox

    async def search(
        self,
        database: str,
        collection: str,
        vector: Sequence[float] | None = None,
        *,
        point_id: int | str | None = None,
        vector_name: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        score_threshold: float | None = None,
        with_vector: bool = False,
        timeout_s: float | None = None,
    ) -> results.VectorSearchResult:
        """Finds the points nearest to a vector or to a point."""
        return await call(results.VectorSearchResult, "vector.search", locals())

    async def upsert(
        self,
        database: str,
        collection: str,
        points: Sequence[arguments.Point | Mapping[str, Any]],
        *,
        timeout_s: float | None = None,
    ) -> results.VectorChangeResult:
        """Adds points; those with the same id are replaced."""
        return await call(results.VectorChangeResult, "vector.upsert", locals())

    async def delete(
        self,
        database: str,
        collection: str,
        *,
        ids: Sequence[int | str] | None = None,
        filter: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> results.VectorChangeResult:
        """Deletes points, by id or by filter."""
        return await call(results.VectorChangeResult, "vector.delete", locals())
