"""A population of two collections, and copies of it: embedded, on the fake, on a real server."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from container_runtime.engines.in_process import InProcessEngine
from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.population.contents import Collection, Fixture, Mark, Population, Row
from sandbox_sdk.databases.provisioner import Copy, Place
from sandbox_sdk.databases.qdrant.driver import QdrantDriver
from sandbox_sdk.databases.qdrant.provisioner import QdrantProvisioner
from sandbox_sdk.databases.worker.driver import Call, Caps
from sandbox_sdk.options import new_sandbox_id
from tests.sandbox_sdk.databases.qdrant.fake import KEY, FakeQdrant

FILE = Path("/population/kb.yaml")
POINTS = [
    {"id": 1, "vector": [1.0, 0, 0], "payload": {"city": "Paris", "price": 10}},
    {"id": 2, "vector": [0.9, 0.1, 0], "payload": {"city": "Rome", "price": 20}},
    {"id": 3, "vector": [0, 1.0, 0], "payload": {"city": "Rome", "price": 30}},
    {"id": 4, "vector": [0, 0, 1.0], "payload": {"city": "Oslo", "tags": ["cold", "north"]}},
]
NOTES = [{"id": "12345678-1234-5678-1234-567812345678", "vector": {"title": [1.0, 0]}}]
COLLECTIONS = (
    Collection("docs", {"": (3, "cosine")}, {"city": "keyword", "price": "integer"}, FILE, 3),
    Collection("notes", {"title": (2, "dot"), "body": (4, "euclid")}, {}, FILE, 9),
)


def rows_of(*points: Any) -> Callable[[], Iterator[Row]]:
    """Rows that stand in lines 20, 21 and so on."""
    return lambda: (Row(each, FILE, line) for line, each in enumerate(points, start=20))


def population(
    *fixtures: tuple[str, list[Any]],
    collections: tuple[Collection, ...] = COLLECTIONS,
    digest: str = "d" * 64,
) -> Population:
    """What is read from a file that nobody wrote."""
    made = (Fixture(name, FILE, 0, rows_of(*points), Mark(FILE, 15)) for name, points in fixtures)
    return Population("kb", FILE, digest, fixtures=tuple(made), collections=collections)


SEED = population(("docs", POINTS), ("notes", NOTES))


@dataclass
class Backend:
    """Where copies lie, and what a Database says of it."""

    fields: dict[str, Any]
    fake: FakeQdrant | None = None


@pytest.fixture
def fake() -> Iterator[FakeQdrant]:
    """A server with tokens."""
    server = FakeQdrant()
    yield server
    server.close()


def real_server() -> dict[str, Any]:
    """The fields of a Database on the server that QDRANT_URL names; skips without one."""
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no Qdrant server: set QDRANT_URL and QDRANT_API_KEY")
    return {"url": url, "api_key": os.environ.get("QDRANT_API_KEY")}


@pytest.fixture(params=["embedded", "fake", "server"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Everything a copy can lie on."""
    if request.param == "embedded":
        return Backend({})
    if request.param == "server":
        return Backend(real_server())
    fake: FakeQdrant = request.getfixturevalue("fake")
    return Backend({"url": fake.url, "api_key": KEY}, fake)


@pytest.fixture
def reports() -> list[str]:
    """What a person was told."""
    return []


@pytest.fixture
def place(tmp_path: Path, reports: list[str]) -> Place:
    """A folder, and an engine nobody uses here."""
    return Place(tmp_path, InProcessEngine(state_dir=tmp_path, executors={}), reports.append)


Open = Callable[..., Awaitable[QdrantProvisioner]]


@pytest.fixture
async def opened(place: Place) -> AsyncIterator[Open]:
    """Opens provisioners, by the fields of a Database, and closes them."""
    made: list[QdrantProvisioner] = []

    async def open_(seed: Population | None = SEED, **fields: Any) -> QdrantProvisioner:
        database = Database(**{"name": "kb", "engine": "qdrant", "access": "write"} | fields)
        QdrantProvisioner.check(database)
        made.append(QdrantProvisioner(database, seed, place))
        await made[-1].open()
        return made[-1]

    yield open_
    for each in made:
        await each.aclose()


class Sandboxes:
    """Copies of one provisioner with their drivers, as a worker would make them."""

    def __init__(self, provisioner: QdrantProvisioner) -> None:
        self.provisioner = provisioner
        self.ids: list[str] = []
        self.drivers: list[QdrantDriver] = []

    async def add(self, access: Access | str | None = None) -> QdrantDriver:
        """A new sandbox."""
        self.ids.append(new_sandbox_id())
        return self.connect(await self.copy(self.ids[-1], access))

    async def copy(self, sandbox_id: str, access: Access | str | None = None) -> Copy:
        """Its copy; `access` is the database's if left out."""
        given = {"default": access} if isinstance(access, str) else access
        rule = self.provisioner.database.access if given is None else Access.model_validate(given)
        return await self.provisioner.create(sandbox_id, rule)

    def connect(self, copy: Copy) -> QdrantDriver:
        """Its driver; settings travel as JSON."""
        self.drivers.append(QdrantDriver(json.loads(json.dumps(copy.settings))))
        return self.drivers[-1]

    async def aclose(self) -> None:
        """Leaves nothing."""
        for driver in self.drivers:
            driver.close()
        for sandbox_id in self.ids:
            await self.provisioner.drop(sandbox_id)


@pytest.fixture
async def sandboxes(backend: Backend, opened: Open) -> AsyncIterator[Sandboxes]:
    """Sandboxes that may write, on every backend."""
    made = Sandboxes(await opened(**backend.fields))
    yield made
    await made.aclose()


@pytest.fixture
async def embedded(opened: Open) -> AsyncIterator[Sandboxes]:
    """Sandboxes that may write, on files."""
    made = Sandboxes(await opened())
    yield made
    await made.aclose()


def a_call(*, timeout_s: float = 20.0, rows: int = 1000, chars: int = 2000) -> Call:
    """A call with the default caps."""
    return Call(timeout_s=timeout_s, caps=Caps(rows, 200_000, chars))


def ids(result: dict[str, Any]) -> list[Any]:
    """The ids a search found."""
    return [each["id"] for each in result["hits"]]


def find(driver: QdrantDriver, collection: str = "docs", **arguments: Any) -> dict[str, Any]:
    """A search near [1, 0, 0] unless told."""
    if "vector" not in arguments and "point_id" not in arguments:
        arguments["vector"] = [1, 0, 0]
    return driver.search(a_call(), {"collection": collection, **arguments})


def put(driver: QdrantDriver, *points: Any, collection: str = "docs") -> dict[str, Any]:
    """An upsert."""
    return driver.upsert(a_call(), {"collection": collection, "points": list(points)})


def remove(driver: QdrantDriver, collection: str = "docs", **arguments: Any) -> dict[str, Any]:
    """A delete."""
    return driver.delete(a_call(), {"collection": collection, **arguments})
