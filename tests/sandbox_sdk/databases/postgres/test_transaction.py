"""Transactions: what holds them together, what ends them, and what cannot."""

import threading
from collections.abc import Iterator

import pytest

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from sandbox_sdk.databases.postgres.transaction import PostgresTransaction
from sandbox_sdk.databases.worker.driver import Statement, Transaction
from tests.sandbox_sdk.databases.postgres.driver_support import ListSink, Shop, call, read, write
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ErrorCode, ToolError

INSERT = "INSERT INTO orders (user_id, total) VALUES ($1, $2) RETURNING id"


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres, "transaction_shop").create()
    yield shop
    shop.drop()


@pytest.fixture
def writer(shop: Shop) -> Iterator[PostgresDriver]:
    shop.admin("TRUNCATE orders")
    driver = shop.driver("rw")
    yield driver
    driver.close()


@pytest.fixture
def owner(shop: Shop) -> Iterator[PostgresDriver]:
    driver = shop.driver("owner")
    yield driver
    driver.close()


def begin(driver: PostgresDriver, isolation: str | None = None) -> Transaction:
    return driver.begin(call(), read_only=False, isolation=isolation)


def test_a_commit_keeps_everything(writer: PostgresDriver, shop: Shop) -> None:
    transaction = begin(writer)
    sink = ListSink()
    done = write(transaction, INSERT, [1, "9.99"], sink)
    assert (done.status, done.rows_affected) == ("INSERT 0 1", 1)
    assert sink.names == [("id", "int4")]
    assert write(transaction, "UPDATE orders SET total = total + 1").rows_affected == 1
    assert shop.count() == 0
    transaction.commit(call())
    writer.settle()

    assert shop.count() == 1


def test_a_rollback_keeps_nothing_and_can_be_repeated(writer: PostgresDriver, shop: Shop) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    transaction.rollback()
    transaction.rollback()

    assert shop.count() == 0
    with pytest.raises(ToolError) as caught:
        write(transaction, INSERT, [1, 1])
    assert caught.value.code == ErrorCode.TRANSACTION_ENDED


def test_a_failed_statement_leaves_the_transaction_as_it_was(
    writer: PostgresDriver, shop: Shop
) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    with pytest.raises(ToolError) as caught:
        write(transaction, INSERT, [4711, 1])
    write(transaction, INSERT, [2, 2])
    transaction.commit(call())

    assert caught.value.details["constraint"] == "orders_user_id_fkey"
    assert "Key (user_id)=(4711) is not present" in caught.value.message
    assert shop.count() == 2


@pytest.mark.parametrize(
    "attack",
    [
        *("COMMIT", "END", "/**/ COMMIT", "-- x\nCOMMIT", "COMMIT AND CHAIN", "ROLLBACK", "ABORT"),
        *("ROLLBACK AND CHAIN", "PREPARE TRANSACTION 'x'", "SAVEPOINT x", "BEGIN"),
        *("ROLLBACK TO SAVEPOINT sandbox_statement", "SET TRANSACTION READ ONLY"),
        *("SET work_mem = '1GB'", "SET LOCAL work_mem = '1GB'", "RESET ALL", "SET ROLE admin"),
        *("ALTER ROLE CURRENT_USER PASSWORD 'x'", "ALTER ROLE CURRENT_USER SET work_mem = '1GB'"),
        *("NOTIFY x", "LISTEN x", "DECLARE c CURSOR FOR SELECT 1", "PREPARE x AS SELECT 1"),
        *("DEALLOCATE ALL", "DISCARD ALL", "VACUUM", "COPY orders TO STDOUT", "LOAD 'plpgsql'"),
        *("COMMIT; SELECT 1", "SELECT 1; COMMIT", "", ";", "EXECUTE sandbox_statement"),
        *("DO $$ BEGIN COMMIT; END $$", "CREATE TABLE t (a int)", "DROP TABLE orders"),
    ],
)
def test_no_statement_ends_the_transaction_or_steers_the_session(
    writer: PostgresDriver, shop: Shop, attack: str
) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    with pytest.raises(ToolError) as caught:
        write(transaction, attack)
    write(transaction, INSERT, [2, 2])
    assert shop.count() == 0
    assert read(transaction, "SELECT current_setting('work_mem'), count(*) FROM orders").rows == [
        ("4MB", 2)
    ]
    transaction.rollback()
    writer.settle()

    assert shop.count() == 0
    assert caught.value.code in ("INVALID_ARGUMENT", "QUERY_ERROR", "PERMISSION_DENIED")
    assert read(writer, "SELECT 1").rows == [(1,)]  # nothing about the role was changed


