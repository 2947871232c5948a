"""What the operator does on a Neo4j server: users for sandboxes, and an end to what they run.

Blocking; the provisioner calls it in threads. Never runs a statement of a model.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import LiteralString

import neo4j

from tool_plugins.errors import ConfigurationError, EngineError

from .connect import FAILURES, AuthError, Neo4jError, connect
from .url import Server

CONNECT_TIMEOUT_S = 5.0
END_TIMEOUT_S = 2.0
END_POLL_S = 0.1
SYSTEM = "system"
CLOSED_TO_FILES = "dbms.security.allow_csv_import_from_file_urls"
BLOCKED_ADDRESSES = "internal.dbms.cypher_ip_blocklist"
EVERYWHERE = "0.0.0.0/0,::/0"

_OPEN: LiteralString = (
    "SHOW TRANSACTIONS YIELD transactionId, username, currentQuery WHERE username = $user "
    "RETURN transactionId, currentQuery"
)
_KILL: LiteralString = (
    "CALL dbms.listConnections() YIELD connectionId, username WHERE username = $user "
    "WITH collect(connectionId) AS ids CALL dbms.killConnections(ids) YIELD connectionId "
    "RETURN connectionId"
)


class Admin:
    """A server as the operator. Opens a connection for each call and keeps none."""

    def __init__(self, server: Server, *, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._server = server
        self._connect_timeout_s = connect_timeout_s

    @contextmanager
    def session(self, database: str | None = None) -> Iterator[neo4j.Session]:
        """A session that may write.

        Raises:
            EngineError: the server cannot be reached, or refuses what is done inside.
            ConfigurationError: it refuses the operator's credentials.
        """
        try:
            with self._open(database) as session:
                yield session
        except AuthError as error:
            raise ConfigurationError(
                f"the Neo4j server refuses the operator's login: {error.message}"
            ) from error
        except FAILURES as error:
            raise EngineError(f"the Neo4j server at {self._server.uri}: {error}") from error

    @contextmanager
    def _open(self, database: str | None = None) -> Iterator[neo4j.Session]:
        with (
            connect(
                asdict(self._server),
                connection_timeout=self._connect_timeout_s,
                max_connection_pool_size=1,
            ) as driver,
            driver.session(database=database or self._server.database) as session,
        ):
            yield session

    def edition(self) -> str:
        """Such as "community"; the server answers at all."""
        with self.session() as session:
            record = session.run("CALL dbms.components() YIELD edition").single(strict=True)
        return str(record["edition"])

    def settings(self, *names: str) -> dict[str, str]:
        """What the server is set to."""
        with self.session() as session:
            found = session.run("SHOW SETTINGS $names YIELD name, value", names=list(names))
            return {record["name"]: record["value"] for record in found}

    def reaches_addresses(self) -> bool:
        """Whether a statement can make the server open a connection, tried on its own loopback."""
        try:
            with self._open() as session:
                session.run("LOAD CSV FROM 'http://127.0.0.1:1/' AS row RETURN row").consume()
        except Neo4jError as error:
            return BLOCKED_ADDRESSES not in (error.message or "")
        return True

    def prepare_user(self, user: str, password: str) -> None:
        """Makes the user, or gives it a new password; ends what it ran with the old one."""
        with self.session(SYSTEM) as session:
            session.run(
                "CREATE OR REPLACE USER $user SET PLAINTEXT PASSWORD $password CHANGE NOT REQUIRED",
                user=user,
                password=password,
            ).consume()

    def drop_user(self, user: str) -> None:
        """Removes the user. Idempotent."""
        with self.session(SYSTEM) as session:
            session.run("DROP USER $user IF EXISTS", user=user).consume()

    def users(self) -> list[str]:
        """The names of all users."""
        with self.session(SYSTEM) as session:
            return [record["user"] for record in session.run("SHOW USERS YIELD user")]

    def end(self, user: str) -> bool:
        """Ends the user's transactions and connections. False: something of it runs on.

        A statement that never looks up from its work (a pathological regular expression) cannot
        be ended by the server.
        """
        with self.session() as session:
            opened = session.run(_OPEN, user=user).data()
            ids = [each["transactionId"] for each in opened]
            if ids:
                session.run("TERMINATE TRANSACTIONS $ids", ids=ids).consume()
            ended = self._stopped(session, user, set(ids))
            session.run(_KILL, user=user).consume()
        return ended

    def _stopped(self, session: neo4j.Session, user: str, ids: set[str]) -> bool:
        """Whether none of these transactions runs a statement any more, after some patience."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while True:
            busy = [
                each
                for each in session.run(_OPEN, user=user).data()
                if each["transactionId"] in ids and each["currentQuery"]
            ]
            if not busy:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(END_POLL_S)
