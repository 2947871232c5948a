"""Templates, copies and shared files: made once, complete or not there, dropped without a trace."""

import asyncio
import multiprocessing
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sandbox_sdk.databases.population.contents import PopulationError
from sandbox_sdk.databases.sqlite import template
from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from tool_plugins.errors import ConfigurationError, EngineError, ToolError

from .shop import SHOP, ask, denied, do, open_shop, population, provisioner, refusal

TABLE = "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t VALUES (1, 'first');"


def files(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def test_copies_know_nothing_of_each_other(tmp_path: Path) -> None:
    one, two = (open_shop(tmp_path, "owner", text=TABLE, sandbox=each) for each in "ab")

    do(one, "DELETE FROM t")
    do(one, "CREATE TABLE only_here(a)")

    assert ask(two, "SELECT count(*) FROM t") == [(1,)]
    assert "no such table" in refusal(two, "SELECT * FROM only_here").message
    assert ask(open_shop(tmp_path, "owner", text=TABLE, sandbox="c"), "SELECT id FROM t") == [(1,)]
    assert len(list((tmp_path / "templates").glob("*.db"))) == 1


def test_a_copy_is_found_again_and_dropped_without_a_trace(tmp_path: Path) -> None:
    async def scenario() -> None:
        made = provisioner(tmp_path, "write", population(TABLE))
        await made.open()
        driver = SqliteDriver((await made.create("a", made.database.access)).settings)
        do(driver, "INSERT INTO t VALUES (2, 'mine')")
        again = SqliteDriver((await made.create("a", made.database.access)).settings)
        await made.create("b", made.database.access)
        assert {"data.db", "rows.json"} == files(tmp_path / "copies" / "b" / "shop")

        assert ask(again, "SELECT count(*) FROM t") == [(2,)]
        assert {"a", "b"} == await made.copies()
        mode = (tmp_path / "copies" / "a" / "shop" / "data.db").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600

        await made.terminate("a")
        assert ask(again, "SELECT count(*) FROM t") == [(2,)]
        await made.drop("a")
        await made.drop("a")

        assert {"b"} == await made.copies()
        assert not any(name.startswith("copies/a/") for name in files(tmp_path))
        fresh = SqliteDriver((await made.create("a", made.database.access)).settings)
        assert ask(fresh, "SELECT count(*) FROM t") == [(1,)]
        await made.aclose()

    asyncio.run(scenario())


def _open(folder: str, barrier: Any, answers: Any) -> None:
    barrier.wait(30)
    driver = open_shop(Path(folder), "read", text=SHOP, sandbox=f"s{os.getpid()}")
    answers.put(ask(driver, "SELECT count(*) FROM users"))


def test_processes_that_start_at_once_share_one_template(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_open, args=(str(tmp_path), barrier, answers)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)

    assert found == [[(3,)]] * 3
    assert len(list((tmp_path / "templates").iterdir())) == 1


def test_a_build_that_dies_leaves_no_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        monkeypatch.setattr(template, "seed", lambda *_: os._exit(9))
        open_shop(tmp_path, "read", text=TABLE)

    process = multiprocessing.get_context("fork").Process(target=die)
    process.start()
    process.join(30)

    assert process.exitcode == 9
    assert list((tmp_path / "templates").glob("*.db")) == []
    assert ask(open_shop(tmp_path, "read", text=TABLE), "SELECT count(*) FROM t") == [(1,)]
    assert len(list((tmp_path / "templates").iterdir())) == 1


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(template, "_copy_bytes", fail)
    with pytest.raises(EngineError, match="No space left"):
        open_shop(tmp_path, "read", text=TABLE)
    assert not any(name.startswith("copies") for name in files(tmp_path))

    monkeypatch.undo()
    assert ask(open_shop(tmp_path, "read", text=TABLE), "SELECT count(*) FROM t") == [(1,)]


def test_another_population_is_another_template(tmp_path: Path) -> None:
    one = open_shop(tmp_path, "read", text=TABLE)
    two = open_shop(tmp_path, "read", text=TABLE + "INSERT INTO t VALUES (2, 'x');", sandbox="b")

    assert tuple(ask(each, "SELECT count(*) FROM t") for each in (one, two)) == ([(1,)], [(2,)])


def own_file(folder: Path) -> Path:
    path = folder / "own.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLE)
    return path


def test_an_operators_file_is_where_copies_start_from(tmp_path: Path) -> None:
    path = own_file(tmp_path)

    def count(sandbox: str, text: str = "") -> Any:
        driver = open_shop(tmp_path, "write", text=text, sandbox=sandbox, path=path)
        do(driver, "INSERT INTO t(v) VALUES ('mine')")
        return ask(driver, "SELECT count(*) FROM t")[0][0]

    assert count("a") == 2
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1,)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("INSERT INTO t(v) VALUES ('in the log')")
        connection.commit()
        assert count("b") == 3
        assert count("c", "INSERT INTO t(v) VALUES ('population');") == 4


