"""A shared server: a user for each sandbox, and the reasons it needs the operator's consent.

The server is the writer's instance, as its operator sees it.
"""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.neo4j.instance import instance_name, password_of
from sandbox_sdk.databases.neo4j.provisioner import Neo4jProvisioner
from sandbox_sdk.databases.worker.driver import Statement
from sandbox_sdk.databases.worker.rows import Collecting
from tool_plugins.errors import ConfigurationError, EngineError, ErrorCode, ToolError

from .graph import CAPS, WRITER, World, call_of, execute, opened, query
from .tls import certificate, in_front_of


@pytest.fixture
async def operator(world: World) -> str:
    """User, password, host and port of the server, as in a url."""
    name = instance_name(WRITER, "graph")
    info = await world.engine.services().get(name)
    assert info is not None
    place = urlsplit(world.copies[WRITER].settings["uri"]).netloc
    return f"neo4j:{password_of(info.environment, name)}@{place}"


def shared(world: World, url: str, **changes: Any) -> Neo4jProvisioner:
    fields = {"enforcement": "best_effort", **changes}
    configured = Database(name="graph", engine="neo4j", isolation="shared", url=url, **fields)
    Neo4jProvisioner.check(configured)
    return world.provisioner_of(configured, None)


async def test_what_users_can_do_to_each_other_needs_consent(world: World, operator: str) -> None:
    with pytest.raises(ConfigurationError, match="end each other's transactions"):
        await shared(world, f"bolt://{operator}", enforcement="required").open()
    told = len(world.reports)

    await shared(world, f"bolt://{operator}").open()

    # Files and addresses are closed on this server, so nothing is said of them.
    (warning,) = world.reports[told:]
    assert "end each other's transactions" in warning


async def test_each_sandbox_is_a_user_with_its_rights(world: World, operator: str) -> None:
    provisioner = shared(world, f"bolt://{operator}")
    reading = await provisioner.create("sbx-one", Access(default="read"))
    writing = await provisioner.create("sbx-two", Access(default="write"))
    try:
        with opened(reading) as reader, opened(writing) as writer:
            execute(writer, "CREATE (:Shared)")
            with pytest.raises(ToolError, match="read access mode") as caught:
                execute(reader, "CREATE (:Shared)")
            found = query(reader, "MATCH (s:Shared) RETURN count(s)").rows
            user = query(reader, "SHOW CURRENT USER YIELD user").rows
            await _terminate_the_other(provisioner, reader, writer)

        assert caught.value.code == ErrorCode.PERMISSION_DENIED
        assert found == [[1]]
        assert user == [[reading.settings["user"]]] != [[writing.settings["user"]]]
        assert await provisioner.copies() == {"sbx-one", "sbx-two"}
        assert operator.split(":")[1].split("@")[0] not in str(reading.settings)
    finally:
        for sandbox_id in ("sbx-one", "sbx-two", "sbx-two"):
            await provisioner.drop(sandbox_id)
    assert await provisioner.copies() == set()
    with opened(reading) as reader, pytest.raises(ToolError, match="refuses the login"):
        query(reader, "RETURN 1")


async def _terminate_the_other(provisioner: Neo4jProvisioner, reader: Any, writer: Any) -> None:
    kept = reader.begin(call_of(), read_only=True, isolation=None)
    ended = writer.begin(call_of(), read_only=False, isolation=None)
    await provisioner.terminate("sbx-two")
    with pytest.raises(ToolError):
        ended.commit(call_of())
    ended.rollback()
    kept.query(call_of(), Statement("RETURN 1"), Collecting(CAPS))
    kept.commit(call_of())


async def test_another_installation_on_the_server_is_left_alone(
    world: World, operator: str, tmp_path: Path
) -> None:
    ours = shared(world, f"bolt://{operator}")
    await ours.create("sbx-ours", Access(default="read"))
    theirs = shared(world, f"bolt://{operator}")
    theirs = Neo4jProvisioner(
        theirs.database, None, type(theirs.place)(tmp_path, world.engine, print)
    )
    try:
        assert await theirs.copies() == set()
        await theirs.drop("sbx-ours")
        assert await ours.copies() == {"sbx-ours"}
    finally:
        await ours.drop("sbx-ours")


async def test_a_shared_server_is_not_filled(world: World, operator: str) -> None:
    provisioner = shared(world, f"bolt://{operator}")
    filled = world.provisioner_of(provisioner.database, world.population)

    with pytest.raises(ConfigurationError, match="is not filled"):
        await filled.open()


async def test_a_server_that_cannot_be_used_is_named_without_its_password(
    world: World, operator: str
) -> None:
    place = operator.rpartition("@")[2]
    with pytest.raises(ConfigurationError, match="refuses the operator's login") as refused:
        await shared(world, f"bolt://neo4j:sesame-open@{place}").open()
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:1") as away:
        await shared(world, "bolt://neo4j:sesame-open@127.0.0.1:1").open()

    assert "sesame" not in f"{refused.value} {away.value}"


async def test_a_certificate_is_verified(world: World, operator: str, tmp_path: Path) -> None:
    login, _, place = operator.rpartition("@")
    host, _, port = place.rpartition(":")
    ours = certificate(tmp_path, "ours", "127.0.0.1")
    other = certificate(tmp_path, "other", "127.0.0.1")
    misnamed = certificate(tmp_path, "misnamed", "127.0.0.3")
    secured: dict[str, Any] = {"require_tls": True}
    with in_front_of(host, int(port), ours) as door, in_front_of(host, int(port), misnamed) as odd:
        good = shared(world, f"bolt+s://{login}@127.0.0.1:{door}", ca_file=ours, **secured)
        await good.open()
        copy = await good.create("sbx-tls", Access(default="read"))
        try:
            with opened(copy) as driver:
                assert (await asyncio.to_thread(query, driver, "RETURN 1")).rows == [[1]]
            changes = {"untrusted": (door, other), "public": (door, None), "name": (odd, misnamed)}
            for port_of, authority in changes.values():
                url = f"bolt+s://{login}@127.0.0.1:{port_of}"
                with pytest.raises(EngineError):
                    await shared(world, url, ca_file=authority, **secured).open()
            bad = {**copy.settings, "ca_file": str(other)}
            with opened(copy, **bad) as driver, pytest.raises(ToolError) as caught:
                await asyncio.to_thread(query, driver, "RETURN 1")
            assert caught.value.code == ErrorCode.DATABASE_UNAVAILABLE
        finally:
            await good.drop("sbx-tls")
