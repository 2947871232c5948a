"""What a principal that reads some columns of one table cannot reach, and what it can."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from sandbox_sdk.databases.worker.driver import Statement
from tool_plugins.errors import ErrorCode

from .shop import SHOP, ask, call, denied, do, open_shop, refusal

ACCESS = {"tables": {"users": {"select": ["id", "name"]}, "archive": "read", "joined": "read"}}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteDriver]:
    driver = open_shop(tmp_path_factory.mktemp("reading"), ACCESS)
    yield driver
    driver.close()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM users",
        "SELECT ssn FROM users",
        "SeLeCt sSn FROM USERS",
        "SELECT ssn/**/FROM/**/users",
        'SELECT "ssn" FROM "users"',
        "SELECT main.users.ssn FROM main.users",
        "SELECT name FROM users WHERE ssn LIKE '1%'",
        "SELECT name FROM users ORDER BY ssn",
        "SELECT count(*) FROM users GROUP BY ssn",
        "SELECT 1 FROM users GROUP BY id HAVING max(ssn) > ''",
        "SELECT count(*) FILTER (WHERE ssn = '111') FROM users",
        "SELECT sum(1) OVER (ORDER BY ssn) FROM users",
        "SELECT name FROM users WHERE id IN (SELECT id FROM users WHERE ssn = '111')",
        "SELECT (SELECT ssn FROM users LIMIT 1)",
        "WITH u AS (SELECT ssn FROM users) SELECT * FROM u",
        "WITH secrets AS (SELECT v FROM secret) SELECT * FROM secrets",
        "WITH spread AS (SELECT v FROM secret) SELECT * FROM spread",
        "SELECT a.name FROM users a JOIN users b ON a.ssn = b.ssn",
        "SELECT name FROM users LIMIT (SELECT ssn FROM users LIMIT 1)",
        "SELECT group_concat(ssn) FROM users",
        "EXPLAIN SELECT ssn FROM users",
        "EXPLAIN QUERY PLAN SELECT ssn FROM users",
        "SELECT * FROM secret",
        "SELECT count(*) FROM secret",
        "SELECT 1 FROM secret",
        "SELECT EXISTS (SELECT 1 FROM secret)",
        "SELECT 'top' IN secret",
        "VALUES ((SELECT v FROM secret))",
        "SELECT 1 UNION SELECT v FROM secret",
        "SELECT * FROM secrets",
        "SELECT name FROM joined",
        "SELECT value FROM json_each((SELECT json_array(v) FROM secret))",
    ],
)
def test_a_withheld_column_or_table_is_refused_wherever_it_stands(
    driver: SqliteDriver, query: str
) -> None:
    assert "may not be read" in denied(driver, query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ssn FROM users FULL JOIN (SELECT 1 AS ssn) USING (ssn)",
        "SELECT count(*) FROM users NATURAL JOIN (SELECT '111' AS ssn)",
        "SELECT 1 FROM secret NaTuRaL JOIN (SELECT 'top' AS v)",
        "SELECT 1 FROM secret/**/NATURAL/**/JOIN(SELECT 'top' AS v)",
        "SELECT 1 FROM users JOIN (SELECT 1 AS ssn)USING(ssn)",
        "SELECT 1 FROM users JOIN (SELECT '111' AS ssn)\ufeffUSING\ufeff(ssn)",
        "WITH RECURSIVE r(v) AS (SELECT 'top' UNION ALL SELECT r.v FROM r NATURAL JOIN secret) "
        "SELECT * FROM r LIMIT 3",
    ],
)
def test_joins_that_sqlite_does_not_check_are_refused(driver: SqliteDriver, query: str) -> None:
    assert "may not occur" in denied(driver, query)


def test_such_joins_are_free_to_those_who_may_read_everything(tmp_path: Path) -> None:
    driver = open_shop(tmp_path, "read")

    assert ask(driver, "SELECT name FROM joined") == [("Ann",)]
    assert ask(driver, "SELECT count(*) FROM users NATURAL JOIN (SELECT '111' AS ssn)") == [(1,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT sql FROM sqlite_master",
        "SELECT * FROM sqlite_schema",
        "SELECT * FROM sqlite_temp_master",
        "PRAGMA table_info(users)",
        "PRAGMA query_only=0",
        "PRAGMA writable_schema=1",
        "PRAGMA trusted_schema=1",
        "PRAGMA temp_store_directory='/tmp'",
        "SELECT * FROM pragma_table_info('users')",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_stmt",
        "ATTACH 'evil.db' AS e",
        "ATTACH 'file:data.db?mode=rw' AS w",
        "DETACH main",
        "SELECT load_extension('evil')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT sqlite_log(1, 'x')",
        "SELECT total_changes()",
        "BEGIN",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "RELEASE a",
        "CREATE TABLE t(a)",
        "CREATE TEMP TABLE t(a)",
        "CREATE TEMP VIEW v AS SELECT * FROM secret",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "DROP TABLE users",
        "ALTER TABLE users ADD COLUMN c",
        "CREATE INDEX i ON users(ssn)",
        "ANALYZE",
        "REINDEX",
        "INSERT INTO archive VALUES ('x')",
        "REPLACE INTO archive VALUES ('x')",
        "UPDATE archive SET v = 'x'",
        "DELETE FROM archive",
        "WITH x AS (SELECT 1) DELETE FROM archive",
        "INSERT INTO archive SELECT 'x' RETURNING v",
        "UPDATE sqlite_master SET sql = ''",
    ],
)
@pytest.mark.parametrize("write", [False, True], ids=["query", "execute"])
def test_nothing_but_reading_is_allowed(driver: SqliteDriver, query: str, write: bool) -> None:
    error = refusal(driver, query, write=write)

    # SQLite refuses to touch its own schema table whatever the rules say.
    own = "sqlite_master may not be modified" in error.message
    assert own or error.code == ErrorCode.PERMISSION_DENIED, error.message


@pytest.mark.parametrize(
    "query",
    ["VACUUM", "VACUUM INTO 'evil.db'", "SELECT readfile('/etc/passwd')", "SELECT edit('x')"],
)
def test_what_leaves_the_database_fails(driver: SqliteDriver, query: str, tmp_path: Path) -> None:
    assert refusal(driver, query).code == ErrorCode.QUERY_ERROR
    assert not Path("evil.db").exists()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; DROP TABLE users",
        "SELECT 1;SELECT 2",
        "COMMIT; SELECT 1",
        "SELECT 1 --\n;DROP TABLE users",
    ],
)
def test_one_statement_at_a_time(driver: SqliteDriver, query: str) -> None:
    assert refusal(driver, query).code in (ErrorCode.QUERY_ERROR, ErrorCode.PERMISSION_DENIED)
    assert ask(driver, "SELECT count(*) FROM users") == [(3,)]


@pytest.mark.parametrize(
    "query", ["", " ", ";", "-- nothing", "/* nothing */", "SELECT\u00a01\u200b"]
)
def test_text_without_a_statement_is_an_error(driver: SqliteDriver, query: str) -> None:
    assert refusal(driver, query).code == ErrorCode.QUERY_ERROR


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT id, name FROM users WHERE id = 1", [(1, "Ann")]),
        ("SELECT count(*) FROM users", [(3,)]),
        ("SELECT a.name FROM users a JOIN users b ON a.id = b.id + 1", [("Bob",), ("Eve",)]),
        ("WITH u AS (SELECT name FROM users) SELECT max(name) FROM u", [("Eve",)]),
        ("SELECT rowid FROM users LIMIT 1", [(1,)]),
        ("SELECT value FROM json_each('[7]')", [(7,)]),
        ("SELECT * FROM archive", []),
        ("SELECT upper('a') || json_extract('{\"a\":1}', '$.a')", [("A1",)]),
        ("SELECT 1;", [(1,)]),
        ("SELECT '$tag$;drop' AS housing_used", [("$tag$;drop",)]),
        (
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r LIMIT 3) "
            "SELECT n FROM r",
            [(1,), (2,), (3,)],
        ),
    ],
)
def test_what_is_allowed_works(driver: SqliteDriver, query: str, expected: list[object]) -> None:
    assert expected == ask(driver, query)


def test_a_refusal_says_what_is_allowed(driver: SqliteDriver) -> None:
    error = refusal(driver, "SELECT ssn FROM users")

    assert error.message.startswith("access to users.ssn is prohibited")
    assert "users: select (id, name)" in error.hint
    assert "secret" not in error.hint


def test_the_drivers_own_statements_are_no_way_in(driver: SqliteDriver) -> None:
    """The driver runs COMMIT and ROLLBACK itself; the same text of a model is compiled anew."""
    transaction = driver.begin(call(), read_only=True, isolation=None)
    transaction.commit(call())

    for text in ("BEGIN DEFERRED", "COMMIT", "ROLLBACK"):
        denied(driver, text)


def test_names_of_guards_are_refused_though_known(tmp_path: Path) -> None:
    """EXPLAIN shows them; a CTE of that name would pass for a guard."""
    access = {"default": "none", "tables": {"archive": "write", "notes": {"insert": ["m"]}}}
    driver = open_shop(tmp_path, access)
    _, rows = do(driver, "EXPLAIN INSERT INTO archive VALUES ('x')", commit=False)
    names = {
        str(cell).removeprefix("-- TRIGGER ")
        for row in rows
        for cell in row
        if str(cell).startswith("-- TRIGGER guard_")
    }

    assert names
    for name in names:
        message = denied(driver, f'WITH "{name}" AS (SELECT v FROM secret) SELECT * FROM "{name}"')
        assert "internal object" in message


def test_a_plan_is_made_under_the_same_rules(driver: SqliteDriver) -> None:
    transaction = driver.begin(call(), read_only=True, isolation=None)

    plan = transaction.explain(call(), Statement("SELECT name FROM users WHERE id = $1"))
    assert plan == "SEARCH users USING INTEGER PRIMARY KEY (rowid=?)"
    for text in ("SELECT ssn FROM users", "DELETE FROM users", "PRAGMA user_version=3"):
        with pytest.raises(Exception, match=r"prohibited|not authorized"):
            transaction.explain(call(), Statement(text))
    transaction.rollback()


def test_full_text_search_is_all_or_nothing(tmp_path: Path) -> None:
    text = (
        SHOP
        + "CREATE VIRTUAL TABLE docs USING fts5(body, hidden);"
        + ("INSERT INTO docs VALUES ('hello world', 'x');")
    )
    reader = open_shop(tmp_path, {"tables": {"docs": "read"}}, text=text)

    assert ask(reader, "SELECT body FROM docs WHERE docs MATCH 'hello'") == [("hello world",)]
    assert ask(reader, "SELECT highlight(docs, 0, '<b>', '</b>') FROM docs('world')") == [
        ("hello <b>world</b>",)
    ]
    denied(reader, "INSERT INTO docs VALUES ('a', 'b')", write=True)
    stranger = open_shop(tmp_path, {"tables": {"users": "read"}}, text=text, sandbox="b")
    denied(stranger, "SELECT body FROM docs WHERE docs MATCH 'hello'")
    denied(stranger, "SELECT c0 FROM docs_content")
