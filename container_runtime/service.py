"""The seam for service containers: servers (a database) that run beside sandboxes, not sandboxes.

An engine that can run them answers `Engine.services()`. They are not in `Engine.list`; they have
an inventory of their own. Nothing here knows what a service does.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tool_plugins.contract import Value

SERVICE_NAME = r"^[a-z0-9][a-z0-9-]{2,100}$"


class ServiceSpec(Value):
    """One service container. `name` is also the name of its network.

    The service listens on TCP `port` and runs as `user` ("uid:gid") without any capability.
    `memory_mb` and `file_mb` (the largest file it may write) are MiB, `cpus` cores. `data` is the
    folder of the image that holds what it keeps; `data_mb` limits it where the host can.
    """

    name: Annotated[str, Field(pattern=SERVICE_NAME)]
    image: str
    port: Annotated[int, Field(ge=1, le=65_535)]
    user: Annotated[str, Field(pattern=r"^[1-9][0-9]*:[1-9][0-9]*$")]
    data: Annotated[str, Field(pattern=r"^/[a-z]+$")]
    data_mb: Annotated[int, Field(ge=16)]
    environment: dict[str, str] = Field(default_factory=dict, repr=False)
    labels: dict[str, str] = Field(default_factory=dict)
    memory_mb: Annotated[int, Field(ge=64)] = 1024
    cpus: Annotated[float, Field(ge=0.05)] = 1.0
    pids: Annotated[int, Field(ge=16)] = 512
    open_files: Annotated[int, Field(ge=64)] = 4096
    file_mb: Annotated[int, Field(ge=16)] = 2048


@dataclass(frozen=True, slots=True)
class ServiceInfo:
    """One service container as the engine shows it. `exit_code` is that of its last run."""

    name: str
    labels: dict[str, str]
    environment: dict[str, str]
    running: bool
    exit_code: int


@dataclass(frozen=True, slots=True)
class ServiceAddress:
    """Where a running service answers, as this process reaches it."""

    host: str
    port: int


class ServiceContainers(ABC):
    """The service containers of one installation (one state folder) on an engine.

    Raises:
        EngineError: from every method, when the engine refuses or cannot be reached.
    """

    @abstractmethod
    async def image_id(self, image: str) -> str:
        """What the engine knows the image by, pulled first where it is missing.

        Raises:
            ImageError: it is neither there nor to be had.
        """

    @abstractmethod
    async def create(self, spec: ServiceSpec) -> None:
        """Creates the container and its network without starting it. On failure nothing is left."""

    @abstractmethod
    async def start(self, name: str) -> ServiceAddress:
        """Starts it, unless it runs. Returns when it runs, before it is ready to serve."""

    @abstractmethod
    async def stop(self, name: str, *, timeout_s: float) -> None:
        """Asks it to end and waits; one that has not ended by then is killed. Idempotent."""

    @abstractmethod
    async def get(self, name: str) -> ServiceInfo | None:
        """The service container of that name; None when there is none of ours."""

    @abstractmethod
    async def list(self, labels: dict[str, str]) -> list[ServiceInfo]:
        """Every service container that carries all these labels, running or not."""

    @abstractmethod
    async def put(self, name: str, folder: str, archive: Path) -> None:
        """Unpacks a tar file into a folder of a container that does not run."""

    @abstractmethod
    async def fetch(self, name: str, folder: str, archive: Path) -> None:
        """Packs a folder of a container that does not run into a tar file."""

    @abstractmethod
    async def last_words(self, name: str, *, lines: int) -> str:
        """The last lines it printed, made harmless to show."""

    @abstractmethod
    async def remove(self, name: str) -> None:
        """Kills and removes it with its network and its data. Idempotent."""
