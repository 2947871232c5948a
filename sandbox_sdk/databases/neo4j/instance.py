"""A Neo4j instance in a container: what it is called and how it is set.

The settings are given in the environment, as the public image takes them: NEO4J_ and the setting's
name, with "." as "_" and "_" as "__".
"""

import re

from container_runtime.service import ServiceSpec
from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.services import SANDBOX_LABEL
from tool_plugins.errors import EngineError

from .admin import BLOCKED_ADDRESSES, CLOSED_TO_FILES, EVERYWHERE

PORT = 7687
DATA = "/data"
ADMIN = "neo4j"
PRINCIPAL = "sandbox"
DATABASE_LABEL = "sandbox-sdk.database"
TEMPLATE_LABEL = "sandbox-sdk.template"
USER = "7474:7474"
"""The public image's own user."""

MEMORY_MB = 1024
CPUS = 2.0
"""A Java machine that starts uses more than one."""

MIN_DATA_MB = 128
SEED_DATA_MB = 8192
_UNFIT = re.compile(r"[^a-z0-9-]+")

_SETTINGS = {
    "server.http.enabled": "false",
    "server.https.enabled": "false",
    "server.memory.heap.initial_size": "256m",
    "server.memory.heap.max_size": "512m",
    "server.memory.pagecache.size": "64m",
    "dbms.usage_report.enabled": "false",
    "db.logs.query.enabled": "OFF",
    # A copy has no room for logs of 256 MiB, and no use for those of the past.
    "db.tx_log.preallocate": "false",
    "db.tx_log.rotation.size": "16m",
    "db.tx_log.rotation.retention_policy": "keep_none",
    "internal.server.bolt.thread_pool_shutdown_wait_time": "1s",
    # Nothing of the machine, the network or of code that came with the image.
    CLOSED_TO_FILES: "false",
    BLOCKED_ADDRESSES: EVERYWHERE,
    "dbms.security.procedures.allowlist": "db.*,dbms.components",
}
_OF_COPIES = {
    "db.memory.transaction.max": "128m",
    "dbms.memory.transaction.total.max": "256m",
    "db.lock.acquisition.timeout": "10s",
}


def instance_name(sandbox_id: str, database: str) -> str:
    """The name of the container with that database of that sandbox."""
    return _UNFIT.sub("-", f"{sandbox_id}-{database}".lower())


def copy_spec(
    sandbox_id: str, database: Database, access: Access, *, image: str, password: str
) -> ServiceSpec:
    """The container of one sandbox's copy. Without a right to write, the database is read-only."""
    settings = {
        **_SETTINGS,
        **_OF_COPIES,
        "db.transaction.timeout": f"{max(1, round(database.limits.transaction_s))}s",
        "server.databases.default_to_read_only": "false" if access.writable else "true",
    }
    return ServiceSpec(
        name=instance_name(sandbox_id, database.name),
        image=image,
        port=PORT,
        user=USER,
        data=DATA,
        data_mb=max(MIN_DATA_MB, database.limits.size_mb),
        environment=_environment(settings, password),
        labels={SANDBOX_LABEL: sandbox_id, DATABASE_LABEL: database.name},
        memory_mb=MEMORY_MB,
        cpus=CPUS,
    )


def seed_spec(name: str, template: str, *, image: str, password: str, data_mb: int) -> ServiceSpec:
    """The container that is filled to become a template."""
    return ServiceSpec(
        name=name,
        image=image,
        port=PORT,
        user=USER,
        data=DATA,
        data_mb=data_mb,
        environment=_environment(_SETTINGS, password),
        labels={TEMPLATE_LABEL: template},
        memory_mb=MEMORY_MB,
        cpus=CPUS,
    )


def _environment(settings: dict[str, str], password: str) -> dict[str, str]:
    variables = {
        "NEO4J_" + name.replace("_", "__").replace(".", "_"): value
        for name, value in settings.items()
    }
    return {"NEO4J_AUTH": f"{ADMIN}/{password}", **variables}


def password_of(environment: dict[str, str], name: str) -> str:
    """The operator's password of an existing instance.

    Raises:
        EngineError: the container was not made by this version.
    """
    user, _, password = environment.get("NEO4J_AUTH", "").partition("/")
    if user != ADMIN or not password:
        raise EngineError(
            f"container {name!r} does not say how to log in to it",
            hint="it was made by another version: remove it",
        )
    return password
