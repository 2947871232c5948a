"""The schema shows what a role may use, and nothing beside it."""

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox_sdk.databases.postgres.driver import PostgresDriver
from tests.sandbox_sdk.databases.postgres.driver_support import Shop, call
from tests.services.postgres import PostgresServer


@pytest.fixture(scope="module")
def shop(postgres: PostgresServer) -> Iterator[Shop]:
    shop = Shop(postgres, "schema_shop").create()
    yield shop
    shop.drop()


@pytest.fixture(scope="module")
def drivers(shop: Shop) -> Iterator[dict[str, PostgresDriver]]:
    drivers = {role: shop.driver(role) for role in ("ro", "rw", "owner")}
    yield drivers
    for driver in drivers.values():
        driver.close()


def schema(
    driver: PostgresDriver, pattern: str = "*", detail: str = "full", limit: int = 100
) -> dict[str, Any]:
    answer = driver.schema(call(), pattern=pattern, detail=detail, limit=limit)
    driver.settle()
    return answer


def item(driver: PostgresDriver, name: str) -> dict[str, Any]:
    return next(each for each in schema(driver)["items"] if each["name"] == name)


def test_only_what_is_granted_is_named(drivers: dict[str, PostgresDriver]) -> None:
    names = {
        role: [each["name"] for each in schema(driver, detail="names")["items"]]
        for role, driver in drivers.items()
    }

    assert names == {
        "ro": ["names", "orders", "users", "sales.visits"],
        "rw": ["orders", "users"],
        "owner": [],
    }


def test_hidden_columns_and_keys_on_them_are_left_out(drivers: dict[str, PostgresDriver]) -> None:
    users, orders = item(drivers["ro"], "users"), item(drivers["ro"], "orders")

    assert [each["name"] for each in users["columns"]] == ["id", "name", "tenant", "born"]
    assert users["indexes"] == [{"name": "users_pkey", "columns": ["id"], "unique": True}]
    assert "foreign_keys" not in users
    assert orders["foreign_keys"] == [
        {"columns": ["user_id"], "refers_to": "users", "refers_to_columns": ["id"]}
    ]
    assert {"name": "by_total", "columns": ["total", "user_id"], "unique": False} in orders[
        "indexes"
    ]


def test_a_table_with_every_right_shows_everything(drivers: dict[str, PostgresDriver]) -> None:
    users = item(drivers["rw"], "users")

    assert users["verbs"] == ["select", "insert", "update", "delete"]
    assert "ssn" in [each["name"] for each in users["columns"]]
    assert {"by_half_ssn", "users_pkey"} == {each["name"] for each in users["indexes"]}
    assert users["row_estimate"] == 100
    first = {"name": "id", "type": "int4", "nullable": False, "primary_key": True}
    assert first == users["columns"][0]


def test_filtered_rows_are_said_to_be_and_not_counted(drivers: dict[str, PostgresDriver]) -> None:
    assert item(drivers["ro"], "users")["rows_filtered"]
    assert "row_estimate" not in item(drivers["ro"], "users")
    assert not item(drivers["rw"], "users")["rows_filtered"]  # its policy lets everything through


def test_a_column_says_what_differs_from_its_table(shop: Shop) -> None:
    shop.admin("GRANT UPDATE (name) ON users TO schema_shop_ro")
    driver = shop.driver("ro")
    users = item(driver, "users")
    driver.close()
    shop.admin("REVOKE UPDATE (name) ON users FROM schema_shop_ro")

    assert users["verbs"] == ["select", "update"]
    verbs = {each["name"]: each.get("verbs") for each in users["columns"]}
    assert verbs == {"id": ["select"], "name": None, "tenant": ["select"], "born": ["select"]}


def test_kinds_and_types_are_the_databases_own(drivers: dict[str, PostgresDriver]) -> None:
    assert item(drivers["ro"], "names")["kind"] == "view"
    types = {each["name"]: each["type"] for each in item(drivers["ro"], "orders")["columns"]}
    assert types["total"] == "numeric(10,2)"
    visits = item(drivers["ro"], "sales.visits")
    assert [(each["name"], each["type"]) for each in visits["columns"]] == [
        ("id", "int4"),
        ("at", "timestamptz"),
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("user?", ["users"]),
        ("*s", ["names", "orders", "users", "sales.visits"]),
        ("sales.*", ["sales.visits"]),
        ("public.o*", ["orders"]),
        ("USERS", ["users"]),
        ("user_", []),
        ("%", []),
        ("secrets", []),
    ],
)
def test_a_pattern_chooses(
    drivers: dict[str, PostgresDriver], pattern: str, names: list[str]
) -> None:
    answer = schema(drivers["ro"], pattern, "names")

    assert names == [each["name"] for each in answer["items"]]


def test_more_than_the_limit_is_counted(drivers: dict[str, PostgresDriver]) -> None:
    cut, whole = schema(drivers["ro"], limit=3), schema(drivers["ro"], limit=4)

    assert (len(cut["items"]), cut["total"], cut["truncated"]) == (3, 4, True)
    assert (len(whole["items"]), whole["total"], whole["truncated"]) == (4, 4, False)


def test_less_detail_says_less(drivers: dict[str, PostgresDriver]) -> None:
    names, columns = (schema(drivers["rw"], "users", each) for each in ("names", "columns"))

    assert {"name", "kind", "verbs", "rows_filtered"} == set(names["items"][0])
    assert {"columns"} == set(columns["items"][0]) - set(names["items"][0])
