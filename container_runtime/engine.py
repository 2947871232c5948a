"""The engine seam: a factory (`Engine`) and a handle (`Container`). Neither knows actions."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from tool_plugins.errors import ConfigurationError

from .spec import (
    ComputeResources,
    ContainerInfo,
    ContainerSpec,
    ContainerStatus,
    EffectiveLimit,
    Endpoint,
    HostCapabilities,
    Layout,
)

if TYPE_CHECKING:
    from .service import ServiceContainers

Report = Callable[[str], None]
"""Takes one line of progress for a person."""

ENGINES = {
    "docker": "container_runtime.engines.docker:DockerEngine",
    "in_process": "container_runtime.engines.in_process:InProcessEngine",
}


class Container(ABC):
    """A container that exists. Two handles to one container are equal in effect."""

    name: str
    spec: ContainerSpec

    @property
    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where the action server answers. Valid after `start`."""

    @abstractmethod
    async def start(self) -> None:
        """Starts the container. Returns when the engine says it runs, before it is ready.

        Raises:
            EngineError: the engine refused or failed; nothing of the container is left running.
        """

    @abstractmethod
    async def status(self) -> ContainerStatus:
        """What the engine says now. A container that is gone has `running=False`."""

    @abstractmethod
    async def limits(self) -> tuple[EffectiveLimit, ...]:
        """Every limit with what enforces it; `verified` ones were read back after start."""

    @abstractmethod
    async def remove(self) -> None:
        """Kills and removes the container with all that belongs to it. Idempotent."""


class Engine(ABC):
    """Makes containers. An async context manager; `aclose` releases the handle, not containers."""

    name: str
    isolates: bool
    """False says: this engine is for tests, and runs agent code as the current user."""

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    @abstractmethod
    async def connect(self) -> None:
        """Reaches the engine.

        Raises:
            EngineError: it cannot be reached; the hint says what to run.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Releases connections and threads. Containers stay as they are. Idempotent."""

    @abstractmethod
    async def capabilities(self) -> HostCapabilities:
        """What this host and engine can do."""

    def settle(self, resources: ComputeResources) -> ComputeResources:
        """The resources with every value filled in that was left to the host."""
        return resources.model_copy(update={"disk_mb": resources.workspace_mb})

    @abstractmethod
    def layout(self, name: str) -> Layout:
        """Where programs in the container `name` find things; it need not exist yet."""

    @abstractmethod
    async def ensure_image(self, report: Report) -> str:
        """The id of the sandbox image, built first when its inputs changed.

        Raises:
            ImageError: it cannot be built; the hint says what to do.
        """

    @abstractmethod
    async def create(self, spec: ContainerSpec) -> Container:
        """Creates a container and everything it needs, without starting it.

        On failure nothing of it is left.

        Raises:
            UnenforceableLimitError: a required limit cannot be enforced here.
            EngineError: the engine refused, warned or failed.
        """

    @abstractmethod
    async def get(self, name: str) -> Container | None:
        """The existing container of that name, or None. Its `spec` is restored from labels."""

    @abstractmethod
    async def list(self, labels: dict[str, str]) -> list[ContainerInfo]:
        """Every container, running or not, that carries all these labels."""

    @abstractmethod
    async def remove(self, name: str) -> None:
        """Removes whatever is left under that name: container, mounts, folders. Idempotent."""

    def services(self) -> "ServiceContainers":
        """Runs servers beside the sandboxes.

        Raises:
            ConfigurationError: this engine runs none.
        """
        raise ConfigurationError(
            f"the engine {self.name!r} runs no service containers, which a database instance per "
            "sandbox is",
            hint="use engine='docker', or a server of your own with isolation='shared'",
        )


def load_engine(name: str, **settings: Any) -> Engine:
    """The engine adapter of that name, imported only now so that others cost nothing.

    Raises:
        ConfigurationError: no adapter has the name.
    """
    try:
        module_name, _, class_name = ENGINES[name].partition(":")
    except KeyError:
        raise ConfigurationError(
            f"unknown engine {name!r}", hint=f"known engines: {', '.join(ENGINES)}"
        ) from None
    return getattr(import_module(module_name), class_name)(**settings)
