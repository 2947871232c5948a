"""What a principal that may write some columns, tables or rows cannot do, and what it can."""

import sqlite3
from pathlib import Path

import pytest

from sandbox_sdk.databases.sqlite.driver import SqliteDriver

from .shop import SHOP, ask, denied, do, open_shop, refusal

ACCESS = {
    "tables": {
        "users": {"select": ["id"]},
        "orders": {"select": "*", "insert": ["user_id", "total"], "update": ["status"]},
        "archive": "write",
        "users_archive": "write",
        "notes": {"insert": True},
    }
}


@pytest.fixture
def driver(tmp_path: Path) -> SqliteDriver:
    return open_shop(tmp_path, ACCESS)


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO orders(id, user_id) VALUES (77, 1)",
        "INSERT INTO orders(id, user_id) VALUES (-1, 1)",
        "INSERT INTO orders(rowid, user_id) VALUES (77, 1)",
        "INSERT INTO orders(user_id, status) VALUES (1, 'paid')",
        "INSERT INTO orders(user_id, status) VALUES (1, NULL)",
        "INSERT INTO orders(user_id, status) VALUES (1, 'NEW')",
        "INSERT INTO orders(user_id, code) VALUES (1, 8)",
        "INSERT INTO orders(user_id, made) VALUES (1, '2020-01-01 00:00:00')",
        "INSERT INTO orders SELECT 9, 1, 1, 'paid', 9, NULL",
        "INSERT INTO orders(user_id, status) VALUES (1, 'x') ON CONFLICT DO NOTHING",
        "INSERT INTO orders(id) VALUES (1) ON CONFLICT(id) DO UPDATE SET total = 0",
        "UPDATE orders SET total = 0",
        "UPDATE orders SET status = 'x', total = 0",
        "UPDATE orders SET (status, total) = ('x', 0)",
        "UPDATE orders SET id = 5 WHERE id = 1",
        "UPDATE orders SET rowid = 5 WHERE id = 1",
        "UPDATE orders SET status = (SELECT v FROM secret)",
        "UPDATE orders SET status = secret.v FROM secret",
        "UPDATE orders SET status = 'x' WHERE (SELECT v FROM secret) = 'top'",
        "DELETE FROM orders",
        "WITH x AS (SELECT 1) DELETE FROM orders",
        "DELETE FROM users",
        "INSERT INTO users(id, name) VALUES (9, 'x')",
        "INSERT INTO archive VALUES ('x') RETURNING (SELECT v FROM secret)",
        "INSERT INTO archive SELECT v FROM secret",
        "CREATE TABLE archive2 AS SELECT * FROM secret",
        "DROP TABLE archive",
        "REINDEX",
        "REINDEX orders",
        "ANALYZE archive",
        "ALTER TABLE archive RENAME TO b",
        "CREATE TRIGGER t AFTER INSERT ON archive BEGIN INSERT INTO secret VALUES (1); END",
    ],
)
def test_a_write_beyond_the_rules_is_refused(driver: SqliteDriver, query: str) -> None:
    denied(driver, query, write=True)

    assert ask(driver, "SELECT count(*), group_concat(status) FROM orders") == [(2, "new,new")]


@pytest.mark.parametrize(
    "target", ["archive SELECT * FROM secret", "users_archive SELECT * FROM users"]
)
def test_a_block_copy_from_a_withheld_table_is_refused(driver: SqliteDriver, target: str) -> None:
    """SQLite does not ask about its columns unless the target has a trigger."""
    assert "prohibited" in denied(driver, f"INSERT INTO {target}", write=True)


@pytest.mark.parametrize(
    "query",
    [
        "INSERT OR REPLACE INTO orders(user_id, total) VALUES (1, 1)",
        "REPLACE INTO orders(user_id, total) VALUES (1, 1)",
    ],
)
def test_rows_are_not_replaced_without_leave_to_delete(tmp_path: Path, query: str) -> None:
    text = SHOP + "INSERT INTO orders(id, user_id) VALUES (9, 1);"  # code 7, as the default

    driver = open_shop(tmp_path, ACCESS, text=text)

    assert "would delete" in denied(driver, query, write=True)
    assert ask(driver, "SELECT count(*) FROM orders") == [(3,)]


