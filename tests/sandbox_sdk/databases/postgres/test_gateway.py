"""Programs in a sandbox connect without a password, as nobody but the restricted role."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest

from sandbox_sdk.databases.postgres import gateway as gateway_module
from sandbox_sdk.databases.postgres.gateway import SOCKET, Gateway
from sandbox_sdk.databases.postgres.wire import CANCEL, PROTOCOL_3
from tests.fakes import eventually
from tool_plugins.errors import EngineError

ROLE, PASSWORD = "gate_reader", "pässword"


@pytest.fixture(scope="module")
def conninfo(postgres: Any) -> Iterator[dict[str, str]]:
    with psycopg.connect(postgres.socket_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE gate_shop")
        admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}' CONNECTION LIMIT 3")
    yield {
        "host": "127.0.0.1",
        "port": str(postgres.port),
        "dbname": "gate_shop",
        "user": ROLE,
        "password": PASSWORD,
    }
    with psycopg.connect(postgres.socket_url, autocommit=True) as admin:
        admin.execute("DROP DATABASE gate_shop WITH (FORCE)")
        admin.execute(f"DROP ROLE {ROLE}")


class Gate:
    """A gateway, the folder it listens in, and what it was told about its server."""

    def __init__(self, folder: Path, conninfo: Mapping[str, str]) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = {"conninfo": dict(conninfo), "require_tls": False}
        self.failure: Exception | None = None
        self.gateway = Gateway(self._answer)

    async def _answer(self) -> Mapping[str, Any]:
        if self.failure is not None:
            raise self.failure
        return self.settings

    async def connect(self, **wanted: Any) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(
            host=str(self.folder), autocommit=True, **({"user": "agent"} | wanted)
        )

    async def value(self, query: str, **wanted: Any) -> Any:
        async with await self.connect(**wanted) as connection:
            row = await (await connection.execute(query)).fetchone()
            return row and row[0]

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.folder / SOCKET))


@pytest.fixture
async def gate(conninfo: dict[str, str], state_dir: Path) -> AsyncIterator[Gate]:
    made = Gate(state_dir / "gate", conninfo)
    await made.gateway.listen(made.folder)
    yield made
    await made.gateway.aclose()


async def test_whoever_connects_is_the_restricted_role_on_its_own_database(gate: Gate) -> None:
    assert await gate.value("SELECT session_user") == ROLE
    assert await gate.value("SELECT session_user", user="admin", dbname="postgres") == ROLE
    assert await gate.value("SELECT current_database()", dbname="postgres") == "gate_shop"


async def test_settings_a_client_wants_are_passed_on(gate: Gate) -> None:
    shown = await gate.value("SHOW application_name", application_name="import")
    assert shown == "import"


async def test_replication_cannot_be_asked_for(gate: Gate) -> None:
    assert await gate.value("SELECT 1", replication="database") == 1


async def test_much_data_passes_both_ways(gate: Gate) -> None:
    sent = "x" * 5_000_000
    async with await gate.connect() as connection:
        cursor = await connection.execute("SELECT %s || 'y'", [sent])
        assert await cursor.fetchone() == (f"{sent}y",)


async def test_a_statement_can_be_cancelled(gate: Gate) -> None:
    async with await gate.connect() as connection:
        running = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)%%' AND pid = %s"

        async def sleeping() -> bool:
            async with await gate.connect() as other:
                pid = connection.info.backend_pid
                return await (await other.execute(query, [pid])).fetchone() is not None  # type: ignore[arg-type]

        await eventually(sleeping)
        await connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            await running


async def test_the_servers_own_refusal_reaches_the_client(gate: Gate) -> None:
    held = [await gate.connect() for _ in range(3)]
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        await gate.connect()
    for connection in held:
        await connection.close()


@pytest.mark.parametrize("steps", range(8))
async def test_the_servers_end_is_closed_whenever_a_relay_is_cancelled(steps: int) -> None:
    client, server = asyncio.StreamReader(), asyncio.StreamReader()
    writers = Mock(spec=asyncio.StreamWriter), Mock(spec=asyncio.StreamWriter)
    relay = asyncio.create_task(gateway_module._relay((client, writers[0]), (server, writers[1])))
    await asyncio.sleep(0)
    client.feed_eof()
    for _ in range(steps):
        await asyncio.sleep(0)
    relay.cancel()
    with suppress(asyncio.CancelledError):
        await relay
    writers[1].close.assert_called_once_with()


async def test_a_wrong_credential_is_said_without_showing_it(gate: Gate) -> None:
    gate.settings["conninfo"]["password"] = "other"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed") as refused:
        await gate.connect()
    assert "other" not in str(refused.value)


async def test_a_database_that_cannot_be_made_is_an_error_of_the_protocol(gate: Gate) -> None:
    gate.failure = EngineError("the server is down")
    with pytest.raises(psycopg.OperationalError, match="the server is down"):
        await gate.connect()


async def test_a_server_without_tls_is_refused_where_it_is_required(gate: Gate) -> None:
    gate.settings["require_tls"] = True
    with pytest.raises(psycopg.OperationalError, match="does not offer TLS"):
        await gate.connect()


@pytest.mark.parametrize(
    "packet",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!ii", 2_000_000_000, PROTOCOL_3),
        struct.pack("!ii", 8, 2 << 16),
        struct.pack("!ii", 12, PROTOCOL_3) + b"user",
        struct.pack("!ii", 20, PROTOCOL_3) + b"user\0\xff\xfe\0\0\0\0\0",
    ],
    ids=["http", "huge", "version 2", "unended", "not utf-8"],
)
async def test_a_client_that_speaks_something_else_is_let_go(gate: Gate, packet: bytes) -> None:
    reader, writer = await gate.raw()
    writer.write(packet)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()

    assert answer.startswith(b"E") or answer == b""
    assert await gate.value("SELECT 1") == 1


async def test_a_client_that_says_nothing_is_let_go(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "STARTUP_TIMEOUT_S", 0.2)
    reader, writer = await gate.raw()

    await asyncio.wait_for(reader.read(), 10)

    writer.close()


async def test_a_stranger_cannot_cancel(gate: Gate) -> None:
    async with await gate.connect() as connection:
        reader, writer = await gate.raw()
        pid = connection.info.backend_pid
        writer.write(struct.pack("!iiii", 16, CANCEL, pid, 12345))
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()

        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


async def test_more_clients_than_a_sandbox_may_have_are_refused(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "MAX_CLIENTS", 1)
    async with await gate.connect():
        with pytest.raises(psycopg.OperationalError, match="too many connections of this sandbox"):
            await gate.connect()


async def test_closing_ends_every_connection(gate: Gate) -> None:
    connection = await gate.connect()
    await gate.gateway.aclose()

    with pytest.raises(psycopg.OperationalError):
        await connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        await gate.connect()
    await connection.close()


async def test_a_new_server_takes_the_place_of_one_that_died(gate: Gate) -> None:
    heir = Gate(gate.folder, gate.settings["conninfo"])
    await heir.gateway.listen(heir.folder)

    assert await heir.value("SELECT 1") == 1
    await heir.gateway.aclose()


async def test_the_path_may_be_longer_than_a_socket_address(
    conninfo: dict[str, str], state_dir: Path
) -> None:
    deep = Gate(state_dir / ("d" * 100), conninfo)
    await deep.gateway.listen(deep.folder)
    short = state_dir / "short"
    short.symlink_to(deep.folder)
    deep.folder = short

    assert await deep.value("SELECT 1") == 1
    await deep.gateway.aclose()
