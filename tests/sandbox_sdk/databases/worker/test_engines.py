"""The whole way to a real engine: copy, worker, driver, and back."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import UploadResult
from container_runtime.engines.in_process import InProcessEngine
from sandbox_sdk.databases.access import Database
from sandbox_sdk.databases.provisioner import Place, provisioner_of
from sandbox_sdk.databases.session import Provisioned, SandboxDatabases
from sandbox_sdk.databases.worker.client import Workers
from sandbox_sdk.options import new_sandbox_id
from tool_plugins.errors import ErrorCode, ToolError

FOR_EVER = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT count(*) FROM n WHERE i < 0"
)


async def upload(path: str, content: AsyncIterator[bytes]) -> UploadResult:
    raise AssertionError("no file was asked for")


@pytest.fixture(params=["sqlite", "postgres"])
async def session(
    request: pytest.FixtureRequest, state_dir: Path
) -> AsyncIterator[SandboxDatabases]:
    """An empty database `db` of which the sandbox is the owner."""
    fields: dict[str, Any] = {"name": "db", "engine": request.param, "access": "owner"}
    if request.param == "postgres":
        fields["url"] = request.getfixturevalue("postgres").url
    database = Database.model_validate(fields)
    place = Place(state_dir / "databases", InProcessEngine(state_dir=state_dir), lambda line: None)
    place.folder.mkdir(mode=0o700)
    provisioner = provisioner_of(request.param)(database, None, place)
    await provisioner.open()
    workers = Workers()
    sandbox_id = new_sandbox_id()
    databases = {"db": Provisioned(database, provisioner)}
    made = SandboxDatabases(sandbox_id, databases, workers, upload)
    yield made
    await made.aclose()
    await workers.aclose()
    await provisioner.drop(sandbox_id)
    await provisioner.aclose()


async def execute(session: SandboxDatabases, *queries: str, **more: Any) -> dict[str, Any]:
    statements = [{"query": query, "params": None} for query in queries]
    arguments = {"database": "db", "statements": statements, **more}
    return await session.execute("database.execute", arguments)


async def query(session: SandboxDatabases, text: str, *params: Any, **more: Any) -> list[Any]:
    arguments = {"database": "db", "query": text, "params": list(params) or None, **more}
    return (await session.execute("database.query", arguments))["rows"]


async def code_of(asking: Any) -> ErrorCode:
    with pytest.raises(ToolError) as caught:
        await asking
    return caught.value.code


async def test_a_database_holds_what_its_sandbox_does(session: SandboxDatabases) -> None:
    await execute(session, "CREATE TABLE t (id integer PRIMARY KEY, name text)")
    done = await execute(session, "INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')")
    assert done["committed"] is True
    bad = execute(session, "INSERT INTO t VALUES (3, 'c')", "INSERT INTO t VALUES (1, 'd')")
    assert await code_of(bad) == ErrorCode.QUERY_ERROR
    assert await query(session, "SELECT name FROM t WHERE id >= $1 ORDER BY id", 1) == [
        ["a"],
        ["b"],
    ]
    schema = await session.execute(
        "database.schema", {"database": "db", "pattern": "*", "detail": "columns", "limit": 10}
    )
    assert [column["name"] for column in schema["items"][0]["columns"]] == ["id", "name"]

    await session.reset("db")
    assert await code_of(query(session, "SELECT * FROM t")) != ErrorCode.INTERNAL


async def test_a_batch_in_a_transaction_is_undone_alone(session: SandboxDatabases) -> None:
    await execute(session, "CREATE TABLE t (id integer PRIMARY KEY)")
    begun = await session.execute(
        "database.begin", {"database": "db", "read_only": False, "idle_timeout_s": 60.0}
    )
    handle = {"transaction_id": begun["transaction_id"]}
    await execute(session, "INSERT INTO t VALUES (1)", **handle)
    bad = execute(session, "INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (1)", **handle)
    assert await code_of(bad) == ErrorCode.QUERY_ERROR
    await execute(session, "INSERT INTO t VALUES (3)", dry_run=True, **handle)
    assert await query(session, "SELECT id FROM t", **handle) == [[1]]
    await session.execute("database.commit", handle)

    assert await query(session, "SELECT id FROM t") == [[1]]


async def test_a_killed_worker_takes_its_transaction_with_it(session: SandboxDatabases) -> None:
    await execute(session, "CREATE TABLE t (id integer PRIMARY KEY)")
    begun = await session.execute(
        "database.begin", {"database": "db", "read_only": False, "idle_timeout_s": 60.0}
    )
    handle = {"transaction_id": begun["transaction_id"]}
    await execute(session, "INSERT INTO t VALUES (1)", **handle)
    assert session._worker is not None
    session._worker.kill("a test")

    assert await query(session, "SELECT id FROM t") == []
    await execute(session, "INSERT INTO t VALUES (1)")
    assert await code_of(session.execute("database.commit", handle)) == (
        ErrorCode.TRANSACTION_ENDED
    )


async def test_a_statement_without_end_ends_at_its_deadline(session: SandboxDatabases) -> None:
    await query(session, "SELECT 1")
    worker = session._worker
    assert await code_of(query(session, FOR_EVER, timeout_s=0.2)) == ErrorCode.TIMEOUT
    asking = asyncio.create_task(query(session, FOR_EVER))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert await query(session, "SELECT 1") == [[1]]
    assert session._worker is worker
