"""Opens the neo4j library's driver: the one place that says how a server is connected to.

Runs in the group's process and in workers; imports nothing heavy of ours.
"""

from typing import Any

import neo4j
from neo4j.exceptions import (
    AuthError,
    DriverError,
    Neo4jError,
    ServiceUnavailable,
    SessionExpired,
)

USER_AGENT = "sandbox-sdk"
FAILURES = (Neo4jError, DriverError, OSError)
"""Everything the library raises when a server answers badly or not at all."""


def connect(settings: dict[str, Any], **options: Any) -> neo4j.Driver:
    """A driver for `settings`: uri, user, password, encrypted, ca_file. Connects on first use.

    `options` are those of the library. Nothing is sent to anybody but the server.
    """
    security: dict[str, Any] = {"encrypted": settings["encrypted"]}
    if settings["encrypted"]:
        authorities = settings.get("ca_file")
        security["trusted_certificates"] = (
            neo4j.TrustCustomCAs(authorities) if authorities else neo4j.TrustSystemCAs()
        )
    return neo4j.GraphDatabase.driver(
        settings["uri"],
        auth=(settings["user"], settings["password"]),
        user_agent=USER_AGENT,
        telemetry_disabled=True,
        notifications_min_severity="OFF",
        **security,
        **options,
    )


__all__ = (
    "FAILURES",
    "AuthError",
    "DriverError",
    "Neo4jError",
    "ServiceUnavailable",
    "SessionExpired",
    "connect",
)
