"""Population files: what they may say, and how what they may not say is named."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import (
    Collection,
    Endpoint,
    Fixture,
    Mark,
    Nodes,
    Population,
    PopulationError,
    Relationships,
    Script,
)
from sandbox_sdk.databases.population.entries import Entry
from sandbox_sdk.databases.population.files import MAX_SCRIPT_BYTES, Files
from sandbox_sdk.databases.population.load import load_population

ENGINES = {"shop": "sqlite", "bank": "postgres", "docs": "qdrant", "graph": "neo4j"}

FILES = {
    "schema.sql": "CREATE TABLE users (id int);\n",
    "post.sql": "SELECT 1;",
    "data/orders.csv": "id\n1\n",
    "users.jsonl": '{"id": 1}\n',
    "rows.yaml": "- {id: 1, price: 1.50}\n- id: 2\n",
    "tables.yml": "users:\n  - id: 1\n\norders:\n  - id: 2\n",
    "constraints.cypher": "RETURN 1;",
    "points.jsonl": '{"id": 1, "vector": [0.5, 1], "payload": {"a": 1.5}}\n',
    "points.yaml": "- {id: 1, vector: [0.5, 1]}\n",
}

Load = Callable[[str], Population]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "config"


@pytest.fixture
def load(folder: Path) -> Load:
    """Loads a file of one database."""

    def load(text: str) -> Population:
        (folder / "p.yaml").write_text(text)
        (population,) = load_population(folder / "p.yaml", ENGINES).values()
        return population

    return load


def values(fixture: Any) -> list[dict[str, Any]]:
    return [row.values for row in fixture.rows()]


def test_a_database_of_tables(load: Load, folder: Path) -> None:
    population = load(
        "databases:\n"
        "  shop:\n"
        "    schema: [schema.sql, 'SELECT 2;']\n"
        "    fixtures:\n"
        "      - {table: users, rows: [{id: 1, name: Ada, price: 12.50}, {id: 2}]}\n"
        "      - table: orders\n"
        "        file: data/orders.csv\n"
        "      - {table: users, file: users.jsonl}\n"
        "      - {table: prices, file: rows.yaml}\n"
        "      - {file: tables.yml}\n"
        "      - {file: post.sql}\n"
        "    after: |\n"
        "\n"
        "      SELECT 3;\n"
    )
    here = folder / "p.yaml"

    assert ("shop", here) == (population.database, population.file)
    assert population.schema == (
        Script(folder / "schema.sql", 1, FILES["schema.sql"]),
        Script(here, 3, "SELECT 2;"),
    )
    assert population.after == (Script(here, 13, "\nSELECT 3;\n"),)
    assert population.collections == ()
    *fixtures, script = population.fixtures
    assert script == Script(folder / "post.sql", 1, "SELECT 1;")
    assert [(each.table, each.file.name, each.size, each.named) for each in fixtures] == [
        ("users", "p.yaml", 0, Mark(here, 5)),
        ("orders", "orders.csv", 5, Mark(here, 6)),
        ("users", "users.jsonl", 10, Mark(here, 8)),
        ("prices", "rows.yaml", 0, Mark(here, 9)),
        ("users", "tables.yml", 0, Mark(folder / "tables.yml", 1)),
        ("orders", "tables.yml", 0, Mark(folder / "tables.yml", 4)),
    ]
    assert values(fixtures[0]) == [{"id": 1, "name": "Ada", "price": Decimal("12.50")}, {"id": 2}]
    assert values(fixtures[1]) == [{"id": "1"}]
    assert values(fixtures[3]) == [{"id": 1, "price": Decimal("1.50")}, {"id": 2}]
    assert [(row.file.name, row.line) for row in fixtures[5].rows()] == [("tables.yml", 5)]


def test_rows_of_yaml_are_plain_values(load: Load) -> None:
    population = load(
        "databases: {bank: {fixtures: [{table: t, rows: "
        "[{a: {base64: AAH/}, b: {c: [1.5]}, d: ~}]}]}}"
    )
    (row,) = values(population.fixtures[0])

    assert row == {"a": b"\x00\x01\xff", "b": {"c": [Decimal("1.5")]}, "d": None}
    assert (dict, list) == (type(row["b"]), type(row["b"]["c"]))


def test_a_graph(load: Load, folder: Path) -> None:
    population = load(
        "databases:\n"
        "  graph:\n"
        "    schema: constraints.cypher\n"
        "    fixtures:\n"
        "      - {nodes: Person, file: data/orders.csv, types: {id: integer}}\n"
        "      - {nodes: [Person, Admin], rows: [{id: 2}]}\n"
        "      - {relationships: KNOWS, from: {Person: id}, to: {Admin: key},"
        " rows: [{from: 1, to: 2, since: 2020}]}\n"
        "      - {file: constraints.cypher}\n"
    )
    people, admins, knows, script = population.fixtures

    assert isinstance(people, Nodes)
    assert isinstance(admins, Nodes)
    assert (people.labels, admins.labels) == (("Person",), ("Person", "Admin"))
    assert (values(people), values(admins)) == ([{"id": 1}], [{"id": 2}])
    assert isinstance(knows, Relationships)
    assert knows.type == "KNOWS"
    assert (knows.start, knows.end) == (Endpoint("Person", "id"), Endpoint("Admin", "key"))
    assert values(knows) == [{"from": 1, "to": 2, "since": 2020}]
    assert [each.named.line for each in (people, admins, knows) if each.named] == [5, 6, 7]
    assert script == Script(folder / "constraints.cypher", 1, "RETURN 1;")


def test_collections_and_their_points(load: Load, folder: Path) -> None:
    population = load(
        "databases:\n"
        "  docs:\n"
        "    collections:\n"
        "      a: {size: 2, distance: cosine, indexes: {city: keyword}, points: points.jsonl}\n"
        "      b:\n"
        "        vectors: {title: {size: 4, distance: dot}, body: {size: 8, distance: euclid}}\n"
        "      c: {size: 2, distance: manhattan, points: points.yaml}\n"
        "      d: {size: 2, distance: cosine, points: "
        "[{id: 1, vector: [0.5, 1], payload: {a: 1.5}}]}\n"
    )
    here = folder / "p.yaml"

    assert population.collections == (
        Collection("a", {"": (2, "cosine")}, {"city": "keyword"}, here, 4),
        Collection("b", {"title": (4, "dot"), "body": (8, "euclid")}, {}, here, 5),
        Collection("c", {"": (2, "manhattan")}, {}, here, 7),
        Collection("d", {"": (2, "cosine")}, {}, here, 8),
    )
    points = [each for each in population.fixtures if isinstance(each, Fixture)]
    assert [each.table for each in points] == ["a", "c", "d"]
    for each in points:
        (point,) = values(each)
        assert point["vector"] == [0.5, 1]
        assert type(point["vector"][0]) is float
        assert point.get("payload", {"a": 1.5}) == {"a": 1.5}


def test_several_databases_and_one_that_is_not_named(folder: Path) -> None:
    file = folder / "p.yaml"
    file.write_text("databases:\n  shop: {schema: 'x;'}\n  bank: {after: schema.sql}\n")

    assert list(load_population(str(file), ENGINES)) == ["shop", "bank"]


ROW = "[{id: 1}]"

# What a database says, the line that is named, and what is said about it.
BAD = {
    "no database": ("databases: {}", 1, "databases: must be a mapping that is not empty"),
    "nothing at all": ("- a", 1, "the file: must be a mapping"),
    "a wrong key": ("databases:\n  shop: {after: x;}\nbases: {}", 3, "did you mean 'databases'"),
    "an unknown database": ("databases:\n  shpo: {after: 'x;'}", 2, "did you mean 'shop'"),
    "a database far from all": (
        "databases:\n  zzz: {}",
        2,
        "there is 'bank', 'docs', 'graph', 'shop'",
    ),
    "an empty database": ("databases:\n  shop:", 2, "shop: must be a mapping that is not empty"),
    "an unknown key": ("databases:\n  shop:\n    shema: x;", 3, "did you mean 'schema'"),
    "a key of another engine": (
        "databases:\n  shop:\n    collections: {}",
        3,
        "unknown key 'collections' of a sqlite",
    ),
    "tables of qdrant": ("databases:\n  docs:\n    fixtures: []", 3, "there is 'collections'"),
    "bad YAML": ("databases:\n  shop: [\n", 3, "did not find"),
    "a tag": ("databases:\n  shop: !x {}", 2, "tags"),
    "a missing file": ("databases:\n  shop:\n    schema: missing.sql", 3, "there is no"),
    "a missing file of a list": (
        "databases:\n  shop:\n    after:\n      - post.sql\n      - missing.sql",
        5,
        "there is no",
    ),
    "a folder": ("databases:\n  shop:\n    schema: data", 3, "is not a file"),
    "a file above": ("databases:\n  shop:\n    schema: ../other.sql", 3, "leads out of"),
    "a file above and back": (
        "databases:\n  shop:\n    schema: ../config/../other.sql",
        3,
        "leads out of",
    ),
    "a link out": ("databases:\n  shop:\n    schema: link.sql", 3, "leads out of"),
    "a link to itself": ("databases:\n  shop:\n    schema: loop.sql", 3, "cannot be read"),
    "a name with a NUL": ('databases:\n  shop:\n    schema: "a\\0.sql"', 3, "cannot be read"),
    "an endless name": (f"databases:\n  shop:\n    schema: {'x' * 300}", 3, "cannot be read"),
    "an empty name": ("databases:\n  shop:\n    schema: ''", 3, "must be a text"),
    "a number as script": ("databases:\n  shop:\n    schema: [1]", 3, "must be a text"),
    "a script that is not text": ("databases:\n  shop:\n    schema: latin.sql", 1, "is not UTF-8"),
    "fixtures that are no list": ("databases:\n  shop:\n    fixtures: {}", 3, "must be a list"),
}

BAD_FIXTURES = {
    "no table": ("shop", f"rows: {ROW}", "names no table"),
    "no rows": ("shop", "table: t", "exactly one of 'rows' and 'file'"),
    "rows twice": ("shop", f"table: t, rows: {ROW}, file: users.jsonl", "exactly one of"),
    "an unknown key": ("shop", "tabel: t, file: users.jsonl", "did you mean 'table'"),
    "rows without a table": ("shop", "file: users.jsonl", "has rows, but the entry has no 'table'"),
    "an unknown ending": ("shop", "table: t, file: post.sql", "does not end in .csv, .jsonl"),
    "a script of another engine": ("shop", "file: constraints.cypher", "does not end in .sql"),
    "a missing file": ("shop", "table: t, file: missing.csv", "there is no"),
    "a row that is none": ("shop", "table: t, rows: [1]", "a row must be a mapping"),
    "an empty row": ("shop", "table: t, rows: [{}]", "a row must be a mapping"),
    "rows that are no list": ("shop", "table: t, rows: {id: 1}", "must be a list"),
    "bytes that are none": ("shop", "table: t, rows: [{a: {base64: x}}]", "Base64"),
    "an unknown type": (
        "shop",
        "table: t, file: data/orders.csv, types: {id: int}",
        "did you mean 'integer'",
    ),
    "types of JSON": ("shop", "table: t, file: users.jsonl, types: {id: integer}", "is for .csv"),
    "types of listed rows": ("shop", f"table: t, rows: {ROW}, types: {{id: text}}", "is for .csv"),
    "nodes of a table": ("shop", f"nodes: T, rows: {ROW}", "unknown key 'nodes'"),
    "a table of a graph": ("graph", f"table: T, rows: {ROW}", "unknown key 'table'"),
    "nodes and relationships": ("graph", f"nodes: T, relationships: R, rows: {ROW}", "either"),
    "nodes with an end": ("graph", f"nodes: T, from: {{A: b}}, rows: {ROW}", "others have none"),
    "no label": ("graph", f"nodes: [], rows: {ROW}", "must name a label"),
    "one end missing": (
        "graph",
        f"relationships: R, from: {{A: b}}, rows: {ROW}",
        "relationships need 'to'",
    ),
    "an end of two": (
        "graph",
        f"relationships: R, from: {{A: b, C: d}}, to: {{A: b}}, rows: {ROW}",
        "{Person: id}",
    ),
    "neither": ("graph", "rows: []", "names no table"),
    "SQL of a graph": ("graph", "file: post.sql", "does not end in .cypher"),
}

BAD_COLLECTIONS = {
    "no size": ("distance: cosine", "needs 'size'"),
    "no distance": ("size: 4", "needs 'distance'"),
    "no room": ("size: 0, distance: cosine", "from 1 to 65536"),
    "true is no size": ("size: true, distance: cosine", "must be a whole number"),
    "half a size": ("size: 1.5, distance: cosine", "must be a whole number"),
    "an unknown distance": ("size: 4, distance: cosin", "did you mean 'cosine'"),
    "both kinds": ("size: 4, vectors: {a: {size: 4, distance: dot}}", "has either"),
    "an unknown index": ("size: 4, distance: dot, indexes: {a: keywrd}", "did you mean 'keyword'"),
    "points of CSV": ("size: 4, distance: dot, points: data/orders.csv", "do not fit into .csv"),
    "an unknown key": ("size: 4, distance: dot, point: x", "did you mean 'points'"),
    "a point that is none": ("size: 4, distance: dot, points: [1]", "a row must be a mapping"),
}


def refused(folder: Path, text: str) -> PopulationError:
    (folder / "p.yaml").write_text(text)
    (folder.parent / "other.sql").write_text("SELECT 1;")
    (folder / "link.sql").symlink_to("../other.sql")
    (folder / "loop.sql").symlink_to("loop.sql")
    (folder / "latin.sql").write_bytes(b"-- n\xe9")
    with pytest.raises(PopulationError) as error:
        load_population(folder / "p.yaml", ENGINES)
    return error.value


@pytest.mark.parametrize(("text", "line", "reason"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_its_line(
    folder: Path, text: str, line: int, reason: str
) -> None:
    error = refused(folder, text)

    assert line == error.line
    assert f"{error.file}:{line}:" in str(error)
    assert reason in str(error)


@pytest.mark.parametrize(("database", "entry", "reason"), BAD_FIXTURES.values(), ids=BAD_FIXTURES)
def test_a_bad_fixture_is_refused_with_its_line(
    folder: Path, database: str, entry: str, reason: str
) -> None:
    error = refused(folder, f"databases:\n  {database}:\n    fixtures:\n      - {{{entry}}}\n")

    assert str(error).startswith(f"{folder / 'p.yaml'}:4:")
    assert reason in str(error)


@pytest.mark.parametrize(("entry", "reason"), BAD_COLLECTIONS.values(), ids=BAD_COLLECTIONS)
def test_a_bad_collection_is_refused_with_its_line(folder: Path, entry: str, reason: str) -> None:
    error = refused(folder, f"databases:\n  docs:\n    collections:\n      a: {{{entry}}}\n")

    assert str(error).startswith(f"{folder / 'p.yaml'}:4:")
    assert reason in str(error)


@pytest.mark.parametrize("point", ["{id: 1}", "{vector: [1]}", "{id: 1, vector: [1], paylod: {}}"])
def test_a_point_has_an_id_and_a_vector(load: Load, point: str) -> None:
    population = load(
        "databases: {docs: {collections: {a: {size: 1, distance: dot, points: "
        f"[{point}]}}}}}}}}"
    )

    with pytest.raises(PopulationError, match=r"p\.yaml:1: a point has an 'id'"):
        values(population.fixtures[0])


def test_a_number_of_a_point_is_finite(load: Load, folder: Path) -> None:
    (folder / "points.jsonl").write_text('{"id": 1, "vector": [1e308, 1e999]}\n')
    population = load(
        "databases: {docs: {collections: {a: {size: 2, distance: dot, points: points.jsonl}}}}"
    )

    with pytest.raises(PopulationError, match=r"points\.jsonl:1: '1e999' is too large"):
        values(population.fixtures[0])


@pytest.mark.parametrize("row", ["{from: 1}", "{to: 1}", "{from: ~, to: 1}"])
def test_a_relationship_has_two_ends(load: Load, row: str) -> None:
    population = load(
        "databases: {graph: {fixtures: [{relationships: R, from: {A: id}, to: {A: id},"
        f" rows: [{row}]}}]}}}}"
    )

    with pytest.raises(PopulationError, match=r"p\.yaml:1: a relationship needs '(from|to)'"):
        values(population.fixtures[0])


def test_a_script_has_a_size_that_fits_into_memory(load: Load, folder: Path) -> None:
    script = folder / "large.sql"
    script.write_text("SELECT 1;\n")
    assert load("databases: {shop: {schema: large.sql}}").schema[0].text == "SELECT 1;\n"
    with script.open("r+") as file:
        file.truncate(MAX_SCRIPT_BYTES + 1)

    with pytest.raises(PopulationError, match=r"large\.sql: a script is at most"):
        load("databases: {shop: {schema: large.sql}}")


def test_a_missing_population_is_named(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match=r"nothing\.yaml: there is no such file"):
        load_population(tmp_path / "nothing.yaml", ENGINES)


def test_an_absolute_path_and_a_link_within_the_folder_are_fine(load: Load, folder: Path) -> None:
    outside = folder.parent / "outside.sql"
    outside.write_text("SELECT 9;")
    (folder / "link.sql").symlink_to("data/../schema.sql")

    population = load(f"databases: {{shop: {{schema: [{outside}, link.sql, data/../post.sql]}}}}")

    assert ["SELECT 9;", FILES["schema.sql"], "SELECT 1;"] == [s.text for s in population.schema]


def test_a_relative_path_means_the_same_after_a_change_of_the_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "p.yaml").write_text(
        "databases: {shop: {fixtures: [{table: t, file: data/orders.csv}]}}"
    )
    monkeypatch.chdir(folder)
    population = load_population("p.yaml", ENGINES)["shop"]
    monkeypatch.chdir("/")

    assert values(population.fixtures[0]) == [{"id": "1"}]


def digest(folder: Path, text: str, engine: str = "sqlite") -> str:
    (folder / "p.yaml").write_text(text)
    population = load_population(folder / "p.yaml", {"shop": engine})["shop"]
    assert len(population.digest) == 64
    return population.digest


def test_the_digest_stays_while_nothing_that_counts_changes(folder: Path) -> None:
    text = "databases: {shop: {schema: schema.sql, fixtures: [{table: t, file: data/orders.csv}]}}"
    first = digest(folder, text)
    other = folder.parent / "other"
    folder.rename(other)

    assert first == digest(other, text)
    assert first == digest(other, f"# a comment\n{text}\n")


@pytest.mark.parametrize(
    "change",
    [
        {"text": "databases: {shop: {schema: schema.sql, fixtures: [{table: u, file: t.yaml}]}}"},
        {"file": "schema.sql"},
        {"file": "t.yaml"},
        {"engine": "postgres"},
    ],
    ids=["structure", "script", "rows", "engine"],
)
def test_the_digest_changes_with_everything_that_counts(
    folder: Path, change: dict[str, str]
) -> None:
    text = "databases: {shop: {schema: schema.sql, fixtures: [{table: t, file: t.yaml}]}}"
    (folder / "t.yaml").write_text("- id: 1\n")
    first = digest(folder, text)
    if "file" in change:
        path = folder / change["file"]
        path.write_text(path.read_text() + "# -- \n")

    assert first != digest(folder, change.get("text", text), change.get("engine", "sqlite"))


@pytest.mark.parametrize(("one", "other"), [("1.5", "1.50"), ("1.5", "'1.5'"), ("1", "true")])
def test_the_digest_tells_values_apart_that_are_written_differently(
    folder: Path, one: str, other: str
) -> None:
    text = "databases: {{shop: {{fixtures: [{{table: t, rows: [{{a: {}}}]}}]}}}}"

    assert digest(folder, text.format(one)) != digest(folder, text.format(other))


def test_a_yaml_file_of_rows_that_changes_while_it_is_loaded_is_not_used(folder: Path) -> None:
    found = Files(folder / "p.yaml").find(Entry(folder / "p.yaml", "rows.yaml", 1, 1, "file"))
    assert found.head(9) == b"- {id: 1,"
    (folder / "rows.yaml").write_text("- id: 3\n")

    with pytest.raises(PopulationError, match="was changed after"):
        found.head(9)
