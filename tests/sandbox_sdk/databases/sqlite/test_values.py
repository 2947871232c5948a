"""Values keep their meaning on the way in and out, and parameters fit their placeholders."""

from typing import Any

import pytest

from sandbox_sdk.databases.sqlite.driver import SqliteDriver
from sandbox_sdk.databases.worker.driver import Params, Statement
from tool_plugins.errors import ErrorCode, ToolError

from .shop import Rows, ask, call, do, open_shop


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> SqliteDriver:
    folder = tmp_path_factory.mktemp("values")
    return open_shop(folder, "write", text="CREATE TABLE t(v); CREATE TABLE typed(i INTEGER);")


@pytest.mark.parametrize(
    ("given", "expected", "kind"),
    [
        (2**63 - 1, 2**63 - 1, "integer"),
        (-(2**63), -(2**63), "integer"),
        (2**53 + 1, 2**53 + 1, "integer"),
        (0.1, 0.1, "real"),
        (True, 1, "integer"),
        (None, None, "null"),
        ("\u00fc\u4e2d\U0001f600 \u202e'\"--;", "\u00fc\u4e2d\U0001f600 \u202e'\"--;", "text"),
        ("1'; DROP TABLE t --", "1'; DROP TABLE t --", "text"),
        ({"base64": "AAH/"}, b"\x00\x01\xff", "blob"),
        ([1, {"a": None}], '[1, {"a": null}]', "text"),
        ({"a": [1]}, '{"a": [1]}', "text"),
    ],
)
def test_a_value_comes_back_as_it_went(
    driver: SqliteDriver, given: Any, expected: Any, kind: str
) -> None:
    _, rows = do(driver, "INSERT INTO t VALUES ($1) RETURNING v, typeof(v)", [given])

    assert [(expected, kind)] == rows
    assert type(expected) is type(rows[0][0])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT 9e999, -9e999", [(float("inf"), float("-inf"))]),
        ("SELECT 9e999 - 9e999", [(None,)]),
        ("SELECT CAST(x'ff41' AS TEXT)", [(b"\xffA",)]),
        ("SELECT CAST(x'410042' AS TEXT)", [("A\x00B",)]),
        ("SELECT x''", [(b"",)]),
    ],
)
def test_what_only_sqlite_can_make_is_told_as_it_is(
    driver: SqliteDriver, query: str, expected: list[Any]
) -> None:
    assert expected == ask(driver, query)


def test_columns_have_the_names_and_types_of_their_first_row(driver: SqliteDriver) -> None:
    rows, none = Rows(), Rows()
    driver.query(call(), Statement("SELECT 1 AS a, 'x' AS a, 1.5, x'00', NULL"), rows)
    driver.query(call(), Statement("SELECT i FROM typed"), none)

    assert [kind for _, kind in rows.names] == ["integer", "text", "real", "blob", "null"]
    assert [name for name, _ in rows.names[:2]] == ["a", "a"]
    assert none.names == [("i", "")]


@pytest.mark.parametrize(
    ("query", "params", "expected"),
    [
        ("SELECT $2, $1, $2", ["a", "b"], ("b", "a", "b")),
        ("SELECT ?, ?", ["a", "b"], ("a", "b")),
        ("SELECT ?2, ?1", ["a", "b"], ("b", "a")),
        ("SELECT :2, @1", ["a", "b"], ("b", "a")),
        ("SELECT $x, :y, @x", {"x": 1, "y": 2}, (1, 2, 1)),
        ("SELECT '$1', \"a$1\", $1 -- $2\n/* $3 */", ["a"], None),
        ("SELECT '?', '''$1', $1", ["a"], ("?", "'$1", "a")),
        ("SELECT 1", [], (1,)),
        ("SELECT 1", {}, (1,)),
        ("SELECT 1", None, (1,)),
    ],
)
def test_parameters_find_their_placeholders(
    driver: SqliteDriver, query: str, params: Params, expected: tuple[Any, ...] | None
) -> None:
    if expected is None:
        query, expected = query.replace('"a$1"', "1 AS a$1"), ("$1", 1, "a")

    assert [expected] == ask(driver, query, params)


@pytest.mark.parametrize(
    ("query", "params", "message"),
    [
        ("SELECT $1", None, "no params"),
        ("SELECT $1, $3", ["a", "b"], "$3 has no value"),
        ("SELECT $1", ["a", "b"], "value 2 of params"),
        ("SELECT 1", ["a"], "value 1 of params"),
        ("SELECT ?, ?", ["a"], "2 placeholders for 1 values"),
        ("SELECT ?, $1", ["a", "b"], "mixed"),
        ("SELECT $x", ["a"], "$x has a name"),
        ("SELECT $x", {"y": 1}, "no value for 'x'"),
        ("SELECT $x", {"x": 1, "y": 1}, "no placeholder for 'y'"),
        ("SELECT ?", {"x": 1}, "no name"),
        ("SELECT $1", [2**63], "64 bits"),
        ("SELECT $1", ["\ud800"], "surrogate"),
        ("SELECT $1", ["a\x00b"], "NUL"),
        ("SELECT $1", [{"base64": "!"}], "base64"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    driver: SqliteDriver, query: str, params: Params, message: str
) -> None:
    with pytest.raises(ToolError) as caught:
        ask(driver, query, params)

    assert caught.value.code == ErrorCode.INVALID_ARGUMENT
    assert message in caught.value.message


@pytest.mark.parametrize("query", ["SELECT 'a\x00b'", "SELECT nothing", "SELEC 1", "SELECT 'a"])
def test_bad_sql_is_a_query_error(driver: SqliteDriver, query: str) -> None:
    with pytest.raises(ToolError) as caught:
        ask(driver, query)

    assert caught.value.code == ErrorCode.QUERY_ERROR
