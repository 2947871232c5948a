"""What the two ways to keep sandboxes' data have in common. Blocking; called in threads."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.population.contents import Population

from .admin import Admin, Connection, raw
from .names import sandbox_of
from .roles import Operator, read_operator
from .url import Server

NAMES = "SELECT datname::text FROM pg_database UNION SELECT rolname::text FROM pg_roles"


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything a home is made from."""

    database: Database
    population: Population | None
    server: Server
    report: Callable[[str], None]


class Home(ABC):
    """Where sandboxes' data of one configured database is. Thread-safe."""

    def __init__(self, setting: Setting, *, maintenance: str) -> None:
        self.setting = setting
        self.admin = Admin(setting.server, maintenance=maintenance)
        self._operator: Operator | None = None

    @abstractmethod
    def open(self) -> None:
        """Checks the server and the rules, and makes what copies are made from."""

    @abstractmethod
    def create(self, sandbox_id: str, access: Access) -> dict[str, str]:
        """Makes a sandbox's role, and its copy if it has one; says how to connect as it."""

    @abstractmethod
    def drop(self, sandbox_id: str) -> None:
        """Removes the role, and the copy. Idempotent."""

    @abstractmethod
    def terminate(self, sandbox_id: str) -> None:
        """Ends the role's sessions."""

    def sandboxes(self) -> set[str]:
        """The ids of sandboxes that have a role or a copy on the server."""

        def work() -> set[str]:
            with self.admin.maintaining() as connection:
                rows: list[tuple[Any, ...]] = connection.execute(raw(NAMES)).fetchall()
            found = (sandbox_of(name, self.setting.database.name) for (name,) in rows)
            return {each for each in found if each is not None}

        return self.admin.repeat(work)

    def close(self) -> None:
        """Ends what runs and closes every connection. Idempotent."""
        self.admin.stop()
        self.admin.close()

    def operator(self, connection: Connection) -> Operator:
        """What the operator's role may do, asked once."""
        if self._operator is None:
            self._operator = read_operator(connection)
        return self._operator
