"""A graph in two real copies, and ways to use a copy as a sandbox does."""

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

from container_runtime.engine import Engine, load_engine
from sandbox_sdk.databases.access import Access, Database, DatabaseLimits
from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from sandbox_sdk.databases.neo4j.provisioner import Neo4jProvisioner
from sandbox_sdk.databases.population.contents import Population
from sandbox_sdk.databases.population.load import load_population
from sandbox_sdk.databases.provisioner import Copy, Place
from sandbox_sdk.databases.worker.driver import Call, Caps, Statement
from sandbox_sdk.databases.worker.rows import Collecting

READER, WRITER = "sbx-reader", "sbx-writer"
CAPS = Caps(rows=1000, bytes=1_000_000, cell_chars=2000)
POPULATION = """\
databases:
  graph:
    schema: |
      // People are found by their id; a ; here divides nothing.
      CREATE CONSTRAINT person_id FOR (p:Person) REQUIRE p.id IS UNIQUE;
      CREATE INDEX city_name FOR (c:City) ON (c.name);
    fixtures:
      - {nodes: Person, file: people.csv, types: {id: integer, born: integer}}
      - {nodes: City, rows: [{name: Paris, height: 35.5}, {name: "a;b"}]}
      - {relationships: LIVES_IN, from: {Person: id}, to: {City: name},
         rows: [{from: 1, to: Paris, since: 1990}, {from: 2, to: Paris}]}
    after: |
      MATCH (p:Person {id: 1}) SET p:Admin, p.note = 'one; two';
"""
PEOPLE = "id,name,born\n1,Ada,1815\n2,Grace,1906\n3,Lin,\n"


def population(folder: Path, text: str = POPULATION) -> Population:
    """The population of the graph, from files."""
    (folder / "people.csv").write_text(PEOPLE)
    (folder / "population.yaml").write_text(text)
    return load_population(folder / "population.yaml", {"graph": "neo4j"})["graph"]


def database(image: str, **changes: Any) -> Database:
    """The configured database."""
    limits = DatabaseLimits(size_mb=256, transaction_s=120)
    return Database(name="graph", engine="neo4j", image=image, limits=limits, **changes)


class World:
    """An engine, and two copies of one template: one that may be read, one that its owner has."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.folder = Path(tempfile.mkdtemp(prefix="sbx-", dir="/tmp"))
        self.engine: Engine = load_engine("docker", state_dir=self.folder / "state")
        self.reports: list[str] = []
        self.place = Place(self.folder / "databases", self.engine, self.reports.append)
        self.population = population(self.folder)
        self.provisioner = self.provisioner_of(database(image), self.population)
        self.copies: dict[str, Copy] = {}

    def provisioner_of(self, database: Database, filled: Population | None) -> Neo4jProvisioner:
        """Another provisioner in the same place."""
        return Neo4jProvisioner(database, filled, self.place)

    async def open(self) -> None:
        """Makes the template, and both copies at once."""
        await self.engine.connect()
        await self.provisioner.open()
        reader, writer = await asyncio.gather(
            self.provisioner.create(READER, Access(default="read")),
            self.provisioner.create(WRITER, Access(default="owner")),
        )
        self.copies = {READER: reader, WRITER: writer}

    async def close(self) -> None:
        """Removes everything."""
        try:
            for sandbox_id in await self.provisioner.copies():
                await self.provisioner.drop(sandbox_id)
        finally:
            await self.engine.aclose()
            shutil.rmtree(self.folder)


@dataclass
class Answer:
    """What a statement answered."""

    columns: list[dict[str, str]]
    rows: list[list[Any]]
    truncated: bool
    status: str = ""


def call_of(*, timeout_s: float = 60.0, caps: Caps = CAPS) -> Call:
    """A call with a deadline that a busy machine keeps."""
    return Call(timeout_s=timeout_s, caps=caps)


def query(
    driver: Neo4jDriver, text: str, params: Any = None, *, call: Call | None = None
) -> Answer:
    """Reads outside of a transaction handle."""
    call = call or call_of()
    sink = Collecting(call.caps)
    driver.query(call, Statement(text, params), sink)
    fields = sink.fields()
    return Answer(fields["columns"], fields["rows"], fields["truncated"])


def execute(driver: Neo4jDriver, text: str, params: Any = None) -> Answer:
    """Runs one statement in a transaction of its own, and commits."""
    call = call_of()
    transaction = driver.begin(call, read_only=False, isolation=None)
    try:
        sink = Collecting(call.caps)
        done = transaction.execute(call, Statement(text, params), sink)
        transaction.commit(call)
    finally:
        transaction.rollback()
    return Answer(**sink.returned(), status=done.status)


@contextmanager
def opened(copy: Copy, **changes: Any) -> Iterator[Neo4jDriver]:
    """A driver as a worker opens it."""
    driver = Neo4jDriver({**copy.settings, **changes})
    try:
        yield driver
    finally:
        driver.close()


@contextmanager
def cancelled_at_its_deadline(call: Call) -> Iterator[None]:
    """Cancels the call when its deadline has passed, as the worker does."""
    alarm = threading.Timer(call.remaining_s, call.cancel)
    alarm.start()
    try:
        yield
    finally:
        alarm.cancel()
        alarm.join()


def left_of(name: str) -> list[str]:
    """Every container, network, volume and mount with that name in it."""
    client = docker.from_env()
    try:
        found = [each.name or "" for each in client.containers.list(all=True)]
        found += [each.name or "" for each in client.networks.list()]
        found += [each.name or "" for each in client.volumes.list()]
    finally:
        client.close()
    found += Path("/proc/mounts").read_text().splitlines()
    return [each for each in found if name in each]
