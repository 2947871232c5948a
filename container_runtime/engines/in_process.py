"""The real action server in this very process, over ASGI, on a plain folder.

For fast tests and dry runs. It isolates nothing and limits nothing: agent code runs as the
current user, and says so in every capability and limit.
"""

import asyncio
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from container_runtime import packages
from container_runtime.engine import Container, Engine, Report
from container_runtime.server.app import create_app
from container_runtime.server.config import agent_environment
from container_runtime.server.egress import Egress
from container_runtime.server.plugins import load_executors
from container_runtime.spec import (
    EGRESS_SOCKET,
    AsgiEndpoint,
    ContainerInfo,
    ContainerSpec,
    ContainerStatus,
    EffectiveLimit,
    Endpoint,
    HostCapabilities,
    Layout,
)
from tool_plugins.context import Host
from tool_plugins.errors import EngineError
from tool_plugins.plugins import executors, installed

INHERITED = ("PATH", "LANG", "TZ")
SHARED = "run"
UNLIMITED = "the in-process engine enforces nothing"
Executors = Mapping[str, Callable[..., Any]]


class InProcessContainer(Container):
    """A folder and an action server over it."""

    def __init__(self, spec: ContainerSpec, folder: Path, executors: Executors) -> None:
        self.name = spec.name
        self.spec = spec
        self._folder = folder
        self._executors = executors
        self._app: Any = None
        self._requests: set[asyncio.Task[Any]] = set()
        self._life = AsyncExitStack()

    @property
    def endpoint(self) -> Endpoint:
        return AsgiEndpoint(self._serve)

    async def start(self) -> None:
        if self._app is not None:
            return
        # No network of its own: the usual port may be taken, by another sandbox for one.
        shared = self._folder / SHARED / EGRESS_SOCKET
        egress = Egress(shared, port=0) if self.spec.egress else None
        app = create_app(self._host(), self._executors, egress)
        await self._life.enter_async_context(app.lifespan_context(app))
        self._app = app

    async def status(self) -> ContainerStatus:
        return ContainerStatus(running=self._app is not None)

    async def limits(self) -> tuple[EffectiveLimit, ...]:
        requested = self.spec.resources.model_dump(exclude={"runtime", "enforcement"})
        return tuple(
            EffectiveLimit(
                name=name,
                requested=value,
                effective=None,
                mechanism="none",
                limit_class="none",
                note=UNLIMITED,
            )
            for name, value in requested.items()
            if value is not None
        )

    async def remove(self) -> None:
        self._app = None
        for request in list(self._requests):
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)
        await self._life.aclose()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def _host(self) -> Host:
        folders = [self._folder / name for name in ("workspace", "tmp", "spool")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment = agent_environment(inherited | self.spec.environment, folders[0])
        workspace, tmp, spool = folders
        return Host(workspace, tmp, spool, environment=environment)

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            raise ConnectionResetError(f"container {self.name!r} does not run")
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await self._app(scope, receive, send)
        finally:
            self._requests.discard(task)


class InProcessEngine(Engine):
    """Keeps its containers in memory: they end with this object's last use, or the process.

    Has no image: `image` and `flavour` mean nothing here, and a browser is the one of this machine.
    """

    name = "in_process"
    isolates = False

    def __init__(
        self,
        *,
        state_dir: Path,
        image: str | None = None,
        flavour: str = "default",
        executors: Executors | None = None,
    ) -> None:
        self._folder = Path(state_dir) / "in_process"
        self._packages = packages.folder_in(Path(state_dir))
        self._executors = executors
        self._containers: dict[str, InProcessContainer] = {}

    async def connect(self) -> None:
        if self._executors is None:
            self._executors = load_executors(executors(installed()))

    async def aclose(self) -> None:
        """Nothing to release: containers stay until they are removed."""

    async def capabilities(self) -> HostCapabilities:
        return HostCapabilities(
            engine=self.name,
            engine_version="1",
            isolates=False,
            workspace_mechanism="folder",
            details={
                "architecture": platform.machine(),
                "python": ".".join(platform.python_version_tuple()[:2]),
            },
            warnings=(
                "the in-process engine isolates nothing: agent code runs as the current user",
                f"{UNLIMITED}, not even limits that are required",
            ),
        )

    def layout(self, name: str) -> Layout:
        folder = self._folder / name
        shared = folder / SHARED
        return Layout(
            workspace=str(folder / "workspace"),
            run=str(shared),
            shared=shared,
            environments=str(self._packages),
            packages=self._packages,
            python=sys.executable,
        )

    async def ensure_image(self, report: Report) -> str:
        return "in-process"

    async def create(self, spec: ContainerSpec) -> Container:
        if self._executors is None:
            raise EngineError("the engine is not connected")
        if spec.name in self._containers:
            raise EngineError(f"a container named {spec.name!r} exists already")
        spec = spec.model_copy(update={"resources": self.settle(spec.resources)})
        folder = self._folder / spec.name
        folder.mkdir(parents=True, exist_ok=True)
        if spec.environments:
            await asyncio.to_thread(packages.make_folder, self._packages)
        container = InProcessContainer(spec, folder, self._executors)
        self._containers[spec.name] = container
        return container

    async def get(self, name: str) -> Container | None:
        return self._containers.get(name)

    async def list(self, labels: dict[str, str]) -> list[ContainerInfo]:
        return [
            ContainerInfo(
                name=container.name,
                labels=container.spec.labels,
                running=(await container.status()).running,
            )
            for container in self._containers.values()
            if labels.items() <= container.spec.labels.items()
        ]

    async def remove(self, name: str) -> None:
        container = self._containers.pop(name, None)
        if container is not None:
            await container.remove()
        # A process that was killed leaves its folders behind.
        await asyncio.to_thread(shutil.rmtree, self._folder / name, ignore_errors=True)
