"""What of an access Neo4j Community can enforce. Needs no server.

read    the server's read access mode on every transaction; in a copy, the database itself is
        read-only as well
write   data, but no indexes, constraints, users or databases: the server counts what a
        statement changed before it is committed, and one that changed those is rolled back
owner   indexes and constraints too
"""

from sandbox_sdk.databases.access import Access, Database
from tool_plugins.errors import ConfigurationError

from .url import parse_url

_NO_ROLES = "Neo4j Community has no roles: it can allow reading or writing only as a whole"


def check(database: Database) -> None:
    """Refuses what cannot be enforced.

    Raises:
        ConfigurationError: names the rule.
    """
    check_access(database.name, database.access)
    if database.expose:
        raise ConfigurationError(
            f"database {database.name!r}: a Neo4j database cannot be exposed to programs",
            hint="programs in the sandbox use the database tools",
        )
    if database.url is not None:
        try:
            parse_url(
                database.url.get_secret_value(),
                require_tls=database.require_tls,
                ca_file=database.ca_file,
            )
        except ConfigurationError as error:
            raise ConfigurationError(
                f"database {database.name!r}: {error.message}", hint=error.hint
            ) from None
    elif database.require_tls or database.ca_file is not None:
        raise ConfigurationError(
            f"database {database.name!r}: the connection to a copy never leaves the network "
            "between this machine and the container, and has no TLS",
            hint="leave require_tls and ca_file out, or use isolation='shared'",
        )


def check_access(name: str, access: Access) -> None:
    """The part of `check` that is about rights."""
    if access.schemas or access.tables:
        finer = next(iter([*access.tables, *access.schemas]))
        raise ConfigurationError(
            f"database {name!r}: the rule for {finer!r} cannot be enforced: {_NO_ROLES}",
            hint="use access='read', 'write' or 'owner' alone",
        )
