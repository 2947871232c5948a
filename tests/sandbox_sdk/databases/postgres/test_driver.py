"""Reading outside of a transaction: what is possible, and that nothing can be written."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from sandbox_sdk.databases.worker.driver import Statement
from tests.sandbox_sdk.databases.postgres.driver_support import ListSink, Shop, call, read, write
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ErrorCode, ToolError

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres, "driver_shop").create()
    yield shop
    shop.drop()


@pytest.fixture
def reader(shop: Shop) -> Iterator[PostgresDriver]:
    driver = shop.driver("ro")
    yield driver
    driver.close()


@pytest.fixture
def owner(shop: Shop) -> Iterator[PostgresDriver]:
    driver = shop.driver("owner")
    yield driver
    driver.close()


def test_a_query_gives_columns_and_rows(reader: PostgresDriver) -> None:
    answer = read(reader, "SELECT id, name FROM users WHERE id <= $1 ORDER BY id", [4])

    assert answer.names == [("id", "int4"), ("name", "text")]
    assert answer.rows == [(2, "n2"), (4, "n4")]


def test_a_result_without_rows_has_columns(reader: PostgresDriver) -> None:
    assert read(reader, "SELECT id FROM users WHERE false").names == [("id", "int4")]


@pytest.mark.parametrize("rows", [9, 10, 11, 100])
def test_rows_beyond_a_chunk_arrive_once_and_in_order(reader: PostgresDriver, rows: int) -> None:
    answer = read(reader, "SELECT generate_series(1, $1)", [rows], most=1000)

    assert [(number,) for number in range(1, rows + 1)] == answer.rows
    assert not answer.more


def test_a_full_sink_ends_a_huge_result(reader: PostgresDriver) -> None:
    answer = read(reader, "SELECT generate_series(1, 10000000)", most=10)

    assert len(answer.rows) == 10
    assert answer.more
    assert read(reader, "SELECT 1").rows == [(1,)]


@pytest.mark.parametrize(
    ("attack", "code", "words"),
    [
        ("SELECT ssn FROM users", "PERMISSION_DENIED", "permission denied for table users"),
        ("SELECT * FROM users", "PERMISSION_DENIED", "permission denied for table users"),
        ("SELECT 1 FROM secrets", "PERMISSION_DENIED", "permission denied for table secrets"),
        ("COMMIT; DROP TABLE orders", "QUERY_ERROR", "cannot insert multiple commands"),
        ("BEGIN READ WRITE; INSERT INTO orders DEFAULT VALUES", "QUERY_ERROR", "multiple commands"),
        (
            "WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d",
            "PERMISSION_DENIED",
            "read-only transaction",
        ),
        ("SELECT 1 AS a INTO t", "PERMISSION_DENIED", "cannot execute SELECT INTO in a read-only"),
        ("COPY orders TO PROGRAM 'id'", "INVALID_ARGUMENT", "COPY is not possible"),
        ("/**/COPY orders TO PROGRAM 'id'", "PERMISSION_DENIED", "must be superuser"),
        ("SELECT ('/etc/passwd'::text).pg_read_file", "PERMISSION_DENIED", "pg_read_file"),
        ("DO $$ BEGIN END $$", "PERMISSION_DENIED", "permission denied for language plpgsql"),
        ("SELECT lo_from_bytea(0, 'x')", "PERMISSION_DENIED", "function lo_from_bytea"),
        ("SELECT lo_import('/etc/passwd')", "PERMISSION_DENIED", "function lo_import"),
        ("SET TRANSACTION READ WRITE", "QUERY_ERROR", "must be set before any query"),
        ("RESET ROLE", "INVALID_ARGUMENT", "RESET is not possible"),
        ("SET ROLE admin", "PERMISSION_DENIED", "permission denied to set role"),
        ("ALTER ROLE CURRENT_USER PASSWORD 'x'", "PERMISSION_DENIED", "read-only transaction"),
        ("ALTER ROLE CURRENT_USER SET work_mem = '1GB'", "PERMISSION_DENIED", "read-only"),
        ("SELECT id FROM users FOR UPDATE", "PERMISSION_DENIED", "read-only transaction"),
        ("EXPLAIN ANALYZE DELETE FROM orders", "PERMISSION_DENIED", "read-only"),
        ("CREATE EXTENSION dblink", "PERMISSION_DENIED", "read-only transaction"),
        ("COMMIT", "INVALID_ARGUMENT", "COMMIT is not possible"),
        ("/* x */ ROLLBACK", "INVALID_ARGUMENT", "ROLLBACK is not possible"),
        ("COMMIT AND CHAIN", "INVALID_ARGUMENT", "COMMIT is not possible"),
        ("PREPARE x AS SELECT 1", "INVALID_ARGUMENT", "PREPARE is not possible"),
        ("SET app.tenant = 'evil'", "INVALID_ARGUMENT", "SET is not possible"),
        ("LISTEN x", "INVALID_ARGUMENT", "LISTEN is not possible"),
        ("", "INVALID_ARGUMENT", "an empty statement"),
        ("-- nothing", "INVALID_ARGUMENT", "an empty statement"),
        ("SELECT\u00a01", "QUERY_ERROR", "syntax error"),
        ("SELECT 1\x00", "INVALID_ARGUMENT", "NUL"),
    ],
)
def test_an_attack_is_refused_in_the_servers_words(
    reader: PostgresDriver, attack: str, code: str, words: str
) -> None:
    with pytest.raises(ToolError) as caught:
        read(reader, attack)

    assert code == caught.value.code
    assert words in caught.value.message
    assert read(reader, "SELECT count(id) FROM users").rows == [(50,)]


def test_text_that_looks_like_an_attack_is_text(reader: PostgresDriver) -> None:
    query = "SELECT $tag$;COMMIT; DROP TABLE orders$tag$ || $1 --;drop"

    assert read(reader, query, ["'; drop"]).rows == [(";COMMIT; DROP TABLE orders'; drop",)]


@pytest.mark.parametrize(
    "attack",
    [
        "INSERT INTO mine VALUES (1)",
        "SET TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "CREATE TABLE other (a int)",
        "SELECT nextval('counter')",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO mine VALUES (1); END $$",
        "DO $$ BEGIN COMMIT; INSERT INTO mine VALUES (1); END $$",
        "CALL add()",
        "ALTER ROLE CURRENT_USER PASSWORD 'x'",
    ],
)
def test_not_even_an_owner_writes_in_a_query(
    owner: PostgresDriver, shop: Shop, attack: str
) -> None:
    transaction = owner.begin(call(), read_only=False, isolation=None)
    write(transaction, "CREATE TABLE IF NOT EXISTS mine (a int)")
    write(transaction, "CREATE SEQUENCE IF NOT EXISTS counter")
    body = "$$ BEGIN COMMIT; INSERT INTO mine VALUES (1); COMMIT; END $$"
    write(transaction, f"CREATE OR REPLACE PROCEDURE add() LANGUAGE plpgsql AS {body}")
    transaction.commit(call())

    with pytest.raises(ToolError):
        read(owner, attack)

    assert shop.count("mine") == 0


def test_what_only_looks_is_allowed(reader: PostgresDriver) -> None:
    assert read(reader, "SHOW transaction_read_only").rows == [("on",)]
    assert "Scan" in str(read(reader, "EXPLAIN SELECT id FROM users").rows)
    assert read(reader, "VALUES (1)").rows == [(1,)]


def test_time_does_not_stand_still_between_queries(reader: PostgresDriver) -> None:
    first, second = (read(reader, "SELECT now()").rows[0][0] for _ in range(2))

    assert first < second


def test_an_error_says_where(reader: PostgresDriver) -> None:
    with pytest.raises(ToolError) as caught:
        read(reader, "SELECT id,\n  nosuch FROM users")

    assert caught.value.details == {"sqlstate": "42703", "position": 14, "line": 2, "column": 3}
    assert caught.value.message == 'column "nosuch" does not exist (line 2, column 3)'


def test_a_cancelled_query_ends_in_time(reader: PostgresDriver) -> None:
    long = call(60)
    threading.Timer(0.2, long.cancel).start()

    with pytest.raises(ToolError) as caught:
        reader.query(long, Statement("SELECT pg_sleep(50)"), ListSink())
    reader.settle()

    assert caught.value.code == ErrorCode.TIMEOUT
    assert read(reader, "SELECT 1").rows == [(1,)]


def test_the_servers_own_timeout_is_the_net_below(shop: Shop) -> None:
    driver = shop.driver("ro", conninfo={"options": "-c statement_timeout=100"})
    try:
        with pytest.raises(ToolError) as caught:
            read(driver, "SELECT pg_sleep(50)")
    finally:
        driver.close()

    assert caught.value.code == ErrorCode.TIMEOUT


def test_a_call_nobody_waits_for_sends_nothing(reader: PostgresDriver) -> None:
    gone = call()
    gone.cancel()

    with pytest.raises(ToolError, match="did not answer"):
        reader.query(gone, Statement("SELECT 1"), ListSink())


def test_a_sink_that_fails_leaves_a_usable_connection(reader: PostgresDriver) -> None:
    class Broken(ListSink):
        def row(self, row: object) -> bool:
            raise ToolError(ErrorCode.TOO_LARGE, "too much")

    with pytest.raises(ToolError, match="too much"):
        reader.query(call(), Statement("SELECT generate_series(1, 1000000)"), Broken())
    reader.settle()

    assert read(reader, "SELECT 1").rows == [(1,)]


def test_temporary_files_beyond_their_limit_are_a_quota_error(shop: Shop) -> None:
    shop.admin("ALTER ROLE driver_shop_ro SET temp_file_limit = '1MB'")
    driver = shop.driver("ro")
    try:
        with pytest.raises(ToolError) as caught:
            read(driver, "SELECT count(*) FROM (SELECT g FROM generate_series(1, 1000000) g"
                 " ORDER BY md5(g::text)) s")  # fmt: skip
    finally:
        driver.close()
        shop.admin("ALTER ROLE driver_shop_ro RESET temp_file_limit")

    assert caught.value.code == ErrorCode.QUOTA_EXCEEDED


def test_an_answer_too_large_for_the_process_is_said_to_be(shop: Shop) -> None:
    program = f"""
import resource
from sandbox_sdk.databases.postgres.driver import PostgresDriver
from tests.sandbox_sdk.databases.postgres.driver_support import call, read, write
from tool_plugins.errors import ToolError

driver = PostgresDriver({shop.settings("ro")!r})
read(driver, "SELECT 1")
resource.setrlimit(resource.RLIMIT_DATA, (300 << 20, 300 << 20))
huge = "SELECT repeat('x', 400000000)"
try:
    read(driver, huge)
except ToolError as exc:
    print(exc.code)
transaction = driver.begin(call(), read_only=True, isolation=None)
try:
    write(transaction, huge)
except ToolError as exc:
    print(exc.code, exc.message)
print(read(driver, "SELECT 1").rows)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.splitlines()[::2] == ["TOO_LARGE", "[(1,)]"]
    ended = done.stdout.splitlines()[1]
    assert ended.startswith("DATABASE_UNAVAILABLE")
    assert "does not fit into memory" in ended
