"""What a sandbox is shown of a database is what it may use."""

from pathlib import Path
from typing import Any

from tool_plugins.database.results import SchemaResult

from .shop import SHOP, call, open_shop

ACCESS = {
    "tables": {
        "users": {"select": ["id", "name"], "update": ["name"], "rows": "id < 3"},
        "orders": {"select": "*", "insert": ["total"], "delete": True},
        "secrets": "read",
    }
}


def show(folder: Path, access: Any, *, text: str = SHOP, **more: Any) -> SchemaResult:
    given = {"pattern": "*", "detail": "full", "limit": 100, **more}
    driver = open_shop(folder, access, text=text)
    return SchemaResult(database="shop", engine="sqlite", **driver.schema(call(), **given))


def test_only_what_may_be_used_is_shown(tmp_path: Path) -> None:
    text = SHOP + "CREATE INDEX by_ssn ON users(ssn); CREATE INDEX by_name ON users(name);"
    found = {item.name: item for item in show(tmp_path, ACCESS, text=text).items}

    assert list(found) == ["orders", "secrets", "users"]
    users, orders = found["users"], found["orders"]
    assert (users.verbs, users.rows_filtered, users.row_estimate) == (["select", "update"], True, 2)
    assert [
        (column.name, column.type, column.primary_key, column.verbs) for column in users.columns
    ] == [("id", "INTEGER", True, ["select"]), ("name", "TEXT", False, [])]
    assert [index.name for index in users.indexes] == ["by_name"]
    assert next(c.verbs for c in orders.columns if c.name == "made") == ["select"]
    assert [(key.columns, key.refers_to, key.refers_to_columns) for key in orders.foreign_keys] == [
        (["user_id"], "users", ["id"])
    ]
    assert [index.columns for index in orders.indexes if index.unique] == [["code"]]
    assert found["secrets"].kind == "view"


def test_a_pattern_and_a_limit_narrow_it(tmp_path: Path) -> None:
    result = show(tmp_path, "read", pattern="USER*", detail="names", limit=1)

    assert ([i.name for i in result.items], result.total, result.truncated) == (["users"], 2, True)
    assert result.items[0].columns == []
    assert not show(tmp_path, "read", pattern="user?", limit=1).truncated


def test_odd_tables_are_shown_as_they_are(tmp_path: Path) -> None:
    text = (
        'CREATE TABLE "a ""b"(x DECIMAL(10,2) NOT NULL, y AS (x * 2), z, PRIMARY KEY (x, z));'
        'CREATE INDEX odd ON "a ""b"(lower(z));'
        "CREATE VIRTUAL TABLE docs USING fts5(body);"
    )
    odd, docs = show(tmp_path, "read", text=text).items

    assert [(c.name, c.type) for c in odd.columns] == [("x", "DECIMAL(10,2)"), ("y", ""), ("z", "")]
    assert [column.primary_key for column in odd.columns] == [True, False, True]
    assert {index.name: index.columns for index in odd.indexes} == {
        "odd": [],
        'sqlite_autoindex_a "b_1': ["x", "z"],
    }
    assert (docs.name, [column.name for column in docs.columns]) == ("docs", ["body"])


def test_an_empty_database_shows_nothing(tmp_path: Path) -> None:
    assert show(tmp_path, "owner", text="").items == []