def test_releasing_our_savepoint_ends_everything_and_commits_nothing(
    writer: PostgresDriver, shop: Shop
) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    with pytest.raises(ToolError) as caught:
        write(transaction, "RELEASE SAVEPOINT sandbox_statement")

    assert caught.value.code == ErrorCode.CONFLICT
    assert shop.count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        INSERT.replace("$1, $2", "1, 1"),
        "SELECT nextval('orders_id_seq')",
        "SET TRANSACTION READ WRITE",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "ROLLBACK TO SAVEPOINT sandbox_statement",
        "SELECT id FROM users FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM orders",
    ],
)
def test_a_query_in_a_writing_transaction_does_not_write(
    writer: PostgresDriver, statement: str
) -> None:
    transaction = begin(writer)
    with pytest.raises(ToolError):
        read(transaction, statement)
    write(transaction, INSERT, [1, 1])

    assert read(transaction, "SELECT count(*) FROM orders").rows == [(1,)]
    assert read(transaction, "SHOW default_transaction_read_only").rows == [("off",)]
    transaction.rollback()


def test_a_query_that_needs_two_attempts_does_not_write_either(writer: PostgresDriver) -> None:
    transaction = begin(writer)
    insert = "INSERT INTO orders (total) SELECT unnest($1) RETURNING total"
    with pytest.raises(ToolError, match="read-only transaction"):
        read(transaction, f"WITH i AS ({insert}) SELECT * FROM i", [[1, 2]])

    assert write(transaction, insert, [[1, 2]]).rows_affected == 2
    transaction.rollback()


def test_a_read_only_transaction_writes_by_no_means(writer: PostgresDriver, shop: Shop) -> None:
    transaction = writer.begin(call(), read_only=True, isolation=None)
    for attempt in ("COMMIT AND CHAIN", "SET TRANSACTION READ WRITE", "DELETE FROM users"):
        with pytest.raises(ToolError):
            write(transaction, attempt)
    assert read(transaction, "SELECT count(*) FROM users").rows == [(100,)]
    transaction.commit(call())

    assert shop.count("users") == 100


def test_a_read_only_transaction_sees_one_moment(writer: PostgresDriver, shop: Shop) -> None:
    transaction = writer.begin(call(), read_only=True, isolation="repeatable read")
    shop.admin("INSERT INTO orders DEFAULT VALUES")

    assert read(transaction, "SELECT count(*) FROM orders").rows == [(0,)]
    transaction.rollback()
    writer.settle()
    assert read(writer, "SELECT count(*) FROM orders").rows == [(1,)]


def test_an_unknown_isolation_level_is_refused(writer: PostgresDriver) -> None:
    with pytest.raises(ToolError, match="no isolation level"):
        begin(writer, "serializable; DROP TABLE orders")


def test_an_owner_makes_tables_and_they_come_and_go_with_the_transaction(
    owner: PostgresDriver, shop: Shop
) -> None:
    kept, undone = begin(owner), begin(owner)
    write(kept, "CREATE TYPE mood AS ENUM ('good', 'bad')")
    write(kept, "CREATE TABLE moods (id int, mood mood, all_moods mood[])")
    sink = ListSink()
    insert = "INSERT INTO moods VALUES ($1, $2, $3) RETURNING *"
    write(kept, insert, [1, "good", ["bad", "good"]], sink)
    assert sink.names == [("id", "int4"), ("mood", "mood"), ("all_moods", "mood[]")]
    assert sink.rows == [(1, "good", ["bad", "good"])]
    kept.commit(call())
    write(undone, "CREATE TABLE gone AS SELECT 1 AS a")
    undone.rollback()
    owner.settle()

    assert shop.admin("SELECT to_regclass('moods')::text, to_regclass('gone')") == [("moods", None)]
    assert read(owner, "SELECT mood FROM moods").names == [("mood", "mood")]


def test_savepoints_undo_a_call_of_several_statements(writer: PostgresDriver, shop: Shop) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    undo = transaction.savepoint(call())
    assert undo is not None
    write(transaction, INSERT, [2, 1])
    undo()
    write(transaction, INSERT, [3, 1])
    transaction.commit(call())

    assert shop.admin("SELECT user_id FROM orders ORDER BY 1") == [(1,), (3,)]


