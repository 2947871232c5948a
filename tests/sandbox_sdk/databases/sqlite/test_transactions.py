"""Transactions, deadlines, limits, and what one caller leaves to the next."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from sandbox_sdk.databases.sqlite.pool import Pool
from sandbox_sdk.databases.worker.driver import Statement
from tool_plugins.errors import ErrorCode, ToolError

from .shop import CAPS, Rows, ask, call, do, open_shop, refusal

FOREVER = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) "
TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'first');"


@pytest.fixture
def driver(tmp_path: Path) -> SqliteDriver:
    return open_shop(tmp_path, "write", text=TABLE)


def failing(run: Callable[[], Any]) -> ToolError:
    with pytest.raises(ToolError) as caught:
        run()
    return caught.value


def test_what_is_not_committed_is_not_there(driver: SqliteDriver) -> None:
    do(driver, "INSERT INTO t VALUES (2, 'x')", commit=False)
    assert ask(driver, "SELECT id FROM t") == [(1,)]

    do(driver, "INSERT INTO t VALUES (2, 'x')")
    assert ask(driver, "SELECT id FROM t") == [(1,), (2,)]


def test_a_reader_sees_one_state_and_does_not_wait_for_a_writer(driver: SqliteDriver) -> None:
    reader = driver.begin(call(), read_only=True, isolation="serializable")
    rows, again = Rows(), Rows()
    reader.query(call(), Statement("SELECT count(*) FROM t"), rows)
    do(driver, "INSERT INTO t VALUES (2, 'x')")
    reader.query(call(), Statement("SELECT count(*) FROM t"), again)
    reader.rollback()

    assert [(1,)] == rows.rows == again.rows
    assert ask(driver, "SELECT count(*) FROM t") == [(2,)]


def test_a_failed_statement_leaves_the_transaction_as_it_was(driver: SqliteDriver) -> None:
    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.execute(call(), Statement("INSERT INTO t VALUES (2, 'x')"), Rows())
    error = failing(
        lambda: transaction.execute(
            call(), Statement("INSERT OR FAIL INTO t VALUES (3, 'y'), (1, 'twice')"), Rows()
        )
    )
    transaction.commit(call())

    assert error.code == ErrorCode.QUERY_ERROR
    assert ask(driver, "SELECT id FROM t") == [(1,), (2,)]


def test_a_query_does_not_write_though_its_transaction_may(driver: SqliteDriver) -> None:
    transaction = driver.begin(call(), read_only=False, isolation=None)
    rows = Rows()
    for text in ("DELETE FROM t", "INSERT INTO t VALUES (2, 'x') RETURNING id"):
        with pytest.raises(ToolError, match="not authorized"):
            transaction.query(call(), Statement(text), Rows())
    transaction.query(call(), Statement("SELECT count(*) FROM t"), rows)
    transaction.execute(call(), Statement("INSERT INTO t VALUES (2, 'x')"), Rows())
    transaction.commit(call())

    assert rows.rows == [(1,)]
    assert ask(driver, "SELECT count(*) FROM t") == [(2,)]


def test_a_reader_has_the_file_open_for_reading_alone(driver: SqliteDriver) -> None:
    connection = driver._pool.acquire("read", call())

    with pytest.raises(sqlite3.OperationalError, match="readonly database"):
        connection.own("DELETE FROM t")


def test_a_savepoint_undoes_what_followed(driver: SqliteDriver) -> None:
    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.execute(call(), Statement("INSERT INTO t VALUES (2, 'x')"), Rows())
    undo = transaction.savepoint(call())
    transaction.execute(call(), Statement("DELETE FROM t"), Rows())
    undo()
    transaction.commit(call())

    assert ask(driver, "SELECT id FROM t") == [(1,), (2,)]


def test_a_transaction_the_engine_ended_says_so_and_takes_no_more(driver: SqliteDriver) -> None:
    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.execute(call(), Statement("INSERT INTO t VALUES (2, 'x')"), Rows())
    error = failing(
        lambda: transaction.execute(
            call(), Statement("INSERT OR ROLLBACK INTO t VALUES (1, 1)"), Rows()
        )
    )
    later = failing(
        lambda: transaction.execute(call(), Statement("INSERT INTO t VALUES (3, 'z')"), Rows())
    )
    transaction.rollback()

    assert (error.code, error.details["ended"]) == (ErrorCode.QUERY_ERROR, True)
    assert later.code == ErrorCode.TRANSACTION_ENDED
    assert ask(driver, "SELECT id FROM t") == [(1,)]


def test_a_broken_deferred_reference_fails_the_commit(tmp_path: Path) -> None:
    text = (
        "CREATE TABLE p(id INTEGER PRIMARY KEY);"
        "CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED);"
    )
    driver = open_shop(tmp_path, "write", text=text)

    error = failing(lambda: do(driver, "INSERT INTO c VALUES (7)"))

    assert (error.code, error.message) == (ErrorCode.QUERY_ERROR, "FOREIGN KEY constraint failed")
    assert ask(driver, "SELECT p FROM c") == []


def test_a_second_writer_waits_for_the_first(driver: SqliteDriver) -> None:
    first = driver.begin(call(), read_only=False, isolation=None)
    began = threading.Event()
    done: list[int] = []

    def second() -> None:
        began.set()
        done.append(do(driver, "UPDATE t SET v = v || '2'")[0].rows_affected or 0)

    thread = threading.Thread(target=second)
    thread.start()
    assert began.wait(5)
    first.execute(call(), Statement("UPDATE t SET v = v || '1'"), Rows())
    assert done == []
    first.commit(call())
    thread.join(10)

    assert done == [1]
    assert ask(driver, "SELECT v FROM t") == [("first12",)]


def test_a_writer_that_waits_too_long_is_told(driver: SqliteDriver) -> None:
    first = driver.begin(call(), read_only=False, isolation=None)

    error = failing(lambda: driver.begin(call(0.2), read_only=False, isolation=None))
    first.rollback()

    assert error.code == ErrorCode.BUSY
    assert "another transaction is writing" in error.message


def test_many_writers_lose_nothing(driver: SqliteDriver) -> None:
    failures: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(10):
                do(driver, "INSERT INTO t(v) SELECT max(id) FROM t")
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert failures == []
    assert ask(driver, "SELECT count(*), max(id) FROM t") == [(41, 41)]


@pytest.mark.parametrize(
    "query",
    [
        FOREVER + "SELECT count(*) FROM r",
        FOREVER + "SELECT n FROM r",
        "SELECT count(*) FROM t a, t b, t c, t d",
        "UPDATE t SET v = (" + FOREVER + "SELECT count(*) FROM r)",
    ],
)
def test_a_bomb_ends_at_the_deadline(tmp_path: Path, query: str) -> None:
    fill = f"INSERT INTO t(v) {FOREVER} SELECT n FROM r LIMIT 999;"
    driver = open_shop(tmp_path, "write", text=TABLE + fill)
    transaction = driver.begin(call(), read_only=False, isolation=None)
    limit = call(0.3)

    error = failing(lambda: transaction.execute(limit, Statement(query), Rows(10**9)))
    transaction.rollback()

    assert error.code == ErrorCode.TIMEOUT
    assert ask(driver, "SELECT count(*) FROM t") == [(1000,)]


def test_a_cancelled_call_ends(driver: SqliteDriver) -> None:
    limit = call(60)
    timer = threading.Timer(0.1, limit.cancel)
    timer.start()

    error = failing(
        lambda: driver.query(limit, Statement(FOREVER + "SELECT count(*) FROM r"), Rows())
    )
    timer.join()

    assert error.code == ErrorCode.TIMEOUT
    assert ask(driver, "SELECT count(*) FROM t") == [(1,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT zeroblob(1000000000)",
        "SELECT randomblob(1000000000)",
        "SELECT replace(printf('%.*c', 9000000, 'x'), 'x', 'yyyy')",
        "SELECT hex(zeroblob(16000000))",
    ],
)
def test_a_cell_beyond_measure_is_refused(driver: SqliteDriver, query: str) -> None:
    assert refusal(driver, query).code == ErrorCode.TOO_LARGE
    assert ask(driver, "SELECT length(zeroblob(1000))") == [(1000,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT " + "+".join(["1"] * 2000),
        " UNION ALL ".join(["SELECT 1"] * 300),
        "SELECT 'a' LIKE '" + "%a" * 400 + "'",
    ],
)
def test_a_statement_beyond_measure_is_refused(driver: SqliteDriver, query: str) -> None:
    assert refusal(driver, query).code == ErrorCode.QUERY_ERROR


def test_a_copy_grows_to_its_limit_and_not_beyond(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "write", text=TABLE, limits={"size_mb": 1})
    fill = "INSERT INTO t(v) " + FOREVER + "SELECT zeroblob(10000) FROM r LIMIT "

    do(driver, fill + "10")
    error = failing(lambda: do(driver, fill + "1000"))
    do(driver, "DELETE FROM t WHERE id > 1")
    do(driver, fill + "20")

    assert error.code == ErrorCode.QUOTA_EXCEEDED
    assert ask(driver, "SELECT count(*) FROM t") == [(21,)]
    for file in (tmp_path / "copies" / "a" / "shop").glob("data.db*"):
        assert file.stat().st_size <= 3 * 1024 * 1024


def test_a_log_that_readers_keep_alive_is_bounded(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "write", text=TABLE, limits={"size_mb": 1})
    reader = driver.begin(call(), read_only=True, isolation=None)
    reader.query(call(), Statement("SELECT v FROM t"), Rows())

    def write() -> None:
        for _ in range(20):
            do(driver, "UPDATE t SET v = randomblob(300000)")

    assert failing(write).code == ErrorCode.QUOTA_EXCEEDED
    reader.rollback()
    assert (tmp_path / "copies" / "a" / "shop" / "data.db-wal").stat().st_size < 3 * 1024 * 1024


def test_connections_are_bounded_and_come_back(tmp_path: Path) -> None:
    pool = {"pool_size": 1, "max_overflow": 1, "pool_timeout": 0.1}
    driver = open_shop(tmp_path, "write", text=TABLE, pool=pool)
    held = [driver.begin(call(), read_only=True, isolation=None) for _ in range(2)]

    error = failing(lambda: driver.begin(call(), read_only=True, isolation=None))
    assert (
        error.code,
        error.message,
    ) == (ErrorCode.BUSY, "all 2 connections to the database are in use")
    for transaction in held:
        transaction.rollback()
        transaction.rollback()

    for _ in range(3):
        do(driver, "UPDATE t SET v = 'x'")
        assert ask(driver, "SELECT v FROM t") == [("x",)]


def test_a_connection_forgets_who_used_it(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "write", text=TABLE, pool={"pool_size": 1, "max_overflow": 0})
    do(driver, "INSERT INTO t VALUES (77, 'x')")
    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.execute(call(), Statement("DELETE FROM t"), Rows())
    transaction.rollback()
    rows = Rows()

    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.query(call(), Statement("SELECT last_insert_rowid(), changes()"), rows)
    transaction.rollback()

    assert rows.rows == [(0, 0)]
    assert ask(driver, "SELECT count(*) FROM t") == [(2,)]


def test_within_a_transaction_the_last_insert_is_known(driver: SqliteDriver) -> None:
    rows = Rows()
    transaction = driver.begin(call(), read_only=False, isolation=None)
    transaction.execute(call(), Statement("INSERT INTO t VALUES (77, 'x')"), Rows())
    transaction.query(call(), Statement("SELECT last_insert_rowid()"), rows)
    transaction.rollback()

    assert rows.rows == [(77,)]


def test_an_old_connection_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    driver = open_shop(tmp_path, "read", text=TABLE, pool={"pool_size": 1, "pool_recycle": 1e-9})
    pool: Pool = driver._pool
    inner = pool._open
    monkeypatch.setattr(pool, "_open", lambda kind: (opened.append(kind), inner(kind))[1])

    ask(driver, "SELECT 1")
    ask(driver, "SELECT 1")

    assert opened == ["read", "read"]


def test_a_closed_driver_is_unavailable(driver: SqliteDriver) -> None:
    held = driver.begin(call(), read_only=True, isolation=None)
    driver.close()
    held.rollback()

    error = refusal(driver, "SELECT 1")

    assert (error.code, error.details["sent"]) == (ErrorCode.DATABASE_UNAVAILABLE, False)


def test_a_file_that_is_gone_or_broken_is_unavailable(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "read", text=TABLE)
    file = tmp_path / "copies" / "a" / "shop" / "data.db"
    file.write_bytes(b"this is no database" * 1000)
    assert refusal(driver, "SELECT 1").code == ErrorCode.DATABASE_UNAVAILABLE

    file.unlink()
    assert refusal(driver, "SELECT 1").code == ErrorCode.DATABASE_UNAVAILABLE
    assert not file.exists()


def test_a_sink_that_is_full_stops_the_statement(driver: SqliteDriver) -> None:
    rows = Rows(3)

    driver.query(call(), Statement(FOREVER + "SELECT n FROM r"), rows)

    assert rows.rows == [(1,), (2,), (3,)]
    assert CAPS.rows == 1000


def test_returned_rows_that_are_not_taken_are_written_all_the_same(driver: SqliteDriver) -> None:
    rows = Rows(1)
    transaction = driver.begin(call(), read_only=False, isolation=None)
    done = transaction.execute(
        call(), Statement("INSERT INTO t(v) VALUES (1), (2), (3) RETURNING id"), rows
    )
    transaction.commit(call())

    assert (done.rows_affected, rows.rows) == (3, [(2,)])
    assert ask(driver, "SELECT count(*) FROM t") == [(4,)]
