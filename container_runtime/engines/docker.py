"""The Docker adapter: one hardened container per sandbox, its labels are the inventory.

Never runs `exec` or `cp`: what happens inside is the action server's business. Never believes the
engine: a warning in a reply or a field kept otherwise than asked is a refusal.
"""

import asyncio
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from container_runtime import packages
from container_runtime.engine import Engine, Report
from container_runtime.image.builder import ImageBuilder
from container_runtime.image.inputs import DEFAULT_BASE, PYTHON_VERSION, Flavour
from container_runtime.limits import DISK_RATES, plan, settle
from container_runtime.spec import (
    ENVIRONMENTS,
    RUN,
    WORKSPACE,
    ComputeResources,
    ContainerInfo,
    ContainerSpec,
    HostCapabilities,
    Layout,
)
from container_runtime.workspace import Mounted, Workspaces
from tool_plugins.errors import ConfigurationError, EngineError, UnenforceableLimitError

from .docker_client import (
    NOT_FOUND,
    DockerClient,
    EngineRefusal,
    remove_container,
    succeeded,
)
from .docker_config import (
    LIMIT_FIELDS,
    PREFIX,
    STATE_LABEL,
    Access,
    Placement,
    Reach,
    create_body,
    differences,
    restore_access,
    restore_spec,
)
from .docker_container import DockerContainer
from .docker_folder import SandboxFolder, server_uid
from .docker_host import EngineHost, read_host
from .docker_network import make_network, remove_network
from .docker_service import DockerServices

PYTHON = "/usr/bin/python3"
"""The interpreter of the image, which the action server runs on too."""

