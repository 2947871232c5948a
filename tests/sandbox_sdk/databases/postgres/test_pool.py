"""Connections: how many, how clean, and what happens when they break."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from sandbox_sdk.databases.worker.driver import Statement
from tests.sandbox_sdk.databases.postgres.driver_support import ListSink, Shop, call, read, write
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ErrorCode, ToolError

BACKEND = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres, "pool_shop").create()
    yield shop
    shop.drop()


@pytest.fixture
def single(shop: Shop) -> Iterator[PostgresDriver]:
    """One connection, so that every caller gets the same."""
    driver = shop.driver("owner", pool_size=1, max_overflow=0, pool_timeout=0.3)
    yield driver
    driver.close()


def backends(shop: Shop, role: str) -> int:
    query = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{shop.name}_{role}'"
    return shop.admin(query)[0][0]


def test_a_connection_is_used_again(single: PostgresDriver) -> None:
    assert read(single, BACKEND).rows == read(single, BACKEND).rows


@pytest.mark.parametrize(
    ("leave", "look", "clean"),
    [
        ("SELECT set_config('work_mem', '1GB', false)", "SHOW work_mem", [("4MB",)]),
        ("SELECT set_config('search_path', 'sales', false)", "SHOW search_path", [("public",)]),
        ("PREPARE rest AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements", [(0,)]),
        ("SELECT pg_advisory_lock(7)", "SELECT count(*) FROM pg_locks WHERE objid = 7", [(0,)]),
        (
            "DECLARE c CURSOR FOR SELECT 1",
            "SELECT count(*) FROM pg_cursors WHERE name = 'c'",
            [(0,)],
        ),
        ("LISTEN rest", "SELECT count(*) FROM pg_listening_channels()", [(0,)]),
    ],
)
def test_nothing_of_one_call_is_left_to_the_next(
    single: PostgresDriver, leave: str, look: str, clean: list[object]
) -> None:
    backend = read(single, BACKEND).rows
    with suppress(ToolError):  # what is no query ran before it was refused
        read(single, leave)

    assert clean == read(single, look).rows
    assert backend == read(single, BACKEND).rows


def test_a_committed_transaction_leaves_nothing_either(shop: Shop) -> None:
    shop.admin("GRANT TEMP ON DATABASE pool_shop TO pool_shop_owner")
    driver = shop.driver("owner", pool_size=1, max_overflow=0)
    try:
        transaction = driver.begin(call(), read_only=False, isolation=None)
        write(transaction, "CREATE TEMP TABLE left_over (a int)")
        write(transaction, "SELECT set_config('work_mem', '1GB', false)")
        write(transaction, "SELECT pg_advisory_lock(8)")
        transaction.commit(call())

        assert read(driver, "SELECT to_regclass('pg_temp.left_over')").rows == [(None,)]
        assert read(driver, "SHOW work_mem").rows == [("4MB",)]
        assert read(driver, "SELECT count(*) FROM pg_locks WHERE objid = 8").rows == [(0,)]
    finally:
        driver.close()


def test_settings_a_role_stored_for_itself_do_not_matter(shop: Shop) -> None:
    role = "pool_shop_ro"
    stored = {"statement_timeout": "0", "search_path": "sales", "work_mem": "'1GB'"}
    for name, value in stored.items():
        shop.admin(f"ALTER ROLE {role} SET {name} = {value}")
    driver = shop.driver("ro")
    try:
        assert read(driver, "SHOW statement_timeout").rows == [("20s",)]
        assert read(driver, "SHOW search_path").rows == [("public",)]
        assert read(driver, "SHOW work_mem").rows == [("4MB",)]
    finally:
        driver.close()
        shop.admin(f"ALTER ROLE {role} RESET ALL")


def test_a_used_up_pool_is_busy_and_a_free_one_serves(single: PostgresDriver) -> None:
    transaction = single.begin(call(), read_only=True, isolation=None)

    with pytest.raises(ToolError) as caught:
        read(single, "SELECT 1")
    transaction.rollback()

    assert caught.value.code == ErrorCode.BUSY
    assert read(single, "SELECT 1").rows == [(1,)]


def test_a_wait_for_a_connection_ends_with_its_call(shop: Shop) -> None:
    driver = shop.driver("ro", pool_size=1, max_overflow=0, pool_timeout=60.0)
    transaction = driver.begin(call(), read_only=True, isolation=None)
    waiting = call(60)
    threading.Timer(0.1, waiting.cancel).start()
    try:
        with pytest.raises(ToolError) as caught:
            driver.query(waiting, Statement("SELECT 1"), ListSink())
    finally:
        transaction.rollback()
        driver.close()

    assert caught.value.code == ErrorCode.TIMEOUT


def test_a_waiting_caller_gets_a_connection_nobody_cleaned_yet(single: PostgresDriver) -> None:
    single.query(call(), Statement("SELECT 1"), ListSink())  # and no settle()

    assert read(single, "SELECT 1").rows == [(1,)]


def test_connections_beyond_the_pools_size_are_closed_again(shop: Shop) -> None:
    driver = shop.driver("ro", pool_size=1, max_overflow=2)
    try:
        opened = [driver.begin(call(), read_only=True, isolation=None) for _ in range(3)]
        assert backends(shop, "ro") == 3
        for transaction in opened:
            transaction.rollback()
        driver.settle()
        wait_until(lambda: backends(shop, "ro") == 1)
    finally:
        driver.close()
    wait_until(lambda: backends(shop, "ro") == 0)


def test_an_old_connection_is_replaced(shop: Shop) -> None:
    driver = shop.driver("ro", pool_size=1, max_overflow=0, pool_recycle=0.05)
    try:
        first = read(driver, BACKEND).rows
        wait_until(lambda: read(driver, BACKEND).rows != first)
    finally:
        driver.close()


def test_many_threads_share_few_connections(shop: Shop) -> None:
    driver = shop.driver("ro", pool_size=2, max_overflow=1, pool_timeout=30.0)
    found: list[object] = []

    def work(number: int) -> None:
        for each in range(10):
            found.extend(read(driver, "SELECT $1::int", [number * 100 + each]).rows)

    threads = [threading.Thread(target=work, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    driver.close()

    assert {(number * 100 + each,) for number in range(8) for each in range(10)} == set(found)


def test_a_connection_that_died_while_idle_is_noticed_before_anything_is_sent(
    single: PostgresDriver, shop: Shop
) -> None:
    read(single, "SELECT 1")
    end_backends(shop, "owner")

    transaction = single.begin(call(), read_only=False, isolation=None)
    write(transaction, "CREATE TABLE alive (a int)")
    transaction.commit(call())
    single.settle()
    end_backends(shop, "owner")

    assert read(single, "SELECT count(*) FROM alive").rows == [(0,)]


def test_a_connection_that_dies_under_a_statement_is_reported_as_sent(
    single: PostgresDriver, shop: Shop
) -> None:
    threading.Timer(0.3, end_backends, [shop, "owner"]).start()

    with pytest.raises(ToolError) as caught:
        read(single, "SELECT pg_sleep(50)")

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": True}
    assert "terminating connection" in caught.value.message
    assert read(single, "SELECT 1").rows == [(1,)]


def test_a_changed_password_is_named_as_the_cause(shop: Shop) -> None:
    driver = shop.driver("ro", conninfo={"password": "wrong"})
    try:
        with pytest.raises(ToolError) as caught:
            read(driver, "SELECT 1")
    finally:
        driver.close()

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": False, "credential": True}


def test_a_server_without_room_is_busy(shop: Shop) -> None:
    shop.admin("ALTER ROLE pool_shop_rw CONNECTION LIMIT 1")
    first, second = shop.driver("rw"), shop.driver("rw")
    try:
        read(first, "SELECT 1")
        with pytest.raises(ToolError) as caught:
            read(second, "SELECT 1")
    finally:
        first.close()
        second.close()
        shop.admin("ALTER ROLE pool_shop_rw CONNECTION LIMIT -1")

    assert caught.value.code == ErrorCode.BUSY


def test_a_server_that_is_not_there_is_unavailable(shop: Shop) -> None:
    driver = shop.driver("ro", conninfo={"port": "1"})

    with pytest.raises(ToolError) as caught:
        read(driver, "SELECT 1")
    driver.close()

    assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert caught.value.details == {"sent": False}


def end_backends(shop: Shop, role: str) -> None:
    """Ends them and waits until they are gone."""
    user = f"{shop.name}_{role}"
    shop.admin(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{user}'"
    )


def wait_until(done: object) -> None:
    deadline = time.monotonic() + 5
    assert callable(done)
    while not done():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        time.sleep(0.02)
