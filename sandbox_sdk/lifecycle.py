"""One sandbox from its row to its removal.

Every change is written to the state table before the engine is asked for it, and the in-memory
state changes before anything is awaited: whoever ends first wins, and everybody else sees it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from container_runtime.connection import Connection, ConnectionLost, UploadResult
from container_runtime.engine import Container
from container_runtime.spec import ContainerSpec, EffectiveLimit
from tool_plugins.errors import (
    EngineError,
    GoneCause,
    ImageError,
    SandboxError,
    SandboxGoneError,
    SandboxStateError,
)

from .lease import Lease
from .listing import check_present
from .models import SandboxState
from .records import SandboxRecord
from .services import Services
from .tasks import finish

if TYPE_CHECKING:
    from .databases.access import Access
    from .databases.session import SandboxDatabases
    from .egress.broker import EgressBroker
    from .egress.policy import EgressPolicy
    from .tools.session import ToolSession

logger = logging.getLogger(__name__)

READY_TIMEOUT_S = 60.0
EXIT_CHECK_S = 1.0
STATUS_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 3.0

REASONS = {
    GoneCause.OOM: "it ran out of memory",
    GoneCause.DISK_QUOTA: "its disk was full",
    GoneCause.PIDS: "it had too many processes",
    GoneCause.TIMEOUT: "it reached its lifetime, or stopped answering",
    GoneCause.IDLE: "nobody used it",
    GoneCause.KILLED: "it was ended",
    GoneCause.ENGINE_LOST: "the container engine cannot be reached",
    GoneCause.IMAGE: "its image cannot be used",
}


class Lifecycle:
    """The states of one sandbox, and the only code that moves between them."""

    def __init__(
        self,
        record: SandboxRecord,
        services: Services,
        lease: Lease,
        environment: Mapping[str, str] | None = None,
        database_access: "Mapping[str, Access] | None" = None,
        egress_policy: "EgressPolicy | None" = None,
    ) -> None:
        self.record = record
        self.lease = lease
        self.limits: tuple[EffectiveLimit, ...] = ()
        self.when_removed: Callable[[Lifecycle], None] = lambda _life: None
        self._registered = False
        self._services = services
        self._environment = dict(environment or {})
        self._database_access = database_access or {}
        self._egress_policy = egress_policy
        self._container: Container | None = None
        self._connection: Connection | None = None
        self._starting: asyncio.Task[None] | None = None
        self._starters = 0
        self._marking: asyncio.Task[bool] | None = None
        self._removing: asyncio.Task[None] | None = None

    @property
    def state(self) -> SandboxState:
        """Where the sandbox is in its life."""
        return self.record.state

    @property
    def removed(self) -> bool:
        """Whether the engine keeps nothing of it any more."""
        return self.record.removed_at is not None

    @property
    def forgotten(self) -> bool:
        """Whether it may have a container that nobody has ended or handed on."""
        return self._connection is not None and self.state.live

    def connection(self) -> Connection:
        """The way to the action server.

        Raises:
            SandboxStateError: it was never started.
            SandboxGoneError: it is gone.
        """
        if self._connection is not None and self.state is SandboxState.READY:
            return self._connection
        if self.state is SandboxState.READY:
            raise SandboxStateError(f"the group of sandbox {self.record.id} has ended")
        if self.state.live:
            raise SandboxStateError(
                f"sandbox {self.record.id} is not started", hint="await sandbox.start() first"
            )
        raise self.gone()

    def gone(self) -> SandboxGoneError:
        """The error that says why the sandbox is no longer there."""
        cause = self.record.end_cause or GoneCause.KILLED
        return SandboxGoneError(
            f"sandbox {self.record.id} is gone: {REASONS[cause]}",
            cause=cause,
            hint="create a new sandbox; its files are lost",
        )

    async def start(self) -> None:
        """Makes and starts the container. Callers who come together share one start.

        When the last of them is cancelled, the sandbox is ended.
        """
        if not self.state.live:
            raise self.gone()
        if self.state is SandboxState.READY:
            return
        if self._starting is None:
            name = f"start {self.record.id}"
            self._starting = self._services.tasks.spawn(self._start(), name=name)
        self._starters += 1
        try:
            await asyncio.shield(self._starting)
        except asyncio.CancelledError:
            if self._starters == 1:
                self._begin_end(GoneCause.KILLED)
            raise
        finally:
            self._starters -= 1

    async def register(self) -> None:
        """Writes the row of a new sandbox. Nothing of it exists before."""
        written = await self._services.state.add_sandbox(self.record)
        self._registered = True
        self.record = replace(self.record, agent_uid=written.agent_uid)
        await self._services.databases.restrict(self.record.id, self._database_access)
        await self._services.egress.restrict(self.record.id, self._egress_policy)

    async def adopt(
        self,
        container: Container,
        connection: Connection,
        limits: tuple[EffectiveLimit, ...],
    ) -> None:
        """Takes over a container that already runs."""
        self._registered = True
        self._container = container
        self._connection = connection
        self.limits = limits
        await self._attach()
        await self.tools.restore()

    def databases(self) -> "SandboxDatabases":
        """What the sandbox has of its group's databases.

        Raises:
            ConfigurationError: the group has none.
        """
        return self._services.databases.session(self.record.id, self._upload)

    @property
    def egress(self) -> "EgressBroker":
        """The proxies of the group."""
        return self._services.egress

    @cached_property
    def tools(self) -> "ToolSession":
        """The custom tools that can be seen in the sandbox."""
        return self._services.tools.session(self.record.id)

    async def search(self, args: dict[str, Any]) -> dict[str, Any]:
        """Searches the web, with the key of the group's provider.

        Raises:
            ToolError: the provider failed.
        """
        from .search.execute import execute

        assert self._services.search is not None, "the tool is listed with a provider only"
        return await execute(self._services.search, args)

    async def _attach(self) -> None:
        """Listens for the programs of a container that exists."""
        await self._services.databases.expose(self.record.id, self._upload)
        await self._services.egress.open(self.record.id)

    async def _upload(self, path: str, content: AsyncIterator[bytes]) -> UploadResult:
        return await self.connection().upload(path, content)

    async def end(self, cause: GoneCause = GoneCause.KILLED) -> None:
        """Marks the sandbox as gone; its container is removed in the background. Idempotent."""
        marking = self._begin_end(cause)
        if marking is not None:
            await asyncio.shield(marking)

    def retry_removal(self) -> None:
        """Removes again what an earlier attempt could not."""
        if self._removing is None or self._removing.done():
            self._removing = self._services.tasks.spawn(
                self._remove(), name=f"remove {self.record.id}"
            )

    async def detach(self) -> None:
        """Lets go of a sandbox that another server may adopt. The container goes on."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def examine(self) -> SandboxGoneError | None:
        """After a lost connection: ends the sandbox and says why, or finds it well (None)."""
        if self.state.live:
            cause = await self._cause_of_loss()
            if cause is None and self.state.live:
                return None
            await self.end(cause or GoneCause.KILLED)
        return self.gone()

    async def _start(self) -> None:
        try:
            async with self._services.start_slots:
                await self._make()
        except BaseException as exc:
            await self._fail(exc)
            raise

    async def _make(self) -> None:
        engine, state = self._services.engine, self._services.state
        self._continue()
        container = await engine.create(self._spec())
        self._container = container
        await self._attach()
        self._continue()
        await container.start()
        self._continue()
        self._connection = Connection(container.endpoint)
        await self._wait_until_ready(container, self._connection)
        self.limits = await container.limits()
        await self._services.databases.place_files(self.record.id, self._connection.upload)
        self._continue()
        moved = await state.change(
            self.record.id, when=(SandboxState.CREATING,), to=SandboxState.READY
        )
        self._continue()
        if not moved:
            raise SandboxStateError(f"sandbox {self.record.id} was ended by another server")
        self.record = replace(self.record, state=SandboxState.READY)

    async def _wait_until_ready(self, container: Container, connection: Connection) -> None:
        """Waits for the action server, but not for one that has ended already or lacks tools."""
        ready = asyncio.ensure_future(connection.ready(READY_TIMEOUT_S))
        try:
            while not (await asyncio.wait({ready}, timeout=EXIT_CHECK_S))[0]:
                self._continue()
                status = await container.status()
                if not status.running:
                    raise EngineError(
                        f"the sandbox ended while it started, with exit code {status.exit_code}",
                        hint=status.error or "it left no message",
                    )
            check_present(self._services.registry, ready.result().tools)
        finally:
            ready.cancel()

    def _continue(self) -> None:
        """Stops a start whose sandbox was ended meanwhile."""
        if not self.state.live:
            raise self.gone()

    async def _fail(self, error: BaseException) -> None:
        """Undoes a start. Returns when nothing of it is left, or the engine refused to help."""
        cause = GoneCause.KILLED
        if isinstance(error, EngineError):
            cause = GoneCause.IMAGE if isinstance(error, ImageError) else GoneCause.ENGINE_LOST
        if self.state.live:
            self._mark(cause, SandboxState.FAILED)
        cleaning = self._services.tasks.spawn(self._clean(), name=f"clean {self.record.id}")
        await finish(cleaning)

    def _spec(self) -> ContainerSpec:
        databases, egress = self._services.databases, self._services.egress
        given = databases.environment(self.record.id) | egress.environment(self.record.id)
        return ContainerSpec(
            name=self.record.id,
            resources=self.record.resources,
            labels=self._services.labels(self.record.id),
            agent_uid=self.record.agent_uid,
            environment=given | self._environment,
            egress=egress.enabled,
            # Packages come through the proxy, so who has none needs no place for them.
            environments=egress.enabled,
        )

    def _begin_end(self, cause: GoneCause) -> asyncio.Task[bool] | None:
        if self.state.live:
            self._mark(cause, SandboxState.ENDED)
            self.retry_removal()
        return self._marking

    def _mark(self, cause: GoneCause, state: SandboxState) -> None:
        at = self._services.clock.wall()
        self.record = replace(self.record, state=state, end_cause=cause, ended_at=at)
        failed = state is SandboxState.FAILED
        marking = self._services.state.end(self.record.id, cause=cause, failed=failed, at=at)
        self._marking = self._services.tasks.spawn(marking, name=f"end {self.record.id}")

    async def _remove(self) -> None:
        """Waits for a start under way, so that no engine call is torn in the middle."""
        if self._connection is not None:
            await self._connection.aclose()
        if self._starting is not None:
            await asyncio.wait({self._starting})
        if not self.removed:
            await self._clean()

    async def _clean(self) -> None:
        """Removes the container, then says so in the table. What fails is tried again later."""
        try:
            if self._marking is not None:
                await asyncio.shield(self._marking)
            if self._connection is not None:
                await self._connection.aclose()
            # First its transactions, which may hold up others; then what takes longer.
            await self._services.databases.close(self.record.id)
            await self._services.egress.close(self.record.id)
            if self._registered:
                await self._services.engine.remove(self.record.id)
                await self._services.databases.drop(self.record.id)
                await self._services.egress.drop(self.record.id)
            await self._services.tools.drop(self.record.id)
            self.tools.ended()
            at = self._services.clock.wall()
            await self._services.state.mark_removed(self.record.id, at=at)
        except SandboxError as exc:
            logger.warning("sandbox %s is not removed yet: %s", self.record.id, exc)
        else:
            self.record = replace(self.record, removed_at=at)
            self.when_removed(self)

    async def _cause_of_loss(self) -> GoneCause | None:
        cause = await self._cause_by_status()
        if cause is not None or self._connection is None:
            return cause
        try:
            await self._connection.ready(PROBE_TIMEOUT_S)
        except (SandboxError, ConnectionLost, TimeoutError):
            # An engine notices an exit a moment after its sockets have closed.
            return await self._cause_by_status() or GoneCause.TIMEOUT
        return None

    async def _cause_by_status(self) -> GoneCause | None:
        if self._container is None:
            return GoneCause.KILLED
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                status = await self._container.status()
        except (EngineError, TimeoutError):
            return GoneCause.ENGINE_LOST
        if status.oom_killed and not status.running:
            return GoneCause.OOM
        return None if status.running else GoneCause.KILLED
