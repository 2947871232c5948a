"""What a sandbox is shown of a graph."""

from typing import Any

import pytest

from sandbox_sdk.databases.neo4j.driver import Neo4jDriver
from tool_plugins.database.results import SchemaItem

from .graph import call_of


def schema(
    driver: Neo4jDriver, pattern: str = "*", detail: str = "columns", limit: int = 50
) -> Any:
    return driver.schema(call_of(), pattern=pattern, detail=detail, limit=limit)


def item(driver: Neo4jDriver, name: str, detail: str = "full") -> SchemaItem:
    (found,) = schema(driver, name, detail)["items"]
    return SchemaItem.model_validate(found)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["Admin", "City", "Person", "LIVES_IN"]),
        ("P*", ["Person"]),
        ("?ity", ["City"]),
        ("[CP]*", []),
        ("*IN", ["LIVES_IN"]),
    ],
)
def test_labels_and_types_are_listed(pattern: str, names: list[str], reader: Neo4jDriver) -> None:
    assert [each["name"] for each in schema(reader, pattern, "names")["items"]] == names


def test_a_limit_is_kept_and_declared(reader: Neo4jDriver) -> None:
    assert schema(reader, limit=4)["truncated"] is False
    cut = schema(reader, limit=1)

    assert (len(cut["items"]), cut["total"], cut["truncated"]) == (1, 4, True)


def test_a_label_shows_its_properties_indexes_and_size(reader: Neo4jDriver) -> None:
    person = item(reader, "Person")

    assert {column.name: (column.type, column.nullable) for column in person.columns} == {
        "born": ("Long", True),
        "id": ("Long", False),
        "name": ("String", False),
        "note": ("String", True),
    }
    assert [(index.name, index.columns, index.unique) for index in person.indexes] == [
        ("person_id", ["id"], True)
    ]
    assert (person.kind, person.row_estimate, person.verbs) == ("label", 3, ["select"])


def test_a_relationship_shows_what_it_connects(reader: Neo4jDriver) -> None:
    lives = item(reader, "LIVES_IN")

    assert [column.name for column in lives.columns] == ["since"]
    assert {(key.columns[0], key.refers_to) for key in lives.foreign_keys} == {
        ("from", "Person"), ("from", "Admin"), ("to", "City"),
    }  # fmt: skip
    assert (lives.kind, lives.row_estimate) == ("relationship", 2)


def test_a_writer_is_shown_more_verbs(writer: Neo4jDriver) -> None:
    assert item(writer, "City", "names").verbs == ["select", "insert", "update", "delete"]
