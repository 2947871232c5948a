"""Databases over MCP: a real server process, a real PostgreSQL, what a model sees of both."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from mcp_server.render import ERROR_META
from mcp_server.schema import input_schema, output_schema
from tests.fakes import eventually
from tests.mcp_server.processes import ROOT, arguments
from tool_plugins.contract import ToolDefinition
from tool_plugins.database.definition import TOOLS

ACCESS = """\
databases:
  - name: shop
    description: Orders of our customers.
    engine: postgres
    url: ${SHOP_URL}
    isolation: shared
    access:
      tables:
        orders: write
        customers: {select: [id, name], rows: "id < 2"}
"""
POPULATION = """\
databases:
  shop:
    schema: |
      CREATE TABLE customers (id int PRIMARY KEY, name text, card text);
      CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total numeric);
    fixtures:
      - {table: orders, rows: [{id: 1, customer: 1, total: 12.50}]}
      - table: customers
        rows: [{id: 1, name: Ada, card: '4111'}, {id: 2, name: Bob, card: '4222'}]
"""


class Shop:
    """The files an operator wrote, and the server's own view of the database."""

    def __init__(self, folder: Path, postgres: Any) -> None:
        self.folder = folder
        self.admin = postgres.socket_url.replace("/postgres?", "/mcp_shop?")
        self.environment = {"SHOP_URL": self.admin}
        (folder / "databases.yaml").write_text(ACCESS)
        (folder / "population.yaml").write_text(POPULATION)

    @property
    def command(self) -> list[str]:
        return [
            *arguments(self.folder / "state"),
            f"--database-access={self.folder / 'databases.yaml'}",
            f"--database-population={self.folder / 'population.yaml'}",
        ]

    def client(self) -> Client:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["-m", "mcp_server", *self.command],
            cwd=ROOT,
            env=self.environment,
        )
        return Client(stdio_client(parameters))

    async def value(self, query: str) -> Any:
        async with await psycopg.AsyncConnection.connect(self.admin) as connection:
            row = await (await connection.execute(query)).fetchone()  # type: ignore[arg-type]
            return row and row[0]


@pytest.fixture
def shop(tmp_path: Path, postgres: Any) -> Iterator[Shop]:
    yield Shop(tmp_path, postgres)
    with psycopg.connect(postgres.socket_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS mcp_shop WITH (FORCE)")
        left = admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'sbx\\_%'").fetchall()
    assert left == []


@pytest.mark.parametrize("definition", TOOLS, ids=lambda each: each.name)
def test_the_schemas_are_what_every_client_takes(definition: ToolDefinition) -> None:
    text = json.dumps([input_schema(definition.arguments), output_schema(definition.result)])

    assert "$ref" not in text
    assert '"type": [' not in text


async def test_a_model_looks_around_reads_and_writes(shop: Shop) -> None:
    async with shop.client() as mcp:
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        listed = await mcp.call_tool("database_list", {})
        shown = await mcp.call_tool("database_schema", {"database": "shop"})
        query = {"database": "shop", "query": "SELECT total FROM orders WHERE id = $1"}
        read = await mcp.call_tool("database_query", query | {"params": [1]})
        insert = {"query": "INSERT INTO orders VALUES ($1, 1, $2)", "params": [2, "0.10"]}
        wrote = await mcp.call_tool(
            "database_execute", {"database": "shop", "statements": [insert]}
        )

    assert [name for name in names if name.startswith(("database", "vector"))] == [
        f"database_{verb}"
        for verb in ("list", "schema", "query", "execute", "begin", "commit", "rollback")
    ]
    assert listed.structured_content["databases"][0]["description"] == "Orders of our customers."
    tables = {item["name"]: item for item in shown.structured_content["items"]}
    assert [column["name"] for column in tables["customers"]["columns"]] == ["id", "name"]
    assert tables["customers"]["rows_filtered"]
    assert read.structured_content["rows"] == [["12.50"]]
    assert wrote.structured_content["committed"]
    assert str(await shop.value("SELECT total FROM orders WHERE id = 2")) == "0.10"


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT card FROM customers", "permission denied for table customers"),
        ("SELECT pg_read_file('/etc/passwd')", "permission denied for function pg_read_file"),
        ("INSERT INTO orders VALUES (9, 1, 1)", "cannot execute INSERT in a read-only transaction"),
    ],
)
async def test_what_is_not_allowed_is_refused_in_the_engines_own_words(
    shop: Shop, query: str, words: str
) -> None:
    async with shop.client() as mcp:
        refused = await mcp.call_tool("database_query", {"database": "shop", "query": query})
        names = "SELECT name FROM customers"
        seen = await mcp.call_tool("database_query", {"database": "shop", "query": names})

    assert refused.is_error
    assert refused.meta[ERROR_META]["code"] == "PERMISSION_DENIED"
    assert words in refused.meta[ERROR_META]["message"]
    assert seen.structured_content["rows"] == [["Ada"]]