def test_a_plan_is_shown_and_nothing_is_run(writer: PostgresDriver, shop: Shop) -> None:
    transaction = begin(writer)
    delete = Statement("DELETE FROM users WHERE id = $1", [1])
    assert "Delete on users" in transaction.explain(call(), delete)
    for attack in ("ANALYZE DELETE FROM users", "(ANALYZE) DELETE FROM users"):
        with pytest.raises(ToolError) as caught:
            transaction.explain(call(), Statement(attack))
        assert caught.value.details["position"] <= 10
    transaction.commit(call())

    assert shop.count("users") == 100


def test_a_deferred_constraint_is_reported_by_the_commit(owner: PostgresDriver, shop: Shop) -> None:
    transaction = begin(owner)
    write(transaction, "CREATE TABLE pairs (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    write(transaction, "INSERT INTO pairs VALUES (1), (1)")
    with pytest.raises(ToolError, match="duplicate key value") as caught:
        transaction.commit(call())

    assert caught.value.code == ErrorCode.QUERY_ERROR
    assert shop.admin("SELECT to_regclass('pairs')") == [(None,)]


def test_a_commit_the_server_makes_a_rollback_is_no_success(
    writer: PostgresDriver, shop: Shop
) -> None:
    transaction = begin(writer)
    assert isinstance(transaction, PostgresTransaction)
    write(transaction, INSERT, [1, 1])
    transaction._session.run(b"SELECT 1/0")  # a fault that nothing else provokes
    with pytest.raises(ToolError, match="rolled back") as caught:
        transaction.commit(call())

    assert caught.value.code == ErrorCode.CONFLICT
    assert shop.count() == 0


def test_two_that_lock_each_other_out_are_told_so(writer: PostgresDriver, shop: Shop) -> None:
    first, second = begin(writer), begin(writer)
    update = "UPDATE users SET name = name WHERE id = $1"
    write(first, update, [1])
    write(second, update, [2])
    outcomes: list[str] = []

    def cross(transaction: Transaction, number: int) -> None:
        try:
            write(transaction, update, [number])
            transaction.commit(call())
            outcomes.append("committed")
        except ToolError as exc:
            outcomes.append(exc.code)

    threads = [threading.Thread(target=cross, args=each) for each in ((first, 2), (second, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(outcomes) == ["CONFLICT", "committed"]


def test_a_serialisation_failure_is_a_conflict_and_ends_it(
    writer: PostgresDriver, shop: Shop
) -> None:
    first, second = begin(writer, "serializable"), begin(writer, "serializable")
    for transaction, number in ((first, 3), (second, 4)):
        read(transaction, "SELECT sum(id) FROM users")
        write(transaction, "UPDATE users SET born = NULL WHERE id = $1", [number])
    first.commit(call())

    with pytest.raises(ToolError) as caught:
        second.commit(call())
    assert caught.value.code == ErrorCode.CONFLICT
    assert shop.admin("SELECT count(*) FROM users WHERE born IS NULL") == [(1,)]


def test_a_statement_that_took_too_long_is_undone_alone(writer: PostgresDriver) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    long = call(60)
    threading.Timer(0.2, long.cancel).start()
    with pytest.raises(ToolError) as caught:
        transaction.execute(long, Statement("SELECT pg_sleep(50)"), ListSink())

    assert caught.value.code == ErrorCode.TIMEOUT
    assert read(transaction, "SELECT count(*) FROM orders").rows == [(1,)]
    transaction.rollback()


def test_a_full_sink_cuts_a_query_short_and_leaves_what_is_written_whole(
    writer: PostgresDriver, shop: Shop
) -> None:
    transaction = begin(writer)
    assert read(transaction, "SELECT generate_series(1, 10000000)", most=3).more
    sink = ListSink(most=3)
    query = "INSERT INTO orders (total) SELECT generate_series(1, 1000) RETURNING total"
    done = write(transaction, query, None, sink)
    transaction.commit(call())

    assert (len(sink.rows), sink.more, done.rows_affected) == (3, True, 1000)
    assert shop.count() == 1000


def test_a_lost_connection_ends_the_transaction(writer: PostgresDriver, shop: Shop) -> None:
    transaction = begin(writer)
    write(transaction, INSERT, [1, 1])
    shop.admin(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE usename = 'transaction_shop_rw' AND state LIKE 'idle in%'"
    )
    with pytest.raises(ToolError) as caught:
        write(transaction, INSERT, [1, 1])
    transaction.rollback()
    writer.settle()

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert read(writer, "SELECT count(*) FROM orders").rows == [(0,)]
