"""All or nothing, and what is tried again."""

from typing import Any

import pytest

from sandbox_sdk.databases.worker import statements
from sandbox_sdk.databases.worker.driver import Call, Caps, Statement
from sandbox_sdk.databases.worker.rows import Collecting, FileSink
from sandbox_sdk.databases.worker.statements import TransactionOver
from tool_plugins.errors import ErrorCode, ToolError

from .drivers import ShelfDriver

CAPS = Caps(rows=100, bytes=100_000, cell_chars=1000)
UNSENT = ["DATABASE_UNAVAILABLE", False]
SENT = ["DATABASE_UNAVAILABLE", True]
CONFLICT = ["CONFLICT", False]


@pytest.fixture
def call() -> Call:
    return Call(timeout_s=60, caps=CAPS)


def failing(*points: list[Any]) -> ShelfDriver:
    return ShelfDriver({"fail": [list(point) for point in points]})


def execute(driver: ShelfDriver, call: Call, *texts: str, dry_run: bool = False) -> dict[str, Any]:
    return statements.execute(driver, call, [Statement(text) for text in texts], dry_run=dry_run)


def query(driver: ShelfDriver, call: Call, text: str) -> dict[str, Any]:
    return statements.query(driver, call, Statement(text), lambda: Collecting(CAPS))


def test_a_batch_takes_effect_as_a_whole(call: Call) -> None:
    driver = ShelfDriver({})
    fields = execute(driver, call, "put a", "put b", "rows 2 1")

    assert driver.shelf.items == ["a", "b"]
    assert fields["committed"] is True
    assert [each["status"] for each in fields["statements"]] == ["PUT", "PUT", "DID"]
    assert [each["rows_affected"] for each in fields["statements"]] == [1, 1, None]
    assert fields["statements"][2]["rows"] == [[0, "x"], [1, "x"]]


def test_one_bad_statement_undoes_the_others_and_is_named(call: Call) -> None:
    driver = ShelfDriver({})
    with pytest.raises(ToolError, match="statement 2 of 3 failed, so none") as caught:
        execute(driver, call, "put a", "bad", "put b")

    assert caught.value.code == ErrorCode.QUERY_ERROR
    assert caught.value.details == {"sqlstate": "42601", "index": 1}
    assert driver.shelf.items == []
    assert driver.shelf.journal[-1] == "rollback"


def test_a_dry_run_shows_the_effect_and_undoes_it(call: Call) -> None:
    driver = ShelfDriver({})
    fields = execute(driver, call, "put a", "items", dry_run=True)

    assert fields["statements"][1]["rows"] == [["a"]]
    assert (fields["committed"], fields["dry_run"]) == (False, True)
    assert driver.shelf.items == []


@pytest.mark.parametrize("point", ["begin", "execute", "commit"])
def test_a_conflict_is_tried_again(call: Call, point: str) -> None:
    driver = failing([point, *CONFLICT], [point, *CONFLICT])
    fields = execute(driver, call, "put a")

    assert fields["attempts"] == 3
    assert driver.shelf.items == ["a"]


def test_the_third_conflict_is_reported(call: Call) -> None:
    driver = failing(*[["commit", *CONFLICT]] * 3)
    with pytest.raises(ToolError) as caught:
        execute(driver, call, "put a")

    assert caught.value.code == ErrorCode.CONFLICT
    assert driver.shelf.items == []
    assert driver.failures == []


@pytest.mark.parametrize(
    "failure", [["begin", *UNSENT], ["execute", *SENT], ["commit", *UNSENT]], ids=str
)
def test_a_connection_lost_before_the_commit_is_survived_once(
    call: Call, failure: list[Any]
) -> None:
    driver = failing(failure)
    assert execute(driver, call, "put a")["attempts"] == 2
    assert driver.shelf.items == ["a"]

    with pytest.raises(ToolError) as caught:
        execute(failing(failure, failure), call, "put a")
    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE


def test_a_connection_lost_in_the_commit_is_never_tried_again(call: Call) -> None:
    driver = failing(["commit", *SENT])
    with pytest.raises(ToolError, match="may have taken effect"):
        execute(driver, call, "put a")

    assert driver.shelf.journal == ["begin write None", "commit failed", "rollback"]