def test_a_file_that_is_not_there_or_no_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no file"):
        open_shop(tmp_path, "read", path=tmp_path / "none.db")

    (tmp_path / "text.db").write_text("not a database at all, but text" * 100)
    with pytest.raises(EngineError, match="not a database"):
        open_shop(tmp_path, "read", path=tmp_path / "text.db")
    assert list((tmp_path / "templates").glob("*.db")) == []


def test_a_template_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    text = "CREATE TABLE b(v); INSERT INTO b VALUES (zeroblob(2000000));"

    with pytest.raises(ConfigurationError, match="more than its limit of 1 MB"):
        open_shop(tmp_path, "read", text=text, limits={"size_mb": 1})

    open_shop(tmp_path, "read", text=text, limits={"size_mb": 3})


ROWS = {"select": True, "rows": "tenant = 'acme'"}


def shared(folder: Path, access: Any, sandbox: str = "a") -> SqliteDriver:
    path = folder / "shared.db"
    return open_shop(folder, access, isolation="shared", path=path, sandbox=sandbox)


def test_a_shared_file_is_made_once_and_seen_by_all(tmp_path: Path) -> None:
    one, two = (shared(tmp_path, "write", each) for each in "ab")

    do(one, "INSERT INTO archive VALUES ('from one')")

    assert ask(two, "SELECT v FROM archive") == [("from one",)]
    assert ask(shared(tmp_path, "read", "c"), "SELECT v FROM archive") == [("from one",)]
    denied(shared(tmp_path, "read", "c"), "DELETE FROM archive", write=True)

    made = provisioner(tmp_path, "read", isolation="shared", path=tmp_path / "shared.db")
    asyncio.run(made.drop("a"))
    assert set() == asyncio.run(made.copies())
    assert ask(two, "SELECT v FROM archive") == [("from one",)]


def test_a_table_made_later_is_read_at_once_and_written_by_new_connections(tmp_path: Path) -> None:
    """The guards of an open connection do not know it; a block copy into it would go unseen."""
    driver = shared(tmp_path, {"default": "write", "tables": {"secret": "none"}})
    do(driver, "INSERT INTO archive VALUES ('opens the connection')")
    with closing(sqlite3.connect(tmp_path / "shared.db")) as operator:
        operator.execute("CREATE TABLE later(v TEXT)")

    assert ask(driver, "SELECT * FROM later") == []
    denied(driver, "INSERT INTO later SELECT * FROM secret", write=True)
    denied(driver, "INSERT INTO later VALUES ('x')", write=True)
    fresh = shared(tmp_path, {"default": "write", "tables": {"secret": "none"}}, "b")
    denied(fresh, "INSERT INTO later SELECT * FROM secret", write=True)
    do(fresh, "INSERT INTO later VALUES ('x')")


def test_a_bad_population_makes_no_shared_file(tmp_path: Path) -> None:
    made = provisioner(
        tmp_path,
        "read",
        population("CREATE TABLE t(a);\nOOPS;"),
        isolation="shared",
        path=tmp_path / "shared.db",
    )

    with pytest.raises(PopulationError, match=r"shop.sql:2: near .OOPS."):
        asyncio.run(made.open())

    assert list(tmp_path.iterdir()) == []
    made = provisioner(tmp_path, "read", isolation="shared", path=tmp_path / "shared.db")
    with pytest.raises(ConfigurationError, match="there is no file"):
        asyncio.run(made.open())


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM main.users",
        "SELECT count(*) FROM main.users",
        "SELECT count(*) FROM [MAIN].users",
        "WITH users AS (SELECT name FROM main.users) SELECT * FROM users",
        "SELECT * FROM secret",
        "SELECT * FROM secrets",
        "SELECT 1 FROM users NATURAL JOIN (SELECT 'evil' AS tenant)",
    ],
)
def test_withheld_rows_of_a_shared_file_are_out_of_reach(tmp_path: Path, query: str) -> None:
    access = {"tables": {"users": {**ROWS, "select": ["id", "name"]}, "orders": "read"}}

    denied(shared(tmp_path, access), query)