UNDO_TIMEOUT_S = 60.0
ENDPOINTS = ("auto", "unix", "tcp")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class DockerEngine(Engine):
    """Sandboxes on a Docker Engine.

    `state_dir` holds sockets and workspaces. `image` names a ready-made sandbox image, `base` what
    one is built on. `endpoint` is how action servers are reached: "unix" over a shared folder,
    "tcp" with a token, "auto" the former wherever the engine shares its files with this process.
    `base_url` overrides DOCKER_HOST. `flavour` "browser" is an image with Chromium in it.
    """

    name = "docker"
    isolates = True

    def __init__(
        self,
        *,
        state_dir: Path,
        image: str | None = None,
        base: str = DEFAULT_BASE,
        endpoint: str = "auto",
        base_url: str | None = None,
        cache_dir: Path | None = None,
        flavour: Flavour = "default",
    ) -> None:
        if endpoint not in ENDPOINTS:
            raise ConfigurationError(
                f"unknown endpoint {endpoint!r}", hint=f"one of {', '.join(ENDPOINTS)}"
            )
        self._state = Path(state_dir).resolve()
        self._endpoint = endpoint
        self._client = DockerClient(base_url)
        self._images = ImageBuilder(
            self._client, image=image, base=base, cache=cache_dir, flavour=flavour
        )
        self._workspaces = Workspaces(self._state / "templates")
        self._host: EngineHost | None = None
        self._unavailable = ""

    async def connect(self) -> None:
        await self._client.open()
        info, version = await self._client.run(lambda api: (api.info(), api.version()))
        host = read_host(info, version, self._client.url)
        if self._endpoint == "unix" and not host.local:
            raise ConfigurationError(
                f"the engine at {self._client.url!r} is not on this machine, so no unix socket "
                "can be shared with it",
                hint="use endpoint='tcp', or 'auto'",
            )
        self._unavailable = "the engine does not share its file system with this process"
        if host.shares_files:
            self._unavailable = await self._workspaces.unavailable()
        self._host = host

    async def aclose(self) -> None:
        self._host = None
        await self._client.aclose()

    @property
    def _facts(self) -> EngineHost:
        if self._host is None:
            raise EngineError("the engine is not connected", hint="use `async with engine`")
        return self._host

    @property
    def _reach(self) -> Reach:
        host = self._facts
        if self._endpoint == "unix" or (self._endpoint == "auto" and host.shares_files):
            return "unix"
        return "bridge" if host.local else "published"

    async def capabilities(self) -> HostCapabilities:
        host = self._facts
        return HostCapabilities(
            engine=self.name,
            engine_version=host.version,
            isolates=True,
            cgroup_version=host.cgroup_version,
            runtimes=host.runtimes,
            apparmor=host.apparmor,
            workspace_mechanism=host.facts(self._unavailable).workspace,
            warnings=host.warnings(self._reach, self._unavailable),
            details={
                "endpoint": self._reach,
                "url": self._client.url,
                "architecture": host.architecture,
                "python": PYTHON_VERSION,
                "default_runtime": host.default_runtime,
                "runc_version": host.runc_version,
            },
        )

    def settle(self, resources: ComputeResources) -> ComputeResources:
        return settle(resources, self._facts.facts(self._unavailable))

    def layout(self, name: str) -> Layout:
        shares = self._reach == "unix"
        return Layout(
            workspace=WORKSPACE,
            run=RUN,
            shared=self._folder(name).run if shares else None,
            environments=ENVIRONMENTS,
            packages=packages.folder_in(self._state) if shares else None,
            python=PYTHON,
        )

    async def ensure_image(self, report: Report) -> str:
        return await self._images.ensure(self._facts.architecture, report)

    async def create(self, spec: ContainerSpec) -> DockerContainer:
        self._check_runtime(spec)
        spec = spec.model_copy(update={"resources": self.settle(spec.resources)})
        table = plan(spec.resources, self._facts.facts(self._unavailable))
        folder = self._folder(spec.name)
        folder.check()
        image = await self.ensure_image(_silent)
        # Runs to its end even when the caller is cancelled meanwhile: a request on its way to the
        # engine cannot be called back, so its outcome must be known before it is undone.
        work = asyncio.ensure_future(self._build(spec, folder, image))
        try:
            placement = await asyncio.shield(work)
        except asyncio.CancelledError:
            if await succeeded(work):
                await asyncio.shield(self._undo(spec.name))
            raise
        return DockerContainer(self._client, spec, folder, table, placement.access, self.remove)

    def _check_runtime(self, spec: ContainerSpec) -> None:
        runtime, known = spec.resources.runtime, self._facts.runtimes
        if runtime is not None and runtime not in known:
            raise UnenforceableLimitError(
                f"the engine has no runtime {runtime!r}", hint=f"it has {', '.join(known)}"
            )

    async def _build(self, spec: ContainerSpec, folder: SandboxFolder, image: str) -> Placement:
        await asyncio.to_thread(folder.prepare, spec.agent_uid)
        try:
            return await self._make(spec, folder, image)
        except BaseException:
            await self._undo(spec.name)
            raise

    async def _make(self, spec: ContainerSpec, folder: SandboxFolder, image: str) -> Placement:
        """Mounts the workspace and creates the container side by side."""
        if spec.environments and self._reach == "unix":
            await asyncio.to_thread(packages.make_folder, packages.folder_in(self._state))
        rates = any(getattr(spec.resources, name) for name in DISK_RATES)
        mounting = self._mount(spec, folder)
        if rates:  # the engine wants to see the device that it is to throttle
            mounted = await mounting
            placement = self._placement(folder, image, mounted)
            await self._create(spec, placement)
            return placement
        placement = self._placement(folder, image, None)
        both = asyncio.gather(mounting, self._create(spec, placement), return_exceptions=True)
        for outcome in await both:
            if isinstance(outcome, BaseException):
                raise outcome
        return placement

    async def _mount(self, spec: ContainerSpec, folder: SandboxFolder) -> Mounted | None:
        if self._unavailable:
            return None
        size, owner = spec.resources.workspace_mb, spec.agent_uid
        try:
            return await self._workspaces.mount(
                folder.image, folder.workspace, size_mb=size, owner=owner
            )
        except OSError as error:
            raise EngineError(f"the workspace cannot be made: {error}") from error

    def _placement(self, folder: SandboxFolder, image: str, mounted: Mounted | None) -> Placement:
        host, reach = self._facts, self._reach
        return Placement(
            image=image,
            state=str(self._state),
            server_uid=server_uid(),
            run=folder.run if reach == "unix" else None,
            workspace=None if self._unavailable else folder.workspace,
            packages=packages.folder_in(self._state) if reach == "unix" else None,
            device=mounted.device if mounted else None,
            apparmor=host.apparmor,
            processors=host.processors,
            access=Access(reach, "" if reach == "unix" else secrets.token_urlsafe(32)),
        )

    async def _create(self, spec: ContainerSpec, placement: Placement) -> None:
        body = create_body(spec, placement)

        def work(api: Any) -> tuple[list[str], list[tuple[str, str]]]:
            if placement.access.reach != "unix":
                internal = placement.access.reach == "bridge"
                make_network(api, spec.name, str(self._state), internal=internal)
            reply = api.create_container_from_config(body, name=spec.name)
            kept = api.inspect_container(reply["Id"])
            return reply.get("Warnings") or [], differences(body, kept)

        warnings, changed = await self._client.run(work)
        required = spec.resources.enforcement == "required"
        if warnings and required:
            raise UnenforceableLimitError(
                f"the engine warned: {'; '.join(warnings)}",
                hint="leave the limit out, or accept less with enforcement='best_effort'",
            )
        if wrong := [text for name, text in changed if required or name not in LIMIT_FIELDS]:
            raise EngineError(f"the engine did not keep to what was asked: {'; '.join(wrong)}")

    async def _undo(self, name: str) -> None:
        """Takes back a creation of ours; a foreign container of the same name stays."""
        with suppress(EngineError):
            async with asyncio.timeout(UNDO_TIMEOUT_S):
                await self.remove(name)

    async def get(self, name: str) -> DockerContainer | None:
        record = await self._inspect(name)
        if record is None or record["Config"]["Labels"].get(STATE_LABEL) != str(self._state):
            return None
        spec = restore_spec(record)
        try:
            table = plan(spec.resources, self._facts.facts(self._unavailable))
        except UnenforceableLimitError as error:
            raise EngineError(f"the host lost a limit of {name!r}: {error.message}") from error
        access = restore_access(record)
        return DockerContainer(
            self._client, spec, self._folder(name), table, access, self.remove, record=record
        )

    async def list(self, labels: dict[str, str]) -> list[ContainerInfo]:
        wanted = [f"{STATE_LABEL}={self._state}", *(f"{k}={v}" for k, v in labels.items())]
        filters = {"label": wanted}
        rows = await self._client.run(lambda api: api.containers(all=True, filters=filters))
        return [
            ContainerInfo(
                name=row["Names"][0].removeprefix("/"),
                labels={k: v for k, v in row["Labels"].items() if not k.startswith(PREFIX)},
                running=row["State"] == "running",
            )
            for row in rows
            if row["Names"]
        ]

    async def remove(self, name: str) -> None:
        folder = self._folder(name)
        record = await self._inspect(name)
        if record is not None:
            if record["Config"]["Labels"].get(STATE_LABEL) != str(self._state):
                await asyncio.to_thread(folder.remove)
                raise EngineError(
                    f"container {name!r} belongs to somebody else",
                    hint="remove it by hand if nobody needs it",
                )
            await remove_container(self._client, record["Id"])
        if record is None or restore_access(record).reach != "unix":
            await self._client.run(lambda api: remove_network(api, name, str(self._state)))
        await asyncio.to_thread(folder.remove)

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._client.run(lambda api: api.inspect_container(name))
        except EngineRefusal as refusal:
            if refusal.status == NOT_FOUND:
                return None
            raise

    def services(self) -> DockerServices:
        host = self._facts
        if not host.local and self._client.host not in LOOPBACK:
            raise ConfigurationError(
                f"the engine at {self._client.url!r} is not on this machine: a service container "
                "would have to be reached in clear text across the network",
                hint="use an engine of this machine, or a server of your own",
            )
        return DockerServices(
            self._client,
            state=self._state,
            workspaces=self._workspaces,
            unavailable=self._unavailable,
            local=host.local,
            apparmor=host.apparmor,
        )

    def _folder(self, name: str) -> SandboxFolder:
        return SandboxFolder(self._state / "sandboxes" / name)


def _silent(_line: str) -> None:
    """Nobody watches a build that a creation had to start."""