class Pipe:
    """A server and the two pipes of a client that may die at any moment."""

    def __init__(self, shop: Shop) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", *shop.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=shop.environment | {"PATH": "/usr/bin:/bin"},
            text=True,
        )
        self._number = 0
        self._ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                 "clientInfo": {"name": "test", "version": "1"}})  # fmt: skip
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The structured content of a call."""
        return self._ask("tools/call", {"name": tool, "arguments": arguments})["structuredContent"]

    def leave(self) -> None:
        """What the kernel does to the pipes of a client that is killed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        self._send({"method": method, "params": params, "id": self._number})
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())["result"]

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message) + "\n")
        self.process.stdin.flush()


OPEN = (
    "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'sbx\\_%' AND state LIKE '%in trans%'"
)


@pytest.mark.parametrize("death", ["client", "server"])
async def test_a_death_rolls_an_open_transaction_back(shop: Shop, death: str) -> None:
    pipe = Pipe(shop)
    try:
        transaction = pipe.call("database_begin", {"database": "shop"})["transaction_id"]
        insert = {"query": "INSERT INTO orders VALUES (3, 1, 1)"}
        done = pipe.call(
            "database_execute",
            {"database": "shop", "statements": [insert], "transaction_id": transaction},
        )
        assert not done["committed"]
        assert await shop.value(OPEN) == 1

        if death == "server":
            pipe.process.send_signal(signal.SIGKILL)
        pipe.leave()

        async def nobody() -> bool:
            return await shop.value(OPEN) == 0

        await eventually(nobody, timeout_s=10)
        assert await shop.value("SELECT count(*) FROM orders") == 1
    finally:
        pipe.process.wait(30)
    if death == "server":  # what it left is removed by the next one
        async with shop.client() as mcp:
            await mcp.call_tool("database_list", {})


async def test_a_server_that_cannot_be_reached_is_said_in_every_call(shop: Shop) -> None:
    shop.environment["SHOP_URL"] = "postgresql://admin:geheim@127.0.0.1:1/shop"
    async with shop.client() as mcp:
        names = [tool.name for tool in (await mcp.list_tools()).tools]
        failed = await mcp.call_tool("database_list", {})

    assert "database_list" in names
    assert failed.is_error
    assert "127.0.0.1" in failed.content[0].text
    assert "geheim" not in failed.content[0].text


@pytest.mark.parametrize(
    ("access", "complaint"),
    [
        ("databases: [{name: shop, engine: oracle}]", "databases.yaml:1"),
        ("databases: [{name: shop, engine: neo4j, access: {tables: {a: read}}}]", "roles"),
        ("databases: [{name: shop, engine: postgres, url: '${NOWHERE}'}]", "NOWHERE"),
    ],
)
def test_a_bad_file_ends_the_command_with_its_place(
    shop: Shop, access: str, complaint: str
) -> None:
    (shop.folder / "databases.yaml").write_text(access)
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", *shop.command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""
