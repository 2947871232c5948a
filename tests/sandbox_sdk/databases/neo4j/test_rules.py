"""What Neo4j cannot enforce is refused before anything happens."""

from typing import Any

import pytest

from sandbox_sdk.databases.access import Access, Database, TableAccess
from sandbox_sdk.databases.neo4j.provisioner import Neo4jProvisioner
from tool_plugins.errors import ConfigurationError


def database(**changes: Any) -> Database:
    return Database(name="graph", engine="neo4j", **changes)


SHARED = {"isolation": "shared", "url": "bolt://neo4j:secret@127.0.0.1:7687"}


@pytest.mark.parametrize("level", ["none", "read", "write", "owner"])
def test_rights_on_the_whole_are_accepted(level: Any) -> None:
    Neo4jProvisioner.check(database(access=level))


@pytest.mark.parametrize(
    "access",
    [
        Access(default="read", tables={"Person": "none"}),
        Access(tables={"Person": TableAccess(select=("name",))}),
        Access(default="read", schemas={"Person": "write"}),
    ],
)
def test_finer_rights_are_refused_with_the_reason(access: Access) -> None:
    with pytest.raises(ConfigurationError, match=r"'Person'.*no roles"):
        Neo4jProvisioner.check(database(access=access))


def test_tls_is_of_shared_servers() -> None:
    with pytest.raises(ConfigurationError, match="has no TLS"):
        Neo4jProvisioner.check(database(require_tls=True))
    with pytest.raises(ConfigurationError, match=r"'graph'.*clear text"):
        Neo4jProvisioner.check(database(**SHARED, require_tls=True))
    secured = SHARED | {"url": "neo4j+s://neo4j:secret@db.example"}
    Neo4jProvisioner.check(database(**secured, require_tls=True))


def test_a_graph_cannot_be_exposed() -> None:
    with pytest.raises(ConfigurationError, match="exposed"):
        Neo4jProvisioner.check(database(expose=True))
