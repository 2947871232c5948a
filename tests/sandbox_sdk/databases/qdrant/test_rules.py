"""What an operator may say of Qdrant, and what cannot be held."""

from typing import Any

import pytest

from sandbox_sdk.databases.access import Access, Database, TableAccess
from sandbox_sdk.databases.qdrant.provisioner import QdrantProvisioner
from sandbox_sdk.databases.qdrant.rules import rights
from tool_plugins.errors import ConfigurationError

SERVER = {"url": "https://qdrant.example:6333", "api_key": "k" * 32}


def rule(**fields: Any) -> dict[str, Any]:
    return {"access": Access(tables={"docs": TableAccess(**fields)})}


def check(**fields: Any) -> None:
    QdrantProvisioner.check(Database(**{"name": "kb", "engine": "qdrant"} | fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"access": "owner"}, "no tool creates or drops collections"),
        ({"access": Access(schemas={"public": "read"})}, "schemas"),
        (rule(select=("id",)), "a point is read and written as a whole"),
        (rule(select=True, rows="city = 'Paris'"), "no row security"),
        (rule(select=True, insert=True), "cannot tell insert, update and delete apart"),
        (rule(select=True, delete=True), "cannot tell insert, update and delete apart"),
        (rule(insert=True, update=True, delete=True), "nor write without reading"),
        ({"expose": True}, "expose"),
        ({"api_key": "k"}, "without a url"),
        ({"require_tls": True}, "without a url"),
        ({"url": "https://qdrant.example"}, "without api_key"),
        (SERVER | {"url": "grpc://qdrant.example"}, "its url"),
        (SERVER | {"url": "https://"}, "its url"),
        (SERVER | {"url": "https://qdrant.example:port"}, "its url"),
        (SERVER | {"url": "https://qdrant.example?api_key=x"}, "its url"),
        (SERVER | {"url": "https://me:secret@qdrant.example"}, "a user in its url"),
        (SERVER | {"url": "http://qdrant.example", "require_tls": True}, "clear text"),
        (SERVER | {"name": "a__b"}, "two underscores"),
        (SERVER | {"name": "a_"}, "two underscores"),
        (SERVER | {"isolation": "shared", "access": "read"}, "name the collections"),
    ],
)
def test_what_cannot_be_held_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        check(**fields)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"access": "write"},
        {"access": "none"},
        {"name": "a__b"},
        rule(select=True),
        rule(select=True, insert=True, update=True, delete=True),
        rule(),
        SERVER,
        SERVER | {"require_tls": True, "name": "a_b"},
        SERVER | {"url": "http://qdrant.example/behind/a/proxy"},
        SERVER | rule(select=True) | {"isolation": "shared"},
        {"url": "http://qdrant.example", "enforcement": "best_effort"},
    ],
)
def test_what_can_be_held_is_accepted(fields: dict[str, Any]) -> None:
    check(**fields)


def test_a_rule_goes_before_the_default() -> None:
    access = Access(default="read", tables={"docs": "write", "secret": "none"})

    granted = rights(access, ["docs", "notes", "secret"], database="kb")

    assert granted == {"docs": "write", "notes": "read"}


def test_a_rule_for_no_collection_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"'dosc', which is not there.*docs"):
        rights(Access(tables={"dosc": "read"}), ["docs"], database="kb")
