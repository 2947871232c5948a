"""The example shop, as its files say it: what it holds, and what its reader and writer may do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from sandbox_sdk import Sandbox, SandboxGroup, ToolCallError
from tests.documents import ROOT
from tests.services.postgres import PostgresServer

SHOP = ROOT / "examples" / "databases" / "shop"
LYON = [[1, "Ada Moreau"], [4, "Denis Petit"], [6, "Farid Haddad"]]


@pytest.fixture
def url(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the shop will be made; the access files ask for it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS example_shop WITH (FORCE)")
    monkeypatch.setenv("SHOP_URL", postgres.url_of("example_shop"))
    return postgres.url_of("example_shop")


@asynccontextmanager
async def member(name: str, state_dir: Path) -> AsyncIterator[Sandbox]:
    """A sandbox with the access of that file."""
    group = SandboxGroup(
        name=name,
        engine="in_process",
        state_dir=state_dir,
        database_access=SHOP / f"{name}.yaml",
        initial_database_population_config=SHOP / "population.yaml",
    )
    async with group, await group.create_sandbox() as sandbox:
        yield sandbox


@pytest.mark.usefixtures("url")
async def test_the_reader_sees_some_columns_of_some_rows(state_dir: Path) -> None:
    async with member("reader", state_dir) as reader:
        found = await reader.database.query("shop", "SELECT id, name FROM customers ORDER BY id")
        assert found.rows == LYON
        with pytest.raises(ToolCallError, match="permission denied for table customers"):
            await reader.database.query("shop", "SELECT email FROM customers")


@pytest.mark.usefixtures("url")
async def test_the_reader_sees_what_the_writer_has_committed(state_dir: Path) -> None:
    async with member("reader", state_dir) as reader, member("writer", state_dir) as writer:
        sell = {"query": "UPDATE products SET stock = stock - 1 WHERE id = $1", "params": [1]}
        await writer.database.execute("shop", [sell])
        stock = await reader.database.query("shop", "SELECT stock FROM products WHERE id = 1")
        assert stock.rows == [[11]]
        with pytest.raises(ToolCallError, match="permission denied for table products"):
            await writer.database.execute("shop", [{"query": "UPDATE products SET price = 0"}])
