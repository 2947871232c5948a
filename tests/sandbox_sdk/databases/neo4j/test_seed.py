"""A population is loaded as it is written; a bad one is named with file and line."""

from collections.abc import Iterator
from pathlib import Path

import neo4j
import pytest

from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from sandbox_sdk.databases.neo4j.seed import BATCH_ROWS, Seeding
from sandbox_sdk.databases.population.contents import PopulationError
from sandbox_sdk.databases.population.load import load_population

from .graph import POPULATION, WRITER, World, database, left_of, population, query


@pytest.fixture
def session(world: World) -> Iterator[neo4j.Session]:
    """On the writer's copy; tests use labels of their own."""
    settings = world.copies[WRITER].settings
    login = (settings["user"], settings["password"])
    with (
        neo4j.GraphDatabase.driver(settings["uri"], auth=login) as driver,
        driver.session() as session,
    ):
        yield session


def fill(session: neo4j.Session, folder: Path, text: str) -> list[str]:
    reports: list[str] = []
    (folder / "population.yaml").write_text(text)
    found = load_population(folder / "population.yaml", {"graph": "neo4j"})["graph"]
    Seeding(session, "graph", reports.append).run(found)
    return reports


def test_the_graph_is_as_it_was_written(reader: Neo4jDriver) -> None:
    people = query(reader, "MATCH (p:Person) RETURN properties(p) ORDER BY p.id").rows

    assert people == [
        [{"id": 1, "name": "Ada", "born": 1815, "note": "one; two"}],
        [{"id": 2, "name": "Grace", "born": 1906}],
        [{"id": 3, "name": "Lin"}],
    ]
    lives = "MATCH (p)-[r:LIVES_IN]->(c) RETURN p.id, r.since, c.name ORDER BY p.id"
    assert query(reader, lives).rows == [[1, 1990, "Paris"], [2, None, "Paris"]]
    assert query(reader, "MATCH (c:City) RETURN c.name, c.height ORDER BY c.name").rows == [
        ["Paris", 35.5],
        ["a;b", None],
    ]


def test_a_long_file_is_loaded_in_batches(
    session: neo4j.Session, owner: Neo4jDriver, tmp_path: Path
) -> None:
    count = 2 * BATCH_ROWS + 1
    (tmp_path / "many.csv").write_text("id\n" + "\n".join(map(str, range(count))))
    text = "databases: {graph: {fixtures: [{nodes: Many, file: many.csv, types: {id: integer}}]}}"

    fill(session, tmp_path, text)

    assert query(owner, "MATCH (m:Many) RETURN count(m), max(m.id)").rows == [[count, count - 1]]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("schema: |\n      RETURN 1;\n\n      RETRUN 2;", 6, "RETRUN"),
        ("schema: |\n      RETURN\n      1 +;", 5, "Invalid input"),
        (
            "fixtures:\n      - {nodes: Odd, rows: [{a: 1},\n          {a: {b: 1}}]}",
            5,
            "Property values can only be of primitive types",
        ),
        (
            "fixtures:\n      - {nodes: End, rows: [{k: 1}, {k: 2}, {k: 2}]}\n"
            "      - {relationships: R, from: {End: k}, to: {End: k}, rows: [\n"
            "          {from: 1, to: 1},\n          {from: 1, to: 9}]}",
            7,
            "from 1 to 9: there are no such nodes",
        ),
        (
            "fixtures:\n      - {nodes: Twin, rows: [{k: 1}, {k: 2}, {k: 2}]}\n"
            "      - {relationships: R, from: {Twin: k}, to: {Twin: k}, rows: [\n"
            "          {from: 1, to: 2}]}",
            6,
            "fits 2 pairs",
        ),
        ("after: |\n      CREATE (:Person {id: 1});", 4, "already exists"),
    ],
)
def test_a_bad_population_is_named(
    text: str, line: int, words: str, session: neo4j.Session, tmp_path: Path
) -> None:
    with pytest.raises(PopulationError, match=words) as caught:
        fill(session, tmp_path, f"databases:\n  graph:\n    {text}\n")

    assert caught.value.line == line
    assert str(tmp_path / "population.yaml") in str(caught.value)


def test_no_relationship_of_a_bad_batch_stays(
    session: neo4j.Session, owner: Neo4jDriver, tmp_path: Path
) -> None:
    rows = "[{from: 1, to: 2}, {from: 1, to: 77}]"
    text = f"{{relationships: HALF, from: {{Person: id}}, to: {{Person: id}}, rows: {rows}}}"
    with pytest.raises(PopulationError):
        fill(session, tmp_path, f"databases: {{graph: {{fixtures: [{text}]}}}}")

    assert query(owner, "MATCH ()-[h:HALF]->() RETURN count(h)").rows == [[0]]


async def test_a_bad_population_leaves_no_template(world: World, tmp_path: Path) -> None:
    broken = population(tmp_path, POPULATION.replace("CREATE INDEX", "CREATE INDICES"))
    before = sorted((world.place.folder / "templates").iterdir())

    with pytest.raises(PopulationError, match=r"population\.yaml:\d+"):
        await world.provisioner_of(database(world.image), broken).open()

    assert sorted((world.place.folder / "templates").iterdir()) == before
    assert left_of("neo4j-template") == []