def test_an_update_does_not_replace_rows_either(tmp_path: Path) -> None:
    text = "CREATE TABLE t(id INTEGER PRIMARY KEY, x UNIQUE); INSERT INTO t VALUES (1, 1), (2, 2);"
    query = "UPDATE OR REPLACE t SET x = 1 WHERE id = 2"
    narrow = open_shop(tmp_path, {"tables": {"t": {"select": True, "update": True}}}, text=text)
    wide = open_shop(tmp_path, "write", text=text, sandbox="b")

    denied(narrow, query, write=True)
    do(wide, query)

    assert ask(narrow, "SELECT * FROM t") == [(1, 1), (2, 2)]
    assert ask(wide, "SELECT * FROM t") == [(2, 1)]


def test_what_is_allowed_works(driver: SqliteDriver) -> None:
    done, rows = do(driver, "INSERT INTO orders(user_id, total) VALUES (1, 5) RETURNING id, code")

    assert (done.status, done.rows_affected, rows) == ("INSERT", 1, [(201 - 198, 7)])
    done, _ = do(driver, "UPDATE orders SET status = 'paid' WHERE total > 6")
    assert (done.status, done.rows_affected) == ("UPDATE", 2)
    do(driver, "INSERT INTO archive SELECT status FROM orders")
    done, rows = do(driver, "WITH x AS (SELECT 1) DELETE FROM archive RETURNING v")
    assert (done.status, done.rows_affected, len(rows)) == ("DELETE", 3, 3)
    done, _ = do(
        driver, "INSERT INTO users_archive VALUES (1, 'a', 's', 't') ON CONFLICT(id) DO NOTHING"
    )
    assert done.rows_affected == 1


def test_a_trigger_gives_no_rights_its_user_lacks(driver: SqliteDriver, tmp_path: Path) -> None:
    denied(driver, "INSERT INTO notes VALUES ('x')", write=True)
    everything = open_shop(tmp_path, "write", sandbox="b")

    do(everything, "INSERT INTO notes VALUES ('x')")

    assert ask(everything, "SELECT v FROM secret") == [("top",), ("x",)]


def test_deleting_what_others_refer_to_needs_leave_for_those(tmp_path: Path) -> None:
    narrow = {"tables": {"users": "write", "orders": "read"}}

    denied(open_shop(tmp_path, narrow), "DELETE FROM users WHERE id = 1", write=True)
    wide = open_shop(tmp_path, "write", sandbox="b")
    do(wide, "DELETE FROM users WHERE id = 1")

    assert ask(wide, "SELECT count(*) FROM orders") == [(1,)]


def test_what_writes_is_refused_in_a_query(driver: SqliteDriver) -> None:
    denied(driver, "INSERT INTO archive VALUES ('x')")
    denied(driver, "WITH x AS (SELECT 1) INSERT INTO archive SELECT 'x' RETURNING v")


@pytest.mark.parametrize("given", ["'NEW'", "' new'", "x'6e6577'", "NULL", "1"])
def test_only_the_default_itself_is_no_value(tmp_path: Path, given: str) -> None:
    text = "CREATE TABLE t(a, s TEXT DEFAULT 'new' COLLATE NOCASE);"
    driver = open_shop(tmp_path, {"tables": {"t": {"select": True, "insert": ["a"]}}}, text=text)

    denied(driver, f"INSERT INTO t(a, s) VALUES (1, {given})", write=True)
    do(driver, "INSERT INTO t(a, s) VALUES (1, 'new')")
    do(driver, "INSERT INTO t(a) VALUES (1)")

    assert ask(driver, "SELECT s FROM t") == [("new",), ("new",)]


@pytest.mark.parametrize("number", [5, -1, 2**62])
def test_a_row_number_is_the_engines_to_choose(tmp_path: Path, number: int) -> None:
    text = "CREATE TABLE log(line TEXT, level INTEGER DEFAULT 1);"
    driver = open_shop(tmp_path, {"tables": {"log": {"insert": ["line"]}}}, text=text)

    denied(driver, f"INSERT INTO log(rowid, line) VALUES ({number}, 'x')", write=True)
    assert do(driver, "INSERT INTO log(line) VALUES ('x')")[0].rows_affected == 1


