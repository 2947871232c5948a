"""A population in an SQLite file: values, order, and what is said about what is bad."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import Fixture, PopulationError
from sandbox_sdk.databases.sqlite.driver import SqliteDriver

from .shop import ask, fixture, population, provisioner

SCHEMA = """-- a comment; with a semicolon
PRAGMA foreign_keys=ON;
BEGIN TRANSACTION;
CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, data, price TEXT, worth REAL);
CREATE TABLE orders(id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES Users(id), total DEFAULT 4);
CREATE TRIGGER t AFTER INSERT ON orders BEGIN
    UPDATE users SET data = 'a;b' WHERE id = NEW.user_id AND data IS NULL;
END;
COMMIT;
"""


def fill(folder: Path, *fixtures: Fixture, schema: str = SCHEMA) -> SqliteDriver:
    async def scenario() -> SqliteDriver:
        made = provisioner(folder, "read", population(schema, fixtures=fixtures))
        await made.open()
        return SqliteDriver((await made.create("a", made.database.access)).settings)

    return asyncio.run(scenario())


def test_rows_go_in_by_dependency_and_as_they_are(tmp_path: Path) -> None:
    orders = fixture("orders", {"id": 1, "user_id": 1}, {"id": 2, "user_id": 2, "total": 5})
    users = fixture(
        "main.USERS",
        {"id": 1, "name": "Ann"},
        {"id": 2, "name": "B\u00f6b", "data": b"\x00\xff"},
        {"id": 3, "name": "C", "data": {"a": [1]}, "price": Decimal("9.90"), "worth": Decimal(1)},
        {"id": 2**62, "name": "D", "data": Decimal("1.5")},
    )

    driver = fill(tmp_path, orders, users)

    assert ask(driver, "SELECT * FROM users") == [
        (1, "Ann", "a;b", None, None),
        (2, "B\u00f6b", b"\x00\xff", None, None),
        (3, "C", '{"a": [1]}', "9.90", 1.0),
        (2**62, "D", 1.5, None, None),
    ]
    assert ask(driver, "SELECT id, total FROM orders") == [(1, 4), (2, 5)]


def test_many_rows_are_all_inserted(tmp_path: Path) -> None:
    driver = fill(tmp_path, fixture("users", *({"name": str(n)} for n in range(2500))))

    assert ask(driver, "SELECT count(*), max(id) FROM users") == [(2500, 2500)]


@pytest.mark.parametrize(
    ("rows", "line", "words"),
    [
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], 3, "UNIQUE constraint failed: users.id"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": None}], 3, "NOT NULL constraint failed"),
        ([{"id": 2**63, "name": "a"}], 2, "too large"),
        ([{"id": 1, "nam": "a"}], 2, "no column of table 'users' named 'nam'"),
    ],
)
def test_a_bad_row_is_named(
    tmp_path: Path, rows: list[dict[str, Any]], line: int, words: str
) -> None:
    with pytest.raises(PopulationError, match=words) as caught:
        fill(tmp_path, fixture("users", *rows))

    assert (Path("/shop/users.csv"), line) == (caught.value.file, caught.value.line)
    assert list((tmp_path / "templates").iterdir()) == []


def test_a_reference_to_nothing_names_table_and_row(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match="row 8 of orders refers to a row of Users"):
        fill(tmp_path, fixture("orders", {"id": 8, "user_id": 77}))

    assert list((tmp_path / "templates").iterdir()) == []


@pytest.mark.parametrize(
    ("schema", "line", "words"),
    [
        ("CREATE TABLE t(a);\n\n-- so\n/* and\nso */ CREATE TABLE t(b);", 5, "already exists"),
        ("CREATE TABLE t(a);\nINSERT INTO t VALUES (1;2);", 2, "syntax error"),
        ("CREATE TABLE t(a);\nINSERT INTO t VALUES ('open", 2, "unrecognized token"),
        ("CREATE TABLE t(a);\nROLLBACK;", 2, "ROLLBACK has no place"),
        ("SELECT 1;\nATTACH 'x.db' AS x;", 2, "ATTACH has no place"),
    ],
)
def test_a_bad_statement_is_named(tmp_path: Path, schema: str, line: int, words: str) -> None:
    with pytest.raises(PopulationError, match=words) as caught:
        fill(tmp_path, schema=schema)

    assert (Path("/shop/shop.sql"), line) == (caught.value.file, caught.value.line)
