"""Values keep their meaning on the way in and on the way out."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from tests.sandbox_sdk.databases.postgres.driver_support import Shop, call, read, write
from tests.services.postgres import PostgresServer
from tool_plugins.errors import ToolError


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres, "values_shop").create()
    shop.admin(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN positive AS int CHECK (value > 0);"
        "CREATE TYPE pair AS (a int, b text); CREATE TYPE sales.size AS ENUM ('s');"
        "CREATE TABLE everything (i int, b bigint, n numeric(10, 2), f float8, t text, d date,"
        " at timestamptz, u uuid, flag bool, raw bytea, doc jsonb, plain json, tags text[],"
        " numbers int[], grid int[][], ids uuid[], mood mood, moods mood[], docs jsonb[]);"
        "GRANT ALL ON everything TO values_shop_owner; GRANT USAGE ON SCHEMA sales TO PUBLIC;"
    )
    yield shop
    shop.drop()


@pytest.fixture(scope="module")
def driver(shop: Shop) -> Iterator[PostgresDriver]:
    driver = shop.driver("owner")
    yield driver
    driver.close()


@pytest.mark.parametrize(
    ("expression", "name", "value"),
    [
        ("true", "bool", True),
        ("1::int2", "int2", 1),
        ("9223372036854775807", "int8", 2**63 - 1),
        ("1.10", "numeric", Decimal("1.10")),
        ("'NaN'::numeric", "numeric", "NaN"),
        ("'Infinity'::numeric", "numeric", Decimal("Infinity")),
        ("1.5::float8", "float8", 1.5),
        ("'-Infinity'::float8", "float8", float("-inf")),
        ("'x'", "text", "x"),
        ("'x'::varchar(5)", "varchar", "x"),
        ("'\\x00ff'::bytea", "bytea", b"\x00\xff"),
        ("date '2024-02-29'", "date", date(2024, 2, 29)),
        ("date '0044-03-15 BC'", "date", "0044-03-15 BC"),
        ("date 'infinity'", "date", "infinity"),
        ("timestamp '2024-01-02 03:04:05.678'", "timestamp", datetime(2024, 1, 2, 3, 4, 5, 678000)),
        ("timestamp '12024-01-01 00:00'", "timestamp", "12024-01-01 00:00:00"),
        (
            "timestamptz '2024-01-02 03:04+02'",
            "timestamptz",
            datetime(2024, 1, 2, 1, 4, tzinfo=UTC),
        ),
        ("timestamptz '-infinity'", "timestamptz", "-infinity"),
        ("time '12:30'", "time", time(12, 30)),
        ("time '24:00'", "time", "24:00:00"),
        ("timetz '12:30+02'", "timetz", time(12, 30, tzinfo=timezone(timedelta(hours=2)))),
        ("interval '1 month 2 days 03:00'", "interval", "1 mon 2 days 03:00:00"),
        ("'[1,5)'::int4range", "int4range", "[1,5)"),
        ("'{[1,5),[7,9)}'::int4multirange", "int4multirange", "{[1,5),[7,9)}"),
        ("'10.0.0.1/8'::inet", "inet", "10.0.0.1/8"),
        ("'12.34'::money", "money", "$12.34"),
        ("B'101'", "bit", "101"),
        ("'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid", "uuid",
         "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("""'{"a": [1, 1.5, 0.1234567890123456789, null]}'::jsonb""", "jsonb",
         {"a": [1, 1.5, Decimal("0.1234567890123456789"), None]}),
        ("'[1]'::json", "json", [1]),
        ("ARRAY[[1,2],[3,null]]", "int4[]", [[1, 2], [3, None]]),
        ("ARRAY['a','b,\"c']", "text[]", ["a", 'b,"c']),
        ("ARRAY[date '2024-01-01', 'infinity']", "date[]", [date(2024, 1, 1), "infinity"]),
        ("ARRAY[interval '1 mon']", "interval[]", ["1 mon"]),
        ("'good'::mood", "mood", "good"),
        ("'{good,bad}'::mood[]", "mood[]", ["good", "bad"]),
        ("'s'::sales.size", "sales.size", "s"),
        ("5::positive", "int4", 5),
        ("ROW(1, 'x')::pair", "pair", "(1,x)"),
        ("ROW(1, 'x')", "record", "(1,x)"),
        ("'(1,2)'::point", "point", "(1,2)"),
        ("NULL::int", "int4", None),
    ],
)  # fmt: skip
def test_a_value_comes_as_what_it_means(
    driver: PostgresDriver, expression: str, name: str, value: Any
) -> None:
    answer = read(driver, f"SELECT {expression} AS v")

    assert [("v", name)] == answer.names
    ((found,),) = answer.rows
    assert (str(value), type(value)) == (str(found), type(found)) or value == str(found)


def test_odd_values_do_not_change_those_beside_them(driver: PostgresDriver) -> None:
    query = "SELECT d, 1.5::float8 FROM unnest('{2024-01-01,infinity}'::date[]) d"

    assert [(date(2024, 1, 1), 1.5), ("infinity", 1.5)] == read(driver, query).rows


def test_a_document_too_deep_to_read_comes_as_text(driver: PostgresDriver) -> None:
    ((text,),) = read(driver, "SELECT (repeat('[', 5000) || repeat(']', 5000))::json").rows

    assert text == "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("column", "param", "expected"),
    [
        ("i", 5, 5),
        ("i", "5", 5),
        ("b", 2**40, 2**40),
        ("n", "12.34", Decimal("12.34")),
        ("n", 12.5, Decimal("12.50")),
        ("f", 1.5, 1.5),
        ("t", "O'Brien %s $1", "O'Brien %s $1"),
        ("d", "2024-02-29", date(2024, 2, 29)),
        ("at", "2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("u", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("flag", True, True),
        ("raw", {"base64": "AP8="}, b"\x00\xff"),
        ("doc", {"a": [1, {"b": None}]}, {"a": [1, {"b": None}]}),
        ("doc", [1, "x", {"y": 2}], [1, "x", {"y": 2}]),
        ("doc", '{"a": 1}', {"a": 1}),
        ("plain", {"a": 1}, {"a": 1}),
        ("plain", [], []),
        ("tags", ["a", 'b,"c\\', None, ""], ["a", 'b,"c\\', None, ""]),
        ("tags", [], []),
        ("numbers", [1, 2, None], [1, 2, None]),
        ("numbers", ["1", "2"], [1, 2]),
        ("grid", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ("ids", ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"]),
        ("mood", "bad", "bad"),
        ("moods", ["bad", "good"], ["bad", "good"]),
        ("docs", [{"a": 1}, {"b": '"'}], [{"a": 1}, {"b": '"'}]),
        ("t", None, None),
    ],
)
def test_a_parameter_takes_the_type_of_its_place(
    driver: PostgresDriver, column: str, param: Any, expected: Any
) -> None:
    transaction = driver.begin(call(), read_only=False, isolation=None)
    write(transaction, f"INSERT INTO everything ({column}) VALUES ($1)", [param])
    answer = read(transaction, f"SELECT {column} FROM everything")
    transaction.rollback()
    driver.settle()

    assert [(expected,)] == answer.rows


@pytest.mark.parametrize(
    ("expression", "param", "expected"),
    [
        ("$1", "x", "x"),
        ("$1", 5, 5),
        ("$1", 2**70, Decimal(2**70)),
        ("$1", 1.5, Decimal("1.5")),
        ("$1", True, True),
        ("$1", [1, 2], [1, 2]),
        ("$1", ["a", None], ["a", None]),
        ("$1", {"a": 1}, {"a": 1}),
        ("$1::jsonb", [1, 2], [1, 2]),
        ("1 = ANY ($1)", [1, 2], True),
        ("array_length($1, 1)", [1.5, 2], 2),
        ("'b' = ANY ($1)", ["a"], False),
        ("date '2024-01-01' + $1", 5, date(2024, 1, 6)),
        ("'50% off' LIKE '50%'  AND $1", True, True),
    ],
)
def test_a_parameter_without_a_place_is_what_it_looks_like(
    driver: PostgresDriver, expression: str, param: Any, expected: Any
) -> None:
    assert [(expected,)] == read(driver, f"SELECT {expression}", [param]).rows
    transaction = driver.begin(call(), read_only=False, isolation=None)
    assert [(expected,)] == read(transaction, f"SELECT {expression}", [param]).rows
    transaction.rollback()
    driver.settle()


@pytest.mark.parametrize(
    ("query", "params", "words"),
    [
        ("SELECT $1", {"name": 1}, "params must be a list"),
        ("SELECT $1, $2", [1], "supplies 1 parameters"),
        ("SELECT $1", [{"base64": "?"}], "base64"),
        ("SELECT $1", ["a\x00b"], "NUL"),
        ("SELECT $1", [{"a": {"base64": "AA=="}}], "cannot hold binary"),
        ("SELECT 1 WHERE 5 = $1", ["five"], "invalid input syntax for type integer"),
    ],
)
def test_bad_parameters_are_refused(
    driver: PostgresDriver, query: str, params: Any, words: str
) -> None:
    with pytest.raises(ToolError, match=words):
        read(driver, query, params)

    assert read(driver, "SELECT 1").rows == [(1,)]


def test_a_type_made_by_somebody_else_is_found(driver: PostgresDriver, shop: Shop) -> None:
    read(driver, "SELECT 'good'::mood")
    shop.admin("CREATE TYPE later AS ENUM ('x')")

    assert read(driver, "SELECT '{x}'::later[] AS v").names == [("v", "later[]")]
