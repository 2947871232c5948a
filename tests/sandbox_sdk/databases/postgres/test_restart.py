"""A server that stops and comes back, under a pool and under transactions."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox_sdk.databases.postgres.driver_support import Shop, call, read, write
from tests.services.postgres import PostgresServer, find_binaries
from tool_plugins.errors import ErrorCode, ToolError


@pytest.fixture
def shop() -> Iterator[Shop]:
    if find_binaries() is None:
        pytest.skip("no PostgreSQL server: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    folder.chmod(0o755)
    server = PostgresServer(folder).create().start()
    try:
        yield Shop(server, "restart_shop").create()
    finally:
        if server.running():
            server.stop(mode="immediate")
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_is_survived(shop: Shop, mode: str) -> None:
    driver = shop.driver("rw")
    opened = [driver.begin(call(), read_only=False, isolation=None) for _ in range(3)]
    broken = opened.pop()
    write(broken, "INSERT INTO orders (user_id) VALUES (1)")
    for transaction in opened:
        transaction.rollback()
    driver.settle()

    shop.server.stop(mode=mode)
    with pytest.raises(ToolError) as down:
        read(driver, "SELECT 1")
    shop.server.start()
    with pytest.raises(ToolError) as ended:
        write(broken, "INSERT INTO orders (user_id) VALUES (2)")
    broken.rollback()
    again = driver.begin(call(), read_only=False, isolation=None)
    write(again, "INSERT INTO orders (user_id) VALUES (3)")
    again.commit(call())
    driver.settle()

    assert (
        down.value.code,
        down.value.details,
    ) == (ErrorCode.DATABASE_UNAVAILABLE, {"sent": False})
    assert ended.value.code == ErrorCode.DATABASE_UNAVAILABLE
    assert read(driver, "SELECT user_id FROM orders").rows == [(3,)]
    driver.close()
