"""An owner shapes its copy as it likes, and still does not get out of it."""

from pathlib import Path

import pytest

from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from sandbox_sdk.databases.worker.driver import Statement
from tool_plugins.errors import ErrorCode, ToolError

from .shop import Rows, ask, call, denied, do, open_shop, refusal


@pytest.fixture
def driver(tmp_path: Path) -> SqliteDriver:
    return open_shop(tmp_path, "owner")


def test_an_owner_defines_what_it_needs(driver: SqliteDriver) -> None:
    statuses = [
        do(driver, text)[0].status
        for text in (
            "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a)",
            "ALTER TABLE t ADD COLUMN b DEFAULT 2",
            "ALTER TABLE t RENAME COLUMN b TO c",
            "ALTER TABLE t RENAME TO u",
            "CREATE UNIQUE INDEX i ON u(a)",
            "CREATE VIEW v AS SELECT a, c FROM u NATURAL JOIN (SELECT 1 AS a)",
            "CREATE TRIGGER w AFTER INSERT ON u BEGIN INSERT INTO archive VALUES (NEW.a); END",
            "INSERT INTO u(a) VALUES (1), (2)",
            "CREATE TABLE copy AS SELECT * FROM users",
            "CREATE VIRTUAL TABLE docs USING fts5(body)",
            "INSERT INTO docs VALUES ('hello world')",
            "DROP VIEW v",
            "ALTER TABLE u DROP COLUMN c",
            "DROP TRIGGER w",
            "DROP INDEX i",
            "ANALYZE",
            "REINDEX",
            "PRAGMA user_version = 7",
            "DROP TABLE copy",
        )
    ]

    assert statuses[:4] == ["CREATE TABLE", "ALTER TABLE", "ALTER TABLE", "ALTER TABLE"]
    assert statuses[4:8] == ["CREATE INDEX", "CREATE VIEW", "CREATE TRIGGER", "INSERT"]
    assert ask(driver, "SELECT v FROM archive") == [("1",), ("2",)]
    assert ask(driver, "SELECT rowid FROM docs WHERE docs MATCH 'world'") == [(1,)]
    assert ask(driver, "SELECT name FROM pragma_table_info('u') ORDER BY 1") == [("a",), ("id",)]
    assert ask(driver, "PRAGMA user_version") == [(7,)]
    assert ask(driver, "SELECT count(*) FROM sqlite_master WHERE name = 'u'") == [(1,)]
    assert ask(driver, "PRAGMA integrity_check") == [("ok",)]


def test_a_definition_is_undone_with_its_transaction(driver: SqliteDriver) -> None:
    do(driver, "DROP TABLE orders", commit=False)

    assert ask(driver, "SELECT count(*) FROM orders") == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "ATTACH 'evil.db' AS e",
        "DETACH main",
        "PRAGMA writable_schema = 1",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA max_page_count = 1000000",
        "PRAGMA foreign_keys = OFF",
        "PRAGMA trusted_schema = ON",
        "PRAGMA temp_store = FILE",
        "PRAGMA mmap_size = 1000000000",
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA wal_checkpoint",
        "PRAGMA page_size = 512",
        "PRAGMA schema_version = 1",
        "SELECT * FROM pragma_compile_options",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "CREATE TEMP TABLE t(a)",
        "CREATE TABLE temp.t(a)",
        "CREATE VIRTUAL TABLE t USING fts4(a)",
        "CREATE VIRTUAL TABLE t USING fts5vocab(a, row)",
        "CREATE VIRTUAL TABLE temp.t USING fts5(a)",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT a",
    ],
)
def test_an_owner_does_not_get_out(driver: SqliteDriver, query: str) -> None:
    denied(driver, query, write=True)


@pytest.mark.parametrize(
    "query", ["VACUUM", "VACUUM INTO 'evil.db'", "UPDATE sqlite_master SET sql = ''"]
)
def test_what_sqlite_itself_refuses(driver: SqliteDriver, query: str) -> None:
    assert refusal(driver, query, write=True).code == ErrorCode.QUERY_ERROR
    assert not Path("evil.db").exists()


def test_an_owner_does_not_write_in_a_query(driver: SqliteDriver) -> None:
    for query in ("CREATE TABLE t(a)", "DROP TABLE orders", "PRAGMA user_version = 3"):
        denied(driver, query)
        transaction = driver.begin(call(), read_only=False, isolation=None)
        with pytest.raises(ToolError, match="not authorized"):
            transaction.query(call(), Statement(query), Rows())
        transaction.rollback()


def test_a_view_of_an_owner_calls_nothing_foreign(driver: SqliteDriver) -> None:
    do(driver, "CREATE VIEW v AS SELECT load_extension('x') AS a")

    assert "unsafe use of load_extension" in refusal(driver, "SELECT a FROM v").message


def test_a_view_of_what_is_gone_does_no_harm(driver: SqliteDriver) -> None:
    do(driver, "CREATE VIEW v AS SELECT a FROM nothing_there")

    assert "no such table" in refusal(driver, "SELECT a FROM v").message
    assert ask(driver, "SELECT count(*) FROM users") == [(3,)]
    do(driver, "DROP VIEW v")


def test_an_owner_begins_with_nothing_if_nothing_is_given(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "owner", text="")

    do(driver, "CREATE TABLE t(a)")

    assert ask(driver, "SELECT a FROM t") == []
