"""Copies: one instance for each sandbox, out of one template, and nothing left when it goes."""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from container_runtime.engine import load_engine
from sandbox_sdk.databases.access import Access
from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from sandbox_sdk.databases.neo4j.instance import instance_name
from sandbox_sdk.databases.neo4j.provisioner import Neo4jProvisioner
from sandbox_sdk.databases.provisioner import Place
from sandbox_sdk.databases.worker.driver import Statement
from sandbox_sdk.databases.worker.rows import Collecting
from tool_plugins.errors import ConfigurationError, EngineError, ImageError, ToolError

from .graph import (
    CAPS,
    READER,
    WRITER,
    World,
    call_of,
    cancelled_at_its_deadline,
    database,
    execute,
    left_of,
    opened,
    query,
)

THIRD = "sbx-third"


@contextmanager
def container(sandbox_id: str) -> Iterator[Container]:
    """The container of a sandbox's copy, past the engine."""
    client = docker.from_env()
    try:
        yield client.containers.get(instance_name(sandbox_id, "graph"))
    finally:
        client.close()


def volumes() -> set[str]:
    client = docker.from_env()
    try:
        return {each.name or "" for each in client.volumes.list()}
    finally:
        client.close()


def test_both_copies_start_as_the_template_and_go_their_own_ways(
    reader: Neo4jDriver, owner: Neo4jDriver
) -> None:
    execute(owner, "CREATE (:OnlyHere)")

    people = "MATCH (p:Person) RETURN p.name ORDER BY p.id"
    assert query(reader, people).rows == query(owner, people).rows == [["Ada"], ["Grace"], ["Lin"]]
    assert query(owner, "MATCH (n:OnlyHere) RETURN count(n) > 0").rows == [[True]]
    assert query(reader, "MATCH (n:OnlyHere) RETURN count(n) > 0").rows == [[False]]


def test_a_copy_has_no_way_out_no_capability_and_its_limits(world: World) -> None:
    with container(READER) as copy:
        config = copy.attrs["HostConfig"]
        client = docker.from_env()
        network = client.networks.get(copy.name or "")
        client.close()

    assert network.attrs["Internal"] is True
    assert (config["CapDrop"], config["CapAdd"] or []) == (["ALL"], [])
    assert "no-new-privileges:true" in config["SecurityOpt"]
    assert (config["Memory"], config["MemorySwap"]) == (2**30, 2**30)
    assert config["PidsLimit"] == 512
    assert config["RestartPolicy"]["Name"] == "no"
    assert copy.attrs["Config"]["User"] == "7474:7474"
    assert config["PortBindings"] in (None, {})


async def test_the_inventory_of_sandboxes_does_not_show_copies(world: World) -> None:
    assert await world.engine.list({}) == []
    assert await world.engine.get(instance_name(READER, "graph")) is None
    assert {READER, WRITER} <= await world.provisioner.copies()


async def test_a_template_is_built_once_and_no_container_stays_of_it(world: World) -> None:
    (template,) = (world.place.folder / "templates").glob("*.tar")
    before = template.stat().st_mtime_ns
    told = len(world.reports)

    again = world.provisioner_of(database(world.image), world.population)
    await asyncio.gather(again.open(), again.open())

    assert template.stat().st_mtime_ns == before
    assert world.reports[told:] == []
    assert template.stat().st_mode & 0o077 == 0
    assert left_of("neo4j-template") == []


async def test_a_copy_survives_what_happens_to_it_and_leaves_nothing(world: World) -> None:
    """One instance for the whole of a life: made twice at once, killed, hung, dropped."""
    provisioner, before = world.provisioner, volumes()
    owner = Access(default="owner")
    both = await asyncio.gather(*(provisioner.create(THIRD, owner) for _ in range(2)))
    try:
        working = await asyncio.to_thread(_working, [each.settings for each in both])
        assert len(working) == 1, "one copy, and the last credential"
        with opened(both[0], **working[0]) as driver:
            await asyncio.to_thread(execute, driver, "CREATE (:Kept {n: 1})")

            await asyncio.to_thread(_kill, THIRD)
            with pytest.raises(ToolError) as caught:
                await asyncio.to_thread(query, driver, "RETURN 1")
            assert caught.value.code == "DATABASE_UNAVAILABLE"
            renewed = await provisioner.create(THIRD, owner)
        assert renewed.settings["password"] != working[0]["password"]
        with opened(renewed) as driver:
            kept = await asyncio.to_thread(query, driver, "MATCH (k:Kept) RETURN k.n")
            assert kept.rows == [[1]]
            await _hang_and_terminate(provisioner, driver)
            kept = await asyncio.to_thread(query, driver, "MATCH (k:Kept) RETURN k.n")
            assert kept.rows == [[1]]
    finally:
        await provisioner.drop(THIRD)
        await provisioner.drop(THIRD)
    assert left_of(THIRD) == []
    assert volumes() <= before
    assert THIRD not in await provisioner.copies()