ROWS = {"select": True, "insert": True, "update": True, "delete": True, "rows": "tenant = 'acme'"}


def test_rows_outside_of_the_condition_are_not_in_the_copy(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, {"default": "write", "tables": {"users": ROWS}})

    assert ask(driver, "SELECT id FROM users") == [(1,), (2,)]
    file = tmp_path / "copies" / "a" / "shop" / "data.db"
    assert b"Eve" not in file.read_bytes()
    with sqlite3.connect(next(tmp_path.glob("templates/*.db"))) as template:
        assert template.execute("SELECT count(*) FROM users").fetchall() == [(3,)]
    template.close()


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO users VALUES (9, 'Zed', '9', 'evil')",
        "INSERT INTO users(id, name) VALUES (9, 'Zed')",
        "INSERT OR IGNORE INTO users VALUES (9, 'Zed', '9', 'evil')",
        "INSERT OR REPLACE INTO users VALUES (1, 'Zed', '9', 'evil')",
        "INSERT INTO users VALUES (1, 'Z', '9', 'acme') ON CONFLICT(id) DO UPDATE SET tenant = 'b'",
        "UPDATE users SET tenant = 'evil'",
        "UPDATE OR IGNORE users SET tenant = NULL WHERE id = 1",
    ],
)
def test_rows_outside_of_the_condition_cannot_be_written(tmp_path: Path, query: str) -> None:
    driver = open_shop(tmp_path, {"default": "write", "tables": {"users": ROWS}})

    assert "outside" in denied(driver, query, write=True)
    assert ask(driver, "SELECT name, tenant FROM users") == [("Ann", "acme"), ("Bob", "acme")]


def test_rows_within_the_condition_are_written(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, {"default": "write", "tables": {"users": ROWS}})

    do(driver, "INSERT INTO users VALUES (9, 'Zed', '9', 'acme')")
    do(driver, "UPDATE users SET name = 'Zoe' WHERE id = 9")
    do(driver, "DELETE FROM users WHERE id = 1")

    assert ask(driver, "SELECT name FROM users ORDER BY id") == [("Bob",), ("Zoe",)]


def test_a_row_for_which_the_condition_is_unknown_is_withheld(tmp_path: Path) -> None:
    text = SHOP + "INSERT INTO users VALUES (4, 'Nil', '444', NULL);"
    driver = open_shop(tmp_path, {"tables": {"users": ROWS}}, text=text)

    assert ask(driver, "SELECT id FROM users") == [(1,), (2,)]
    assert "outside" in denied(driver, "UPDATE users SET tenant = NULL", write=True)


def test_a_condition_may_look_at_another_table_that_is_filtered_too(tmp_path: Path) -> None:
    orders = {"select": True, "rows": "user_id IN (SELECT id FROM users WHERE tenant <> 'evil')"}
    users = {"select": True, "rows": "id > 1"}

    driver = open_shop(tmp_path, {"tables": {"users": users, "orders": orders}})

    assert ask(driver, "SELECT id FROM users") == [(2,), (3,)]
    assert ask(driver, "SELECT id FROM orders") == [(1,), (2,)]


def test_a_deleted_row_wakes_no_trigger_of_the_schema(tmp_path: Path) -> None:
    text = SHOP + (
        "CREATE TRIGGER gone AFTER DELETE ON users BEGIN INSERT INTO archive VALUES (OLD.ssn); END;"
    )

    driver = open_shop(tmp_path, {"default": "write", "tables": {"users": ROWS}}, text=text)

    assert ask(driver, "SELECT v FROM archive") == []
    do(driver, "DELETE FROM users WHERE id = 2")
    assert ask(driver, "SELECT v FROM archive") == [("222",)]


def test_bad_statements_leave_things_as_they_were(driver: SqliteDriver) -> None:
    before = ask(driver, "SELECT * FROM orders")

    refusal(driver, "INSERT INTO orders(user_id, total) VALUES (1, 1), (99, 1)", write=True)

    assert before == ask(driver, "SELECT * FROM orders")
