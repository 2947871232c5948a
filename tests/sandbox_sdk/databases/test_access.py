"""What an operator may say about databases, and what is refused before anything happens."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sandbox_sdk import Access, ConfigurationError, Database, DatabaseAccess, TableAccess
from sandbox_sdk.databases.access import READ, WRITE, parse_access
from sandbox_sdk.databases.configuration import configure, override, tools_for

URL = SecretStr("postgresql://admin:geheim@127.0.0.1/postgres")


def shop(**fields: Any) -> Database:
    return Database(**({"name": "shop", "engine": "sqlite"} | fields))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": "Shop"}, "name"),
        ({"name": "s" * 31}, "name"),
        ({"engine": "oracle"}, "engine"),
        ({"url": "sqlite://"}, "url means nothing to sqlite"),
        ({"engine": "postgres"}, "postgres needs a url"),
        ({"engine": "postgres", "url": "postgresql://", "path": "x.db"}, "path means nothing"),
        ({"isolation": "shared"}, "a shared sqlite database needs a path"),
        ({"engine": "qdrant", "isolation": "shared"}, "needs the url of a server"),
        ({"engine": "neo4j", "url": "bolt://db"}, "isolation='shared'"),
        ({"isolation": "shared", "path": "x.db", "access": "owner"}, "no owner"),
        ({"access": {"default": "owner", "tables": {"users": "read"}}}, "every right"),
        ({"access": {"tables": {"users": {"selct": True}}}}, "selct"),
        ({"access": "everything"}, "access"),
        ({"pool": {"pool_size": 3, "max_overflow": 2, "max_connections": 4}}, "max_connections"),
        ({"pool": {"pool_size": 0}}, "pool_size"),
        ({"limits": {"timeout_s": 0}}, "timeout_s"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_database_that_makes_no_sense_is_refused_by_name(
    fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        parse_access({"databases": [{"name": "shop", "engine": "sqlite"} | fields]})


def test_two_databases_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two databases are named 'shop'"):
        parse_access({"databases": [{"name": "shop", "engine": "sqlite"}] * 2})


def test_no_message_and_no_view_shows_a_password() -> None:
    given = {"name": "shop", "engine": "postgres", "url": URL.get_secret_value(), "path": "x"}
    with pytest.raises(ConfigurationError) as refused:
        parse_access({"databases": [given]})

    assert "geheim" not in str(refused.value)
    assert "geheim" not in repr(shop(engine="postgres", url=URL))


def test_the_particular_rule_wins_over_the_general() -> None:
    access = Access(
        default="read",
        schemas={"sales": "write"},
        tables={"users": TableAccess(select=("id",)), "sales.secrets": "none"},
    )

    assert access.rule("anything", schema="public") == READ
    assert access.rule("orders", schema="sales") == WRITE
    assert access.rule("secrets", schema="sales") == TableAccess()
    assert access.rule("users", schema="public").select == ("id",)


def test_a_star_means_every_column() -> None:
    parsed = TableAccess.model_validate({"select": "*", "update": ["status"]})

    assert parsed.columns("select") is True
    assert parsed.columns("update") == ("status",)


@pytest.mark.parametrize(
    ("access", "writable"),
    [
        (Access(), False),
        (Access(default="read"), False),
        (Access(default="write"), True),
        (Access(default="owner"), True),
        (Access(schemas={"sales": "write"}), True),
        (Access(tables={"users": "read"}), False),
        (Access(tables={"users": TableAccess(select=True, update=("name",))}), True),
        (Access(tables={"users": TableAccess(delete=True)}), True),
    ],
)
def test_it_is_known_whether_anything_may_be_written(access: Access, writable: bool) -> None:
    assert access.writable is writable


@pytest.mark.parametrize(
    ("databases", "names"),
    [
        ([], []),
        ([shop()], ["list", "schema", "query"]),
        (
            [shop(access="write")],
            ["list", "schema", "query", "execute", "begin", "commit", "rollback"],
        ),
        ([shop(engine="qdrant")], ["list", "schema", "search"]),
        ([shop(engine="qdrant", access="write")], ["list", "schema", "search", "upsert", "delete"]),
    ],
)
def test_only_tools_that_can_be_used_are_listed(
    databases: list[Database], names: list[str]
) -> None:
    tools = tools_for(DatabaseAccess(databases=tuple(databases)))

    assert [tool.name.partition(".")[2] for tool in tools] == names


def test_one_sandbox_may_have_less_than_its_group() -> None:
    access = DatabaseAccess(databases=(shop(access="write"),))

    changed = override(access, {"shop": "read"})

    assert changed == {"shop": Access(default="read")}
    with pytest.raises(ConfigurationError, match=r"no database 'stop'.*shop"):
        override(access, {"stop": "read"})
    with pytest.raises(ConfigurationError, match="bad access 'all'"):
        override(access, {"shop": "all"})


def test_an_override_is_held_against_the_whole_database(tmp_path: Path) -> None:
    shared = shop(isolation="shared", path=tmp_path / "shop.db")

    with pytest.raises(ConfigurationError, match="no owner"):
        override(DatabaseAccess(databases=(shared,)), {"shop": "owner"})


def test_a_yaml_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "databases.yaml"
    file.write_text(
        "databases:\n"
        "  - name: shop\n"
        "    engine: sqlite\n"
        "    path: data/shop.db\n"
        "    access: {tables: {users: {select: [id, name], rows: 'id < 10'}}}\n"
        "  - {name: docs, engine: qdrant, url: 'https://${HOST}:6333', api_key: '${KEY}'}\n"
    )

    configured = configure(file, None, {"HOST": "vectors.example", "KEY": "k"})

    database, docs = configured.access.databases
    assert database.path == tmp_path / "data/shop.db"
    assert database.access.tables["users"] == TableAccess(select=("id", "name"), rows="id < 10")
    assert docs.url == SecretStr("https://vectors.example:6333")
    with pytest.raises(ConfigurationError, match="HOST"):
        configure(file, None, {})


@pytest.mark.parametrize("given", [3, ["shop"], object()])
def test_other_things_are_not_a_database_access(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="database_access is a"):
        configure(given, None, {})
