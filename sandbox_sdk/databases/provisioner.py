"""The operator's side of one configured database: makes, restricts and drops what sandboxes use.

Runs in the group's process with the operator's credentials. Never runs a statement of a model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .access import Access, Database

if TYPE_CHECKING:
    from container_runtime.engine import Engine

    from .population.contents import Population

Report = Callable[[str], None]

PROVISIONERS = {
    "sqlite": "sandbox_sdk.databases.sqlite.provisioner:SqliteProvisioner",
    "postgres": "sandbox_sdk.databases.postgres.provisioner:PostgresProvisioner",
    "qdrant": "sandbox_sdk.databases.qdrant.provisioner:QdrantProvisioner",
    "neo4j": "sandbox_sdk.databases.neo4j.provisioner:Neo4jProvisioner",
}


@dataclass(frozen=True, slots=True)
class Copy:
    """How a worker acts as one sandbox's restricted principal.

    `driver` is `module:Class`, a subclass of `worker.driver.Driver`, made as `Class(settings)`.
    `settings` are JSON, understood by that driver alone; they hold the principal's credential and
    never the operator's.
    """

    driver: str
    settings: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """What a provisioner may use beside its own server.

    `folder` (mode 0700) is where it keeps templates, below `templates`, and copies, below
    `copies/SANDBOX_ID`; the broker deletes `copies/SANDBOX_ID` itself after `drop`. `engine` runs
    containers. `report` takes lines of progress for a person.
    """

    folder: Path
    engine: "Engine"
    report: Report

    def copy_folder(self, sandbox_id: str, database: str) -> Path:
        """Where the copy of that database for that sandbox lies, if it lies on this host."""
        return self.folder / "copies" / sandbox_id / database


class Provisioner(ABC):
    """One per configured database. Every method but `check` may be called concurrently."""

    def __init__(self, database: Database, population: "Population | None", place: Place) -> None:
        self.database = database
        self.population = population
        self.place = place

    @classmethod
    @abstractmethod
    def check(cls, database: Database) -> None:
        """Refuses what the engine cannot enforce. Needs no server; called when a group is made.

        Raises:
            ConfigurationError: names the rule and why it cannot be enforced.
        """

    @abstractmethod
    async def open(self) -> None:
        """Reaches the server and prepares the template of the copies. Called when a group starts.

        Safe when several groups do it at once, and quick when it was done before.

        Raises:
            ConfigurationError: the server lacks what the rules need, or the population is bad.
            EngineError: the server cannot be reached.
        """

    @abstractmethod
    async def create(self, sandbox_id: str, access: Access) -> Copy:
        """Makes the sandbox's copy and principal, or finds both and makes a fresh credential.

        On failure nothing of it is left. `access` passed `check` as part of the database.
        """

    @abstractmethod
    async def drop(self, sandbox_id: str) -> None:
        """Ends the principal's connections and removes principal and copy. Idempotent."""

    @abstractmethod
    async def terminate(self, sandbox_id: str) -> None:
        """Ends the principal's connections with what they run. Copy and data stay."""

    @abstractmethod
    async def copies(self) -> set[str]:
        """The ids of all sandboxes of which the server still keeps something."""

    @abstractmethod
    async def aclose(self) -> None:
        """Lets go of the server. What sandboxes have stays. Idempotent."""


def provisioner_of(engine: str) -> type[Provisioner]:
    """The provisioner of an engine; its libraries are imported only now."""
    module_name, _, class_name = PROVISIONERS[engine].partition(":")
    return getattr(import_module(module_name), class_name)