def test_rows_of_a_shared_file_within_the_condition_are_seen(tmp_path: Path) -> None:
    driver = shared(tmp_path, {"default": "read", "tables": {"users": ROWS}})

    assert ask(driver, "SELECT id, name FROM users") == [(1, "Ann"), (2, "Bob")]
    assert ask(driver, "SELECT count(*) FROM users") == [(2,)]
    assert ask(driver, "SELECT name FROM users WHERE id = $1", [1]) == [("Ann",)]
    assert ask(
        driver, "SELECT o.id, u.name FROM orders o JOIN users u ON u.id = o.user_id LIMIT 1"
    ) == [(1, "Ann")]
    assert ask(shared(tmp_path, "read", "b"), "SELECT count(*) FROM users") == [(3,)]


def test_an_error_tells_nothing_about_withheld_rows(tmp_path: Path) -> None:
    """A condition that may be tested in an index runs before one that needs the row itself."""
    text = SHOP + "CREATE INDEX by_ssn ON users(ssn);"
    access = {"default": "read", "tables": {"users": ROWS}}
    path = tmp_path / "shared.db"
    driver = open_shop(tmp_path, access, text=text, isolation="shared", path=path)
    bomb = "json(CASE ssn WHEN $1 THEN '{' ELSE 1 END)"
    probe = f"SELECT count(*) FROM users WHERE ssn > '' AND {bomb}"

    assert ask(driver, probe, ["333"]) == [(2,)]
    with pytest.raises(ToolError, match="malformed JSON"):
        ask(driver, probe, ["222"])


def test_an_existing_copy_is_not_given_out_under_other_rows(tmp_path: Path) -> None:
    open_shop(tmp_path, {"tables": {"users": ROWS}})

    with pytest.raises(ConfigurationError, match="made for other rows"):
        open_shop(tmp_path, {"tables": {"users": {**ROWS, "rows": "tenant = 'evil'"}}})


@pytest.mark.parametrize(
    ("access", "more", "message"),
    [
        ({"schemas": {"sales": "read"}}, {}, "only schema is 'main'"),
        ({"tables": {"sqlite_master": "read"}}, {}, "SQLite's own tables"),
        (
            {"tables": {"users": {**ROWS, "update": True}}},
            {"isolation": "shared", "path": "x.db"},
            "cannot restrict writes by row in a shared file",
        ),
        ({"tables": {"users": "read"}}, {"expose": True}, "expose"),
        ("read", {"expose": True, "isolation": "shared", "path": "x.db"}, "expose"),
    ],
)
def test_what_sqlite_cannot_enforce_is_refused_at_once(
    tmp_path: Path, access: Any, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        provisioner(tmp_path, access, **more)


EXTRA = """
CREATE VIRTUAL TABLE docs USING fts5(body, hidden);
CREATE TABLE odd(a, b DEFAULT (random()), c GENERATED ALWAYS AS (a || 'x'));
"""


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"user": "read"}, "there is none; did you mean 'users'"),
        ({"users": {"select": ["nam"]}}, "did you mean 'name'"),
        ({"users": {"update": ["nam"]}}, "did you mean 'name'"),
        ({"sales.users": "read"}, "there is none"),
        ({"docs": {"select": ["body"]}}, "cannot enforce it on a virtual table"),
        ({"secrets": {"select": True, "rows": "1"}}, "cannot enforce it on a view"),
        ({"odd": {"insert": ["a"]}}, r"calls random\(\)"),
        ({"users": {"select": True, "rows": "tenant ="}}, "rows of table 'users'"),
        ({"users": {"select": True, "rows": "nowhere = 1"}}, "no such column"),
        ({"users": {"select": True, "rows": "1) OR (1"}}, "rows of table 'users'"),
        ({"users": {"select": True, "rows": "1; DROP TABLE users"}}, "rows of table 'users'"),
        ({"users": {"select": True, "rows": "id = ?"}}, "rows of table 'users'"),
    ],
)
def test_rules_that_do_not_fit_the_database_are_refused(
    tmp_path: Path, tables: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        open_shop(tmp_path, {"tables": tables}, text=SHOP + EXTRA)

    assert not any(name.startswith("copies") for name in files(tmp_path))


@pytest.mark.parametrize(
    "tables",
    [
        {"main.users": "read", "USERS_archive": {"select": ["NAME"]}},
        {"docs": "read", "secrets": {"select": ["v"]}},
        {"odd": {"insert": ["a", "b"]}},
        {"users": {"select": True, "rows": "id IN (SELECT user_id FROM orders) -- all of them"}},
    ],
)
def test_rules_that_fit_are_taken(tmp_path: Path, tables: dict[str, Any]) -> None:
    open_shop(tmp_path, {"tables": tables}, text=SHOP + EXTRA)
