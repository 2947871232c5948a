"""Filling an SQL database: what comes when, what is refused, what is reported."""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import PopulationError, Row, Script
from sandbox_sdk.databases.population.load import load_population
from sandbox_sdk.databases.population.seeding import SqlTarget, seed

SCHEMA = """\
CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT DEFAULT 'nobody', boss INT REFERENCES users);
CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id INT NOT NULL REFERENCES users);
CREATE TABLE parts (id INTEGER PRIMARY KEY, order_id INT NOT NULL REFERENCES orders);
CREATE TABLE husbands (id INTEGER PRIMARY KEY, wife INT REFERENCES wives DEFERRABLE);
CREATE TABLE wives (id INTEGER PRIMARY KEY, husband INT REFERENCES husbands DEFERRABLE);
"""


class Target(SqlTarget):
    """A database of SQLite that holds foreign keys, and remembers what was asked of it."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.execute("PRAGMA foreign_keys = ON")
        self.log: list[str] = []

    def ask(self, statement: str) -> list[Any]:
        return self.connection.execute(statement).fetchall()

    def run(self, script: Script) -> None:
        self.log.append(f"run {script.text.split()[0]}")
        self.connection.executescript(script.text)

    def canonical(self, table: str) -> str:
        return table.removeprefix("main.").lower()

    def dependencies(self) -> dict[str, set[str]]:
        tables = [
            name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE sql LIKE '%T%'")
        ]
        return {
            table: {row[2] for row in self.ask(f"PRAGMA foreign_key_list({table})")}
            for table in tables
        }

    def columns(self, table: str) -> tuple[str, ...]:
        return tuple(row[1] for row in self.ask(f"PRAGMA table_info({table})"))

    def insert(self, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> int:
        values = [tuple(row.values[column] for column in columns) for row in rows]
        self.log.append(f"{table}({', '.join(columns)}) {len(values)}")
        marks = ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"
        self.connection.executemany(statement, values)
        return len(values)


Fill = Callable[..., Target]


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.connection.close()


@pytest.fixture
def fill(tmp_path: Path, target: Target) -> Fill:
    """Fills a database with fixtures as they are written in a population file."""

    def fill(fixtures: str, report: Callable[[str], None] = print, **options: Any) -> Target:
        (tmp_path / "schema.sql").write_text(SCHEMA)
        (tmp_path / "later.sql").write_text("UPDATE users SET name = upper(name)")
        (tmp_path / "new.sql").write_text(
            "CREATE TABLE late (id INT REFERENCES later_still);\n"
            "CREATE TABLE later_still (id INTEGER PRIMARY KEY);"
        )
        (tmp_path / "p.yaml").write_text(
            f"databases:\n  shop:\n    schema: schema.sql\n    fixtures:\n{fixtures}"
        )
        population = load_population(tmp_path / "p.yaml", {"shop": "sqlite"})["shop"]
        seed(population, target, report, **options)
        return target

    return fill


USERS = "      - {table: users, rows: [{id: 1, name: Ada}]}\n"
ORDERS = "      - {table: orders, rows: [{id: 1, user_id: 1}]}\n"
PARTS = "      - {table: parts, rows: [{id: 1, order_id: 1}]}\n"


def test_a_table_is_filled_after_those_it_refers_to(fill: Fill) -> None:
    target = fill(PARTS + ORDERS + USERS)

    assert target.log == [
        "run CREATE",
        "users(id, name) 1",
        "orders(id, user_id) 1",
        "parts(id, order_id) 1",
    ]
    assert target.ask("SELECT parts.id FROM parts JOIN orders ON order_id = orders.id") == [(1,)]


def test_fixtures_of_one_table_keep_their_order(fill: Fill) -> None:
    more = "      - {table: main.Users, rows: [{id: 2, boss: 1}]}\n"

    target = fill(USERS + ORDERS + more)

    assert target.log[1:] == ["users(id, name) 1", "users(id, boss) 1", "orders(id, user_id) 1"]


def test_tables_that_refer_to_each_other_keep_the_order_of_the_file(fill: Fill) -> None:
    target = fill(
        "      - {table: wives, rows: [{id: 1}]}\n"
        "      - {table: husbands, rows: [{id: 1, wife: 1}]}\n"
    )

    assert target.log[1:] == ["wives(id) 1", "husbands(id, wife) 1"]


def test_a_script_among_the_fixtures_divides_them(fill: Fill) -> None:
    target = fill(
        USERS
        + "      - {file: later.sql}\n"
        + ORDERS
        + "      - {table: users, rows: [{id: 2, name: Bob}]}\n"
    )

    assert target.log[1:] == [
        "users(id, name) 1",
        "run UPDATE",
        "users(id, name) 1",
        "orders(id, user_id) 1",
    ]
    assert target.ask("SELECT name FROM users") == [("ADA",), ("Bob",)]


def test_tables_that_a_script_among_the_fixtures_makes_are_there_after_it(fill: Fill) -> None:
    target = fill(
        "      - {file: new.sql}\n"
        "      - {file: later.sql}\n"
        "      - {table: late, rows: [{id: 1}]}\n"
        "      - {table: later_still, rows: [{id: 1}]}\n"
    )

    assert target.log[1:] == ["run CREATE", "run UPDATE", "later_still(id) 1", "late(id) 1"]


def test_scripts_run_before_and_after(fill: Fill) -> None:
    target = fill(USERS + "    after: [later.sql, 'DELETE FROM orders;']\n")

    assert target.log == ["run CREATE", "users(id, name) 1", "run UPDATE", "run DELETE"]


def test_a_column_that_a_row_does_not_give_gets_its_default(fill: Fill) -> None:
    target = fill(
        "      - table: users\n"
        "        rows: [{id: 1}, {name: ~, id: 2}, {id: 3, name: C}, {id: 4, boss: 3}]\n"
    )

    assert target.ask("SELECT id, name, boss FROM users") == [
        (1, "nobody", None),
        (2, None, None),
        (3, "C", None),
        (4, "nobody", 3),
    ]
    assert target.log[1:] == ["users(id) 1", "users(id, name) 2", "users(id, boss) 1"]


@pytest.mark.parametrize(
    ("fixtures", "line", "reason"),
    [
        (
            USERS + ORDERS.replace("orders", "ordres"),
            6,
            "no table named 'ordres' (did you mean 'orders'?)",
        ),
        (
            USERS.replace("name", "nmae"),
            5,
            "no column of table 'users' named 'nmae' (did you mean 'name'?)",
        ),
        (
            "      - table: users\n        rows:\n          - {id: 1}\n          - {id: 2, x: 1}\n",
            8,
            "no column of table 'users' named 'x'",
        ),
        (
            "      - {table: late, rows: [{id: 1}]}\n      - {file: new.sql}\n",
            5,
            "no table named 'late'",
        ),
    ],
    ids=["table", "column", "column of a later row", "table made later"],
)
def test_what_is_not_there_is_named_with_its_line(
    fill: Fill, tmp_path: Path, fixtures: str, line: int, reason: str
) -> None:
    with pytest.raises(PopulationError) as error:
        fill(fixtures)

    assert str(error.value).startswith(f"{tmp_path / 'p.yaml'}:{line}: ")
    assert reason in str(error.value)


def test_no_row_is_inserted_if_a_table_is_not_there(fill: Fill, target: Target) -> None:
    with pytest.raises(PopulationError):
        fill(USERS + "      - {table: nothing, rows: [{id: 1}]}\n")

    assert target.log == ["run CREATE"]


def test_a_bad_line_of_a_file_is_named(fill: Fill, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("id,name\n1,Ada\n2\n")

    with pytest.raises(PopulationError, match=r"users\.csv:3: has 1 cells"):
        fill("      - {table: users, file: users.csv}\n")


def test_a_column_of_a_file_that_is_not_there_is_named(fill: Fill, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("id,nmae\n1,Ada\n")

    with pytest.raises(PopulationError, match=r"users\.csv:2: .*'nmae' \(did you mean 'name'\?\)"):
        fill("      - {table: users, file: users.csv}\n")


def test_progress_is_reported_about_every_second(fill: Fill, tmp_path: Path) -> None:
    ticks = count(step=0.0009)  # two looks at the clock in a row are almost 1 ms apart
    rows = "".join(f"{n:04},Ada\n" for n in range(2500))
    (tmp_path / "users.csv").write_text("id,name\n" + rows)
    lines: list[str] = []

    target = fill(
        USERS.replace("1", "9999") + "      - {table: users, file: users.csv}\n",
        lines.append,
        clock=lambda: next(ticks),
    )

    assert lines == [
        "shop: users 1,112 rows, 44 %",
        "shop: users 2,224 rows, 88 %",
        "shop: users 2,500 rows, done",
    ]
    assert target.log[1:] == ["users(id, name) 1", "users(id, name) 2500"]


def test_rows_without_a_file_are_reported_without_a_share(fill: Fill) -> None:
    ticks = count(step=2)
    lines: list[str] = []

    fill(USERS, lines.append, clock=lambda: next(ticks))

    assert lines == ["shop: users 1 rows", "shop: users 1 rows, done"]