def _working(candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings that still log in."""
    return [settings for settings in candidates if _logs_in(settings)]


def _logs_in(settings: dict[str, Any]) -> bool:
    driver = Neo4jDriver(settings)
    try:
        return query(driver, "RETURN 1").rows == [[1]]
    except ToolError as error:
        if error.details.get("credential"):
            return False
        raise
    finally:
        driver.close()


def _kill(sandbox_id: str) -> None:
    with container(sandbox_id) as copy:
        copy.kill()
        copy.wait()


async def _hang_and_terminate(provisioner: Neo4jProvisioner, driver: Neo4jDriver) -> None:
    """A regular expression never looks up: the server cannot end it, only be started again."""
    call = call_of(timeout_s=1.0)
    text = r"RETURN reduce(s = '', i IN range(1, 60) | s + 'a') + '!' =~ '(a|aa)+\\1b$'"

    def hang() -> ToolError:
        with cancelled_at_its_deadline(call), pytest.raises(ToolError) as caught:
            query(driver, text, call=call)
        return caught.value

    hanging = asyncio.create_task(asyncio.to_thread(hang))
    await asyncio.wait([hanging], timeout=3)
    assert not hanging.done(), "the server ended it by itself"
    await provisioner.terminate(THIRD)
    assert (await hanging).code == "TIMEOUT"


async def test_terminating_ends_what_runs_and_nothing_else(
    world: World, owner: Neo4jDriver
) -> None:
    transaction = owner.begin(call_of(), read_only=False, isolation=None)
    transaction.execute(call_of(), Statement("CREATE (:Ended)"), Collecting(CAPS))

    await world.provisioner.terminate(WRITER)

    with pytest.raises(ToolError) as caught:
        transaction.commit(call_of())
    transaction.rollback()
    assert caught.value.code == "DATABASE_UNAVAILABLE"
    assert query(owner, "MATCH (n:Ended) RETURN count(n)").rows == [[0]]
    await world.provisioner.terminate("sbx-unknown")


@pytest.fixture
def failing_image(world: World) -> Iterator[str]:
    """An image that says why it does not start, and ends."""
    name = "sandbox-sdk/neo4j-test:failing"
    recipe = f"""FROM {world.image}
ENTRYPOINT ["/bin/sh", "-c", "echo one ; echo no such setting >&2 ; sleep 1 ; exit 3"]
"""
    client = docker.from_env()
    client.images.build(fileobj=io.BytesIO(recipe.encode()), tag=name, rm=True)
    yield name
    client.images.remove(name)
    client.close()


async def test_what_does_not_start_says_its_last_words_and_leaves_nothing(
    world: World, failing_image: str
) -> None:
    provisioner = world.provisioner_of(database(failing_image), None)
    await provisioner.open()

    with pytest.raises(EngineError, match="no such setting"):
        await provisioner.create("sbx-failing", Access(default="read"))

    assert left_of("sbx-failing") == []
    assert "sbx-failing" not in await provisioner.copies()


async def test_an_image_nobody_has_is_named(world: World) -> None:
    with pytest.raises(ImageError, match="sandbox-sdk/no-such-image"):
        await world.provisioner_of(database("sandbox-sdk/no-such-image:1"), None).open()


async def test_an_engine_without_containers_refuses(tmp_path: Path) -> None:
    async with load_engine("in_process", state_dir=tmp_path) as engine:
        place = Place(tmp_path, engine, print)
        with pytest.raises(ConfigurationError, match="no service containers"):
            await Neo4jProvisioner(database("any"), None, place).open()
