"""The door of the SDK: a group of sandboxes under common limits."""

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from container_runtime.engine import Engine, Report
from container_runtime.spec import ComputeResources, HostCapabilities
from tool_plugins.errors import SandboxError, SandboxStateError
from tool_plugins.registry import ToolRegistry

from .clock import Clock, SystemClock
from .config import Settings
from .config import environment as settings_environment
from .features import read_features
from .members import Members
from .models import LOCAL, GroupLimits, Principal, SandboxInfo
from .opening import leave, open_services
from .options import check_name, check_resources, refuse_unavailable
from .recovery import Recovered, Recovery
from .sandbox import Sandbox
from .services import Services
from .tasks import finish

if TYPE_CHECKING:
    from tool_plugins.tool.results import FileSummary

    from .databases.access import Access, DatabaseAccess
    from .egress.policy import EgressPolicy
    from .search.provider import SearchProvider
    from .tools.models import CustomTool

logger = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 10.0
END_TIMEOUT_S = 60.0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class SandboxGroup:
    """Sandboxes that share an engine, limits and a life.

    `async with`, or `start_sandbox_group` and `end_group`. The group takes over the engine it is
    given, and closes it. With `ephemeral=False` the sandboxes outlive the group: the next one of
    the same `name` on the same state adopts them, as long as their leases hold.
    `resource_limits` takes the fields of `GroupLimits`. `report` gets lines of progress while the
    image is built; without it they go to the standard error.

    `database_access` says which databases the sandboxes have: a `DatabaseAccess`, its fields as a
    mapping, or the path of a YAML file with them. `initial_database_population_config` is the
    path of the YAML file that says what they start with.

    `egress_policy` says what the sandboxes may reach on the network: an `EgressPolicy`, its fields
    as a mapping, or the path of a YAML file. Without one they have no network, with an empty one a
    proxy that lets nothing out. `web_search` is a provider for `web.search`: a `SearchProvider`,
    the fields of a built-in one as a mapping, or the path of a YAML file. `browser` gives the
    sandboxes an image with Chromium, and the tools that drive it.

    `tools` are Python files, or folders of them, whose functions become tools of every sandbox;
    they are followed while the group lives. A file that does not work is logged, and listed with
    its error. `tool_registration` lists the tools by which models register files of their own.
    `package_index` is the URL of the index that packages of these files come from.
    """

    def __init__(
        self,
        *,
        compute_resources: ComputeResources | None = None,
        resource_limits: Mapping[str, Any] | GroupLimits | None = None,
        tools: "Sequence[Path | str]" = (),
        tool_registration: bool = False,
        package_index: str | None = None,
        database_access: "DatabaseAccess | Mapping[str, Any] | Path | str | None" = None,
        auth_config: Any = None,
        initial_database_population_config: Path | str | None = None,
        egress_policy: "EgressPolicy | Mapping[str, Any] | Path | str | None" = None,
        web_search: "SearchProvider | Mapping[str, Any] | Path | str | None" = None,
        browser: bool = False,
        engine: str | Engine | None = None,
        state_dir: Path | str | None = None,
        state_url: str | None = None,
        name: str = "default",
        ephemeral: bool = True,
        registry: ToolRegistry | None = None,
        report: Report = _tell,
        clock: Clock | None = None,
        sweep_interval_s: float = SWEEP_INTERVAL_S,
    ) -> None:
        refuse_unavailable(auth_config=auth_config)
        self.name = check_name(name)
        self.limits = GroupLimits.parse(resource_limits)
        self.compute_resources = check_resources(compute_resources, ComputeResources())
        self._features = read_features(
            registry,
            database_access=database_access,
            population=initial_database_population_config,
            egress_policy=egress_policy,
            web_search=web_search,
            browser=browser,
            tools=tools,
            tool_registration=tool_registration,
            package_index=package_index,
        )
        self._settings = Settings.load(
            state_dir=state_dir,
            state_url=state_url,
            engine=engine if isinstance(engine, str) else None,
        )
        self._engine = engine if isinstance(engine, Engine) else None
        self._ephemeral = ephemeral
        self._report = report
        self._clock = clock or SystemClock()
        self._sweep_interval_s = sweep_interval_s
        self._tool_listeners: list[Callable[[], None]] = []
        self._opened = AsyncExitStack()
        self._starting = False
        self._started: _Started | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def registry(self) -> ToolRegistry:
        """The tools of the group. Custom ones are not in it: see `custom_tools`."""
        return self._features.registry

    @property
    def egress_policy(self) -> "EgressPolicy | None":
        """What the sandboxes may reach, unless one has a policy of its own."""
        return self._features.egress_policy

    async def __aenter__(self) -> Self:
        await self.start_sandbox_group()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.end_group()

    def __del__(self) -> None:
        # Only says so: a finalizer cannot wait. The next server on this state cleans up.
        if getattr(self, "_started", None) is not None and self._ending is None:
            warnings.warn("a SandboxGroup was never ended", ResourceWarning, stacklevel=2)

    async def start_sandbox_group(self, *, wait_for_tools: bool = True) -> None:
        """Reaches the engine, sees to the image, and adopts or removes what was left behind.

        Files of custom tools are registered too, which takes minutes where they need packages.
        `wait_for_tools=False` leaves that to the background: see `tools_ready`.

        Raises:
            EngineError: the engine cannot be reached.
            ImageError: the image cannot be built.
            SandboxStateError: the group was started before.
        """
        if self._starting or self._ending is not None:
            raise SandboxStateError("a group starts once", hint="make a new SandboxGroup")
        self._starting = True
        async with AsyncExitStack() as opened:
            services = await open_services(
                self._settings,
                opened,
                engine=self._engine,
                features=self._features,
                clock=self._clock,
                report=self._report,
            )
            namespace = services.server_id if self._ephemeral else self.name
            members = Members(
                services, self.limits, namespace=namespace, adoptable=not self._ephemeral
            )
            recovery = Recovery(
                services,
                state_dir=self._settings.state_dir,
                namespace=namespace,
                adopt=members.adopt,
            )
            await recovery.run()
            # Should the start be broken off: no more sandboxes are made, and those there go.
            opened.push_async_callback(services.tasks.drain, END_TIMEOUT_S)
            opened.push_async_callback(services.tools.aclose)
            self._start_tools(services, members)
            if wait_for_tools:
                await services.tools.ready()
            sweeper = asyncio.get_running_loop().create_task(self._sweep_forever())
            self._started = _Started(services, members, recovery, sweeper)
            self._opened = opened.pop_all()

    async def end_group(self, *, timeout_s: float = END_TIMEOUT_S) -> None:
        """Ends every sandbox and lets go of the engine. Idempotent.

        What cannot be removed within `timeout_s` stays in the state table for the next server.
        A caller that is cancelled meanwhile still waits until it is done.
        """
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(
                self._end(timeout_s), name="end sandbox group"
            )
        await finish(self._ending)

    async def create_sandbox(
        self,
        name: str | None = None,
        *,
        principal: Principal = LOCAL,
        compute_resources: ComputeResources | None = None,
        environment: Mapping[str, str] | None = None,
        idle_timeout_s: float | None = None,
        database_access: "Mapping[str, Access | str] | None" = None,
        egress_policy: "EgressPolicy | Mapping[str, Any] | Path | str | None" = None,
    ) -> Sandbox:
        """A sandbox that is written down but not started: `await sandbox.start()`.

        `database_access` names what this sandbox may do with databases of the group, where that
        differs: `{"shop": "read", "notes": "none"}`, or an `Access` for finer rules.
        `egress_policy` replaces the group's for this sandbox.

        Raises:
            ConfigurationError: an argument is wrong.
            QuotaError: the group's limits leave no room.
            SandboxStateError: the principal has a live sandbox of that name.
        """
        from .databases.configuration import override
        from .egress.loading import parse_policy

        return await self._live().members.create(
            name,
            principal=principal,
            resources=check_resources(compute_resources, self.compute_resources),
            environment=environment,
            idle_timeout_s=idle_timeout_s,
            database_access=override(self._features.databases.access, database_access),
            egress_policy=parse_policy(egress_policy, settings_environment()),
        )

    async def get_sandbox(self, sandbox_id: str, *, principal: Principal = LOCAL) -> Sandbox:
        """The live sandbox of that id, also one that was adopted after a restart.

        Raises:
            SandboxNotFoundError: the principal has no such sandbox.
            SandboxGoneError: it is gone; `cause` says why.
        """
        return await self._live().members.get(sandbox_id, principal)

    async def list_sandboxes(self, *, principal: Principal = LOCAL) -> list[SandboxInfo]:
        """The principal's live sandboxes, oldest first."""
        return [each.info() for each in self._live().members.live(principal)]

    async def default_sandbox(self, principal: Principal = LOCAL) -> Sandbox:
        """The principal's implicit sandbox: started at first use, made anew when it is gone."""
        return await self._live().members.default(principal, self.compute_resources)

    async def end_sandbox(self, sandbox_id: str, principal: Principal = LOCAL) -> None:
        """Ends a sandbox by its id; ending it twice is fine.

        Raises:
            SandboxNotFoundError: the principal has no such sandbox.
        """
        await self._live().members.end(sandbox_id, principal)

    def custom_tools(self, principal: Principal = LOCAL) -> "list[CustomTool]":
        """The custom tools a caller sees now: the group's, and those of the default sandbox."""
        if self._started is None:
            return []
        sandbox = self._started.members.implicit(principal)
        if sandbox is not None:
            return sandbox.custom_tools()
        return self._started.services.tools.shelf.tools()

    def custom_files(self) -> "list[FileSummary]":
        """The group's files of custom tools, with the errors of those that do not work."""
        from .tools.views import summaries

        return summaries(self._live().services.tools.shelf.own, schemas=False)

    async def tools_ready(self) -> None:
        """Waits until each of the group's files of custom tools works, or has its error.

        Raises:
            SandboxError: there was no sandbox to read them in.
        """
        await self._live().services.tools.ready()

    def on_tools_changed(self, listener: Callable[[], None]) -> None:
        """`listener()` is called in the event loop whenever somebody's custom tools changed."""
        self._tool_listeners.append(listener)

    async def capabilities(self) -> HostCapabilities:
        """What this host and engine can do."""
        return await self._live().services.engine.capabilities()

    async def sweep(self) -> Recovered:
        """Ends what has expired, writes leases down and settles servers that died meanwhile.

        Runs by itself at an interval.
        """
        started = self._live()
        await started.members.expire()
        await started.members.inspect()
        await started.members.flush()
        return await started.recovery.run()

    def _start_tools(self, services: Services, members: Members) -> None:
        """Begins to register the group's files of custom tools. The workshop has no databases."""
        from .databases.configuration import override
        from .tools.workshop import workshop

        none = dict.fromkeys(
            (each.name for each in self._features.databases.access.databases), "none"
        )
        nothing = override(self._features.databases.access, none)
        services.tools.subscribe(self._tools_changed)
        services.tools.start(workshop(members, self.compute_resources, nothing))

    def _tools_changed(self) -> None:
        for listener in self._tool_listeners:
            listener()

    def _live(self) -> "_Started":
        if self._started is None:
            raise SandboxStateError(
                "the group is not started", hint="await group.start_sandbox_group() first"
            )
        if self._ending is not None:
            raise SandboxStateError("the group has ended", hint="make a new SandboxGroup")
        return self._started

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_interval_s)
            try:
                await self.sweep()
            except SandboxError as exc:
                logger.warning("the sweep failed and will be tried again: %s", exc)

    async def _end(self, timeout_s: float) -> None:
        started = self._started
        if started is None:
            return
        started.sweeper.cancel()
        await asyncio.wait({started.sweeper})
        # First, since it makes sandboxes.
        await started.services.tools.aclose()
        async with self._opened:
            if self._ephemeral:
                await started.members.end_all()
            else:
                await started.members.detach_all()
            if not await started.services.tasks.drain(timeout_s):
                logger.warning("not every sandbox was removed within %g s", timeout_s)
            await leave(started.services, self._settings)


@dataclass(frozen=True, slots=True)
class _Started:
    """What a group has between its start and its end."""

    services: Services
    members: Members
    recovery: Recovery
    sweeper: asyncio.Task[None]
