"""What rules mean in a catalog, and which of them cannot be held."""

import pytest

from sandbox_sdk.databases.access import READ, Access, TableAccess
from sandbox_sdk.databases.postgres.catalog import Catalog, Kind, Relation
from sandbox_sdk.databases.postgres.grants import grant_statements, resolve
from tool_plugins.errors import ConfigurationError


def relation(name: str, kind: Kind = "table", **fields: object) -> Relation:
    """One of schema "public", or of the schema in its name."""
    schema, _, short = name.rpartition(".")
    return Relation(schema or "public", short, kind, ("id", "name"), **fields)  # pyright: ignore


CATALOG = Catalog(
    frozenset({"public", "sales"}),
    (
        relation("users", sequences=(("public", "users_id_seq"),)),
        relation("orders"),
        relation("sales.orders"),
        relation("part", child=True),
        relation("safe", "view", invoker=True),
        relation("leaky", "view"),
        relation("frozen", "materialized view"),
        relation("far", "foreign table"),
        relation("extra", extension=True),
        relation('we"ird'),
    ),
)


def granted(access: Access) -> list[str]:
    return [each.relation.title for each in resolve(access, CATALOG)]


def statements(access: Access) -> list[str]:
    return [each.as_string() for each in grant_statements(resolve(access, CATALOG), "r")]


def test_a_level_covers_what_is_ordinary() -> None:
    assert granted(Access(default="read")) == ["users", "orders", "sales.orders", "safe", 'we"ird']


def test_what_is_not_ordinary_must_be_named() -> None:
    names = ("part", "frozen", "far", "extra")

    assert list(names) == granted(Access(tables=dict.fromkeys(names, READ)))


def test_the_particular_rule_wins() -> None:
    access = Access(
        default="read", schemas={"sales": "none"}, tables={"public.orders": "none", "part": "read"}
    )

    assert granted(access) == ["users", "part", "safe", 'we"ird']


def test_a_name_without_a_schema_means_every_schema() -> None:
    assert granted(Access(tables={"orders": "read"})) == ["orders", "sales.orders"]
    assert granted(Access(tables={"sales.orders": "read"})) == ["sales.orders"]


def test_grants_are_as_narrow_as_the_rules() -> None:
    access = Access(
        tables={
            "users": TableAccess(select=("id",), insert=True, update=("name",)),
            "public.orders": "write",
        }
    )

    assert statements(access) == [
        'GRANT USAGE ON SCHEMA "public" TO "r"',
        'GRANT USAGE ON SEQUENCE "public"."users_id_seq" TO "r"',
        'GRANT SELECT ("id") ON TABLE "public"."users" TO "r"',
        'GRANT UPDATE ("name") ON TABLE "public"."users" TO "r"',
        'GRANT insert ON TABLE "public"."users" TO "r"',
        'GRANT select, insert, update, delete ON TABLE "public"."orders" TO "r"',
    ]


def test_names_are_quoted() -> None:
    assert statements(Access(tables={'we"ird': "read"}))[-1] == (
        'GRANT select ON TABLE "public"."we""ird" TO "r"'
    )


def test_nothing_granted_is_no_statement() -> None:
    assert statements(Access()) == []


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(tables={"usres": "none"}), "no table named 'usres'.*did you mean 'users'"),
        (Access(tables={"sale.orders": "read"}), "no table named 'sale.orders'.*'sales.orders'"),
        (Access(schemas={"sale": "read"}), "no schema named 'sale'.*did you mean 'sales'"),
        (
            Access(tables={"users": TableAccess(select=("nme",))}),
            "no column of table 'users' named 'nme'.*did you mean 'name'",
        ),
        (Access(tables={"users": TableAccess(update=("x",))}), "no column of table 'users'"),
        (Access(tables={"safe": TableAccess(select=True, rows="true")}), "for tables only"),
        (Access(tables={"frozen": TableAccess(select=True, rows="true")}), "for tables only"),
        (Access(tables={"frozen": "write"}), "'frozen' cannot be written"),
        (Access(tables={"leaky": "read"}), "with its owner's rights"),
    ],
)
def test_rules_that_cannot_be_held(access: Access, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        resolve(access, CATALOG)


def test_a_view_with_its_owners_rights_may_be_named_to_forbid_it() -> None:
    assert granted(Access(tables={"leaky": "none"})) == []
