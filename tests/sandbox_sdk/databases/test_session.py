"""What a sandbox can do with its databases, over drivers that misbehave on demand."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from container_runtime.connection import UploadResult
from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.provisioner import Copy, Provisioner
from sandbox_sdk.databases.session import Provisioned, SandboxDatabases
from sandbox_sdk.databases.worker.client import Workers
from tests.sandbox_sdk.databases.worker.conftest import copy_of, until
from tool_plugins.database import arguments as a
from tool_plugins.database import results as r
from tool_plugins.errors import EngineError, ErrorCode, ToolCallError, ToolError

ARGUMENTS: dict[str, Any] = {
    "database.list": (a.ListArguments, r.ListResult),
    "database.schema": (a.SchemaArguments, r.SchemaResult),
    "database.query": (a.QueryArguments, r.QueryResult),
    "database.execute": (a.ExecuteArguments, r.ExecuteResult),
    "database.begin": (a.BeginArguments, r.BeginResult),
    "database.commit": (a.TransactionArguments, r.TransactionResult),
    "database.rollback": (a.TransactionArguments, r.TransactionResult),
    "vector.search": (a.VectorSearchArguments, r.VectorSearchResult),
    "vector.upsert": (a.VectorUpsertArguments, r.VectorChangeResult),
    "vector.delete": (a.VectorDeleteArguments, r.VectorChangeResult),
}


class FakeProvisioner(Provisioner):
    """Hands out copies with the settings it was told; `failures` come first."""

    def __init__(self, driver: str = "ShelfDriver") -> None:
        self.driver = driver
        self.settings: list[dict[str, Any]] = [{}]
        self.failures: list[Exception] = []
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    @classmethod
    def check(cls, database: Database) -> None: ...

    async def open(self) -> None: ...

    async def create(self, sandbox_id: str, access: Access) -> Copy:
        self.calls.append(f"create {sandbox_id}")
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        settings = self.settings.pop(0) if len(self.settings) > 1 else self.settings[0]
        return copy_of(self.driver, **settings)

    async def drop(self, sandbox_id: str) -> None:
        self.calls.append(f"drop {sandbox_id}")

    async def terminate(self, sandbox_id: str) -> None:
        self.calls.append(f"terminate {sandbox_id}")

    async def copies(self) -> set[str]:
        return set()

    async def aclose(self) -> None: ...


class Scene:
    """A sandbox `sbx` with the databases `db` (all may be done), `ro` and `points`."""

    def __init__(self, workers: Workers) -> None:
        self.db = FakeProvisioner()
        self.points = FakeProvisioner("PointsDriver")
        self.limits: dict[str, Any] = {"rows": 50, "transaction_s": 600}
        self.files: dict[str, bytes] = {}
        self.refuse: Exception | None = None
        self.workers = workers
        self.session = self.make()

    def make(self) -> SandboxDatabases:
        def database(name: str, engine: str, access: Any) -> Database:
            return Database.model_validate(
                {"name": name, "engine": engine, "access": access, "limits": self.limits}
            )

        return SandboxDatabases(
            "sbx",
            {
                "db": Provisioned(database("db", "sqlite", "write"), self.db),
                "ro": Provisioned(database("ro", "sqlite", "read"), FakeProvisioner()),
                "points": Provisioned(database("points", "qdrant", "write"), self.points),
            },
            self.workers,
            self.upload,
        )

    async def upload(self, path: str, content: AsyncIterator[bytes]) -> UploadResult:
        if self.refuse is not None:
            raise self.refuse
        data = b"".join([piece async for piece in content])
        self.files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        return UploadResult(path=path, bytes=len(data), sha256=digest)

    async def do(self, tool: str, **given: Any) -> dict[str, Any]:
        arguments, result = ARGUMENTS[tool]
        fields = await self.session.execute(tool, arguments(**given).model_dump())
        return result.model_validate(fields).model_dump()

    async def query(self, text: str, **given: Any) -> dict[str, Any]:
        return await self.do("database.query", database="db", query=text, **given)

    async def put(self, *items: str, **given: Any) -> dict[str, Any]:
        statements = [{"query": f"put {item}"} for item in items]
        return await self.do("database.execute", database="db", statements=statements, **given)

    async def begin(self, **given: Any) -> str:
        return (await self.do("database.begin", database="db", **given))["transaction_id"]

    async def items(self, **given: Any) -> list[str]:
        return [row[0] for row in (await self.query("items", **given))["rows"]]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    workers = Workers()
    made = Scene(workers)
    yield made
    await made.session.aclose()
    await workers.aclose()


async def error_of(asking: Any) -> ToolError:
    with pytest.raises(ToolError) as caught:
        await asking
    return caught.value


async def test_the_list_says_what_may_be_done_and_needs_no_copy(scene: Scene) -> None:
    listed = (await scene.do("database.list"))["databases"]

    assert [(each["name"], each["writable"], each["transactions"]) for each in listed] == [
        ("db", True, True),
        ("ro", False, True),
        ("points", True, False),
    ]
    assert [each["access"] for each in listed] == ["read; write", "read", "read; write"]
    assert listed[0]["max_rows"] == 50
    assert scene.db.calls == []


async def test_the_copy_is_made_on_first_use_and_once(scene: Scene) -> None:
    answers = await asyncio.gather(*(scene.query("rows 1 1") for _ in range(8)))

    assert all(each["row_count"] == 1 for each in answers)
    assert scene.db.calls == ["create sbx"]


async def test_a_copy_that_could_not_be_made_is_tried_again(scene: Scene) -> None:
    scene.db.failures = [EngineError("the server is away")]
    error = await error_of(scene.query("rows 1 1"))

    assert error.code == ErrorCode.DATABASE_UNAVAILABLE
    assert "db cannot be used now: the server is away" in error.message
    assert (await scene.query("rows 1 1"))["row_count"] == 1


async def test_a_cancelled_first_call_does_not_stop_the_others(scene: Scene) -> None:
    scene.db.gate.clear()
    first = asyncio.create_task(scene.query("rows 1 1"))
    second = asyncio.create_task(scene.query("rows 1 1"))
    await until(lambda: scene.db.calls)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    scene.db.gate.set()

    assert (await second)["row_count"] == 1
    assert scene.db.calls == ["create sbx"]


async def test_the_limits_are_the_lower_of_both(scene: Scene) -> None:
    assert (await scene.query("rows 49 1", limit=1000))["truncated"] is False
    fields = await scene.query("rows 60 1", limit=1000)
    assert (fields["row_count"], fields["truncated_by"]) == (50, "rows")
    assert (await scene.query("rows 60 1", limit=7))["row_count"] == 7
    error = await error_of(scene.query("wait", timeout_s=0.05))
    assert error.code == ErrorCode.TIMEOUT


async def test_what_is_not_there_is_named(scene: Scene) -> None:
    error = await error_of(scene.do("database.query", database="shop", query="x"))
    assert error.code == ErrorCode.NOT_FOUND
    assert "db, ro, points" in error.message
    assert (await error_of(scene.session.execute("database.drop", {}))).code == (
        ErrorCode.UNKNOWN_TOOL
    )


@pytest.mark.parametrize(
    ("tool", "given", "code", "hint"),
    [
        ("database.query", {"database": "points", "query": "x"}, "UNSUPPORTED", "vector_search"),
        ("database.begin", {"database": "points"}, "UNSUPPORTED", "vector_search"),
        (
            "vector.search",
            {"database": "db", "collection": "c", "vector": [1.0]},
            "UNSUPPORTED",
            "database_query",
        ),
        (
            "database.execute",
            {"database": "ro", "statements": [{"query": "put a"}]},
            "PERMISSION_DENIED",
            "database_list",
        ),
    ],
)
async def test_a_tool_that_does_not_fit_is_refused_with_a_hint(
    scene: Scene, tool: str, given: dict[str, Any], code: str, hint: str
) -> None:
    error = await error_of(scene.do(tool, **given))

    assert error.code == code
    assert hint in error.hint
    assert scene.db.calls == scene.points.calls == []


async def test_schema_plan_and_vectors_reach_the_driver(scene: Scene) -> None:
    schema = await scene.do("database.schema", database="db", pattern="us*")
    assert (schema["engine"], schema["items"][0]["name"]) == ("sqlite", "us*")
    assert (await scene.query("put a", explain=True))["plan"] == "plan of put a"
    found = await scene.do("vector.search", database="points", collection="c", point_id=1, limit=2)
    assert len(found["hits"]) == 2
    points = [{"id": 1, "vector": [1.0]}]
    changed = await scene.do("vector.upsert", database="points", collection="c", points=points)
    assert changed["count"] == 1
    gone = await scene.do("vector.delete", database="points", collection="c", ids=[1])
    assert gone["changed"] is None


async def test_a_batch_without_a_transaction_commits(scene: Scene) -> None:
    assert (await scene.put("a", "b"))["committed"] is True
    assert (await scene.put("c", dry_run=True))["committed"] is False
    assert await scene.items() == ["a", "b"]


async def test_a_transaction_spans_calls(scene: Scene) -> None:
    kept, undone = await scene.begin(), await scene.begin()
    assert scene.session.open_transactions == (kept, undone)
    done = await scene.put("a", transaction_id=kept)
    assert (done["committed"], done["transaction_id"]) == (False, kept)
    await scene.put("b", transaction_id=undone)
    assert await scene.items(transaction_id=kept) == ["a"]
    assert await scene.items() == []

    rolled_back = await scene.do("database.rollback", transaction_id=undone)
    assert rolled_back == {"transaction_id": undone, "outcome": "rolled back"}
    committed = await scene.do("database.commit", transaction_id=kept)
    assert committed["outcome"] == "committed"
    assert await scene.items() == ["a"]
    assert scene.session.open_transactions == ()
    for identity, reason in ((kept, "already committed"), (undone, "already rolled back")):
        error = await error_of(scene.do("database.commit", transaction_id=identity))
        assert error.code == ErrorCode.TRANSACTION_ENDED
        assert reason in error.message


async def test_a_transaction_of_nobody_or_elsewhere_is_refused(scene: Scene) -> None:
    error = await error_of(scene.do("database.commit", transaction_id="tx-0"))
    assert error.code == ErrorCode.NOT_FOUND
    identity = await scene.begin()
    error = await error_of(
        scene.do("database.query", database="ro", query="items", transaction_id=identity)
    )
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert "is one of db" in error.message


async def test_an_idle_transaction_says_why_it_ended(scene: Scene) -> None:
    identity = await scene.begin(idle_timeout_s=0.05)
    await until(lambda: scene.session.open_transactions == ())

    error = await error_of(scene.put("a", transaction_id=identity))
    assert error.code == ErrorCode.TRANSACTION_ENDED
    assert "rolled back: not used for 0.05 s" in error.message


async def test_a_transaction_that_could_not_begin_is_not_open(scene: Scene) -> None:
    scene.db.settings = [{"fail": [["begin", "BUSY", False]]}]
    assert (await error_of(scene.begin())).code == ErrorCode.BUSY
    assert scene.session.open_transactions == ()


async def test_a_crash_ends_transactions_and_the_next_call_has_a_new_worker(scene: Scene) -> None:
    identity = await scene.begin()
    error = await error_of(scene.query("crash"))

    assert error.code == ErrorCode.DATABASE_UNAVAILABLE
    assert "call again" in error.hint
    assert scene.session.open_transactions == ()
    ended = await error_of(scene.do("database.commit", transaction_id=identity))
    assert "rolled back: the worker ended" in ended.message
    assert (await scene.query("rows 1 1"))["row_count"] == 1
    assert scene.db.calls == ["create sbx"]


async def test_a_call_that_does_not_stop_costs_nobody_else_a_read(
    scene: Scene, tmp_path: Path
) -> None:
    reading = asyncio.create_task(scene.query(f"wait {tmp_path / 'begun'}", timeout_s=10))
    await until((tmp_path / "begun").exists)
    (tmp_path / "begun").unlink()
    stuck = await error_of(scene.query("stubborn", timeout_s=0.05))

    assert stuck.code == ErrorCode.TIMEOUT
    # It runs again, in another worker, after the server was told to end the first.
    await until((tmp_path / "begun").exists)
    assert scene.db.calls == ["create sbx", "terminate sbx"]
    reading.cancel()
    await asyncio.wait([reading])


async def test_a_credential_that_is_refused_is_replaced(scene: Scene) -> None:
    scene.db.settings = [{}, {"fail": []}]
    await scene.query("rows 1 1")
    assert scene.session._worker is not None
    await scene.session._worker.open("db", copy_of(refusing=True))
    assert (await scene.query("rows 1 1"))["row_count"] == 1
    assert scene.db.calls == ["create sbx"] * 2

    await scene.session._worker.end()
    scene.session._attachments["db"]._copy = copy_of(refuse="who are you?")
    assert (await scene.query("rows 1 1"))["row_count"] == 1
    assert scene.db.calls == ["create sbx"] * 3


async def test_a_fresh_credential_that_is_refused_too_is_an_error(scene: Scene) -> None:
    scene.db.settings = [{"refuse": "who are you?"}]
    error = await error_of(scene.query("rows 1 1"))

    assert error.code == ErrorCode.DATABASE_UNAVAILABLE
    assert scene.db.calls == ["create sbx"]


async def test_every_row_goes_to_a_file(scene: Scene) -> None:
    fields = await scene.query("rows 5000 100", output_file="out/rows.csv")

    data = scene.files["out/rows.csv"]
    assert len(data.splitlines()) == 5001
    assert fields["rows"] == []
    assert (fields["row_count"], fields["truncated"]) == (5000, False)
    assert (fields["output_file"], fields["bytes"]) == ("out/rows.csv", len(data))
    assert fields["sha256"] == hashlib.sha256(data).hexdigest()
    empty = await scene.query("rows 0 1", output_file="rows.jsonl")
    assert (scene.files["rows.jsonl"], empty["bytes"]) == (b"", 0)


async def test_a_file_survives_a_refused_credential(scene: Scene) -> None:
    scene.db.settings = [{"refusing": True}, {}]
    fields = await scene.query("rows 5000 1000", output_file="rows.csv")

    assert fields["row_count"] == 5000
    assert len(scene.files["rows.csv"]) == fields["bytes"] > 5_000_000
    assert scene.db.calls == ["create sbx"] * 2


async def test_a_file_also_comes_from_a_transaction(scene: Scene) -> None:
    identity = await scene.begin()
    await scene.put("a", transaction_id=identity)
    await scene.query("items", output_file="a.jsonl", transaction_id=identity)

    assert scene.files["a.jsonl"] == b'{"item":"a"}\n'


@pytest.mark.parametrize("rows", ["10 10", "3000 1000"])
async def test_a_query_that_fails_writes_no_file(scene: Scene, rows: str) -> None:
    error = await error_of(scene.query(f"rows_then_fail {rows}", output_file="rows.csv"))

    assert (error.code, error.message) == (ErrorCode.QUERY_ERROR, "division by zero")
    assert scene.files == {}
    assert (await scene.query("rows 1 1"))["row_count"] == 1


async def test_a_file_that_cannot_be_written_ends_the_query(scene: Scene) -> None:
    scene.refuse = ToolCallError("DISK_QUOTA", "the workspace is full")
    error = await error_of(scene.query("rows 100000 1000", output_file="rows.csv"))

    assert (error.code, error.message) == (ErrorCode.DISK_QUOTA, "the workspace is full")
    assert (await scene.query("rows 1 1"))["row_count"] == 1


async def test_a_reset_drops_the_copy_and_ends_its_transactions(scene: Scene) -> None:
    await scene.put("a")
    identity = await scene.begin()
    await scene.session.reset("db")

    assert await scene.items() == []
    assert scene.db.calls == ["create sbx", "drop sbx", "create sbx"]
    error = await error_of(scene.do("database.commit", transaction_id=identity))
    assert "the database was reset" in error.message
    assert (await error_of(scene.session.reset("shop"))).code == ErrorCode.NOT_FOUND


async def test_closing_ends_everything_and_can_be_done_twice(scene: Scene, tmp_path: Path) -> None:
    scene.db.settings = [{"closed_file": str(tmp_path / "closed")}]
    await scene.begin()
    worker = scene.session._worker
    await scene.session.aclose()
    await scene.session.aclose()

    assert worker is not None
    assert worker.lost
    assert (tmp_path / "closed").read_text() == "closed\n"
    assert scene.session.open_transactions == ()
    error = await error_of(scene.query("rows 1 1"))
    assert error.code == ErrorCode.DATABASE_UNAVAILABLE


async def test_closing_does_not_wait_for_a_copy_on_its_way(scene: Scene) -> None:
    scene.db.gate.clear()
    asking = asyncio.create_task(scene.query("rows 1 1"))
    await until(lambda: scene.db.calls)
    await scene.session.aclose()

    error = await error_of(asking)
    assert error.code == ErrorCode.DATABASE_UNAVAILABLE
    assert "is being closed" in error.message