def test_reading_is_repeated_even_if_it_was_sent(call: Call) -> None:
    assert query(failing(["query", *SENT]), call, "rows 1 1")["rows"] == [[0, "x"]]
    with pytest.raises(ToolError):
        query(failing(["query", *SENT], ["query", *SENT]), call, "rows 1 1")


def test_a_refused_credential_is_not_tried_again_here(call: Call) -> None:
    driver = ShelfDriver({})
    attempts = []

    def refuse(point: str) -> None:
        attempts.append(point)
        raise ToolError(ErrorCode.DATABASE_UNAVAILABLE, "who?", details={"credential": True})

    driver.meet = refuse
    with pytest.raises(ToolError):
        query(driver, call, "rows 1 1")
    assert attempts == ["begin"]


def test_nothing_is_tried_again_for_a_call_nobody_waits_for(call: Call) -> None:
    driver = failing(["commit", *CONFLICT])
    call.cancelled = True
    with pytest.raises(ToolError):
        execute(driver, call, "put a")
    assert driver.shelf.journal.count("begin write None") == 1


def test_a_file_that_was_begun_is_not_written_twice(call: Call) -> None:
    pieces: list[bytes] = []
    driver = ShelfDriver({})

    def lose(call: Call, sink: Any, rest: str, params: Any) -> None:
        sink.columns([("a", "text")])
        sink.row(["x" * int(rest)])
        raise ToolError(ErrorCode.DATABASE_UNAVAILABLE, "gone", details={"sent": True})

    from .drivers import ShelfTransaction

    class Losing(ShelfTransaction):
        do_lose = staticmethod(lose)

    driver.begin = lambda call, *, read_only, isolation: (
        driver.shelf.journal.append("begin"),
        Losing(driver),
    )[1]
    for width, begins in ((10, 2), (500_000, 1)):
        driver.shelf.journal.clear()
        with pytest.raises(ToolError, match="gone"):
            statements.query(
                driver,
                call,
                Statement(f"lose {width}"),
                lambda: FileSink("csv", call, pieces.append),
            )
        assert driver.shelf.journal.count("begin") == begins


def test_a_plan_runs_nothing(call: Call) -> None:
    driver = ShelfDriver({})
    assert statements.explain(driver, call, Statement("put a")) == {"plan": "plan of put a"}
    assert driver.shelf.journal == ["begin read None", "rollback"]


def opened(driver: ShelfDriver, call: Call) -> Any:
    return driver.begin(call, read_only=False, isolation=None)


def test_in_a_transaction_a_bad_batch_leaves_what_was_before(call: Call) -> None:
    transaction = opened(ShelfDriver({}), call)
    batch = [Statement("put a"), Statement("put b")]
    statements.execute_in(transaction, call, batch, dry_run=False)
    bad = [Statement("put c"), Statement("bad")]
    with pytest.raises(ToolError, match="statement 2 of 2"):
        statements.execute_in(transaction, call, bad, dry_run=False)
    fields = statements.execute_in(transaction, call, [Statement("put d")], dry_run=True)

    assert fields["committed"] is False
    assert transaction.items == ["a", "b"]


def test_without_savepoints_a_bad_batch_ends_the_transaction(call: Call) -> None:
    transaction = opened(ShelfDriver({"savepoints": False}), call)
    with pytest.raises(ToolError, match="bad statement"):
        statements.execute_in(transaction, call, [Statement("bad")], dry_run=False)
    batch = [Statement("put c"), Statement("bad")]
    with pytest.raises(TransactionOver) as caught:
        statements.execute_in(transaction, call, batch, dry_run=False)
    assert "the whole transaction was rolled back" in caught.value.error.message

    with pytest.raises(ToolError) as refused:
        statements.execute_in(transaction, call, [Statement("put d")], dry_run=True)
    assert refused.value.code == ErrorCode.UNSUPPORTED


@pytest.mark.parametrize("failure", [CONFLICT, SENT, UNSENT], ids=str)
def test_some_failures_end_a_transaction(call: Call, failure: list[Any]) -> None:
    transaction = opened(failing(["query", *failure]), call)
    with pytest.raises(TransactionOver) as caught:
        statements.query_in(transaction, call, Statement("items"), Collecting(CAPS))

    assert caught.value.error.code == failure[0]
    assert caught.value.reason.startswith("rolled back: ")
