"""One template and two instances for all tests of the folder: a Java machine starts slowly."""

import asyncio
from collections.abc import Iterator

import pytest

from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from tests.services.neo4j_fixtures import neo4j_image

from .graph import READER, WRITER, World, opened

__all__ = ("neo4j_image",)

STARTING_S = 1200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the instances, and perhaps for their image to be built."""
    for item in items:
        if item.path.parent.name == "neo4j" and "world" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(STARTING_S))
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def world(neo4j_image: str) -> Iterator[World]:
    """Both copies, seeded. Tests that change the writer's use labels of their own."""
    made = World(neo4j_image)
    try:
        asyncio.run(made.open())
        yield made
    finally:
        asyncio.run(made.close())


@pytest.fixture
def reader(world: World) -> Iterator[Neo4jDriver]:
    """As the sandbox that may read."""
    with opened(world.copies[READER]) as driver:
        yield driver


@pytest.fixture
def owner(world: World) -> Iterator[Neo4jDriver]:
    """As the sandbox that owns its copy."""
    with opened(world.copies[WRITER]) as driver:
        yield driver


@pytest.fixture
def writer(world: World) -> Iterator[Neo4jDriver]:
    """The same copy with the right to write data alone."""
    with opened(world.copies[WRITER], access="write") as driver:
        yield driver
