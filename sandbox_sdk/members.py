"""The sandboxes of one started group, by id."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from container_runtime.connection import Connection
from container_runtime.engine import Container
from container_runtime.spec import ComputeResources, EffectiveLimit
from tool_plugins.errors import SandboxGoneError, SandboxNotFoundError

from .lease import Lease
from .lifecycle import Lifecycle
from .models import GroupLimits, Principal, SandboxState
from .options import check_environment, check_name, check_seconds, new_sandbox_id
from .quota import check_room
from .records import SandboxRecord
from .sandbox import Sandbox
from .services import Services
from .tools.workshop import WORKSHOP

if TYPE_CHECKING:
    from .databases.access import Access
    from .egress.policy import EgressPolicy

logger = logging.getLogger(__name__)


class Members:
    """Makes, finds and ends sandboxes; knows every one whose container may still exist."""

    def __init__(
        self, services: Services, limits: GroupLimits, *, namespace: str, adoptable: bool
    ) -> None:
        self._services = services
        self._limits = limits
        self._namespace = namespace
        self._adoptable = adoptable
        self._lives: dict[str, Lifecycle] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._defaults: dict[str, Sandbox] = {}
        self._default_locks: dict[str, asyncio.Lock] = {}

    async def create(
        self,
        name: str | None,
        *,
        principal: Principal,
        resources: ComputeResources,
        environment: Mapping[str, str] | None = None,
        idle_timeout_s: float | None = None,
        database_access: "Mapping[str, Access] | None" = None,
        egress_policy: "EgressPolicy | None" = None,
    ) -> Sandbox:
        """Reserves room, then writes the row. See `SandboxGroup.create_sandbox`."""
        variables = check_environment(environment)
        self._services.egress.check(egress_policy)
        resources = self._services.engine.settle(resources)
        record = self._new_record(name, principal, resources, idle_timeout_s)
        if principal is not WORKSHOP:
            check_room(self._limits, self._promised(), resources)
        life = Lifecycle(
            record,
            self._services,
            self._lease(record),
            variables,
            database_access,
            egress_policy,
        )
        sandbox = self._add(principal, life)
        writing = self._services.tasks.spawn(life.register(), name=f"register {record.id}")
        try:
            await asyncio.shield(writing)
        except BaseException:
            self._services.tasks.spawn(life.end(), name=f"forget {record.id}")
            raise
        return sandbox

    async def adopt(
        self,
        record: SandboxRecord,
        container: Container,
        connection: Connection,
        limits: tuple[EffectiveLimit, ...],
    ) -> None:
        """Takes over a sandbox of a dead server. Its row names this server already."""
        kind, _, subject = record.owner.partition(":")
        principal = Principal.model_validate({"kind": kind, "subject": subject})
        life = Lifecycle(record, self._services, self._lease(record))
        await life.adopt(container, connection, limits)
        self._add(principal, life)

    async def get(self, sandbox_id: str, principal: Principal) -> Sandbox:
        """See `SandboxGroup.get_sandbox`."""
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is not None and sandbox.owner == principal:
            life = self._lives[sandbox_id]
            if life.state.live:
                return sandbox
            raise life.gone()
        raise await self._missing(sandbox_id, principal)

    def live(self, principal: Principal) -> list[Sandbox]:
        """The principal's live sandboxes, oldest first."""
        mine = (each for each in self._sandboxes.values() if each.owner == principal)
        return [each for each in mine if each.state.live]

    async def default(self, principal: Principal, resources: ComputeResources) -> Sandbox:
        """See `SandboxGroup.default_sandbox`. Callers who come together get one sandbox."""
        lock = self._default_locks.setdefault(principal.key, asyncio.Lock())
        async with lock:
            sandbox = self._defaults.get(principal.key)
            if sandbox is None or not sandbox.state.live:
                sandbox = await self.create(None, principal=principal, resources=resources)
                self._defaults[principal.key] = sandbox
        await sandbox.start()
        return sandbox

    def implicit(self, principal: Principal) -> Sandbox | None:
        """The principal's default sandbox, if there is one now."""
        sandbox = self._defaults.get(principal.key)
        return sandbox if sandbox is not None and sandbox.state.live else None

    async def end(self, sandbox_id: str, principal: Principal) -> None:
        """See `SandboxGroup.end_sandbox`."""
        try:
            sandbox = await self.get(sandbox_id, principal)
        except SandboxGoneError:
            return
        await sandbox.end()

    async def expire(self) -> None:
        """Ends what has expired, and removes what could not be removed before."""
        for life in list(self._lives.values()):
            cause = life.lease.expired()
            if life.removed:
                self._drop(life)
            elif not life.state.live:
                life.retry_removal()
            elif cause is not None:
                logger.info("sandbox %s ends: %s", life.record.id, cause)
                await life.end(cause)

    async def inspect(self) -> None:
        """Finds the sandboxes whose containers died while nobody was looking."""
        ready = [each for each in self._lives.values() if each.state is SandboxState.READY]
        labels = self._services.installation_labels()
        running = {each.name for each in await self._services.engine.list(labels) if each.running}
        for life in ready:
            if life.record.id not in running:
                await life.examine()

    async def flush(self) -> None:
        """Writes down when the leases run out, for the server that may come after this one."""
        now = self._services.clock.wall()
        remaining = {i: each.lease.remaining_s() for i, each in self._lives.items()}
        leases = {i: None if left is None else now + left for i, left in remaining.items()}
        await self._services.state.renew(leases)

    async def end_all(self) -> None:
        """Ends every sandbox; the removals go on side by side in the background."""
        for life in list(self._lives.values()):
            if not life.removed:
                await life.end()
                life.retry_removal()

    async def detach_all(self) -> None:
        """Leaves the ready sandboxes to the next server, and ends those that never were."""
        await self.flush()
        for life in list(self._lives.values()):
            if life.state is SandboxState.READY and life.record.adoptable:
                await life.detach()
            elif not life.removed:
                await life.end()
                life.retry_removal()

    def _new_record(
        self,
        name: str | None,
        principal: Principal,
        resources: ComputeResources,
        idle_timeout_s: float | None,
    ) -> SandboxRecord:
        sandbox_id, now = new_sandbox_id(), self._services.clock.wall()
        idle = check_seconds("idle_timeout_s", idle_timeout_s) or self._limits.idle_timeout_s
        ends = [each for each in (idle, self._limits.max_lifetime_s) if each is not None]
        return SandboxRecord(
            id=sandbox_id,
            name=sandbox_id if name is None else check_name(name),
            owner=principal.key,
            namespace=self._namespace,
            server_id=self._services.server_id,
            resources=resources,
            created_at=now,
            # Nobody would end that of a workshop: who made it is gone with its server.
            adoptable=self._adoptable and principal is not WORKSHOP,
            idle_timeout_s=idle,
            max_lifetime_s=self._limits.max_lifetime_s,
            lease_expires_at=now + min(ends) if ends else None,
        )

    def _lease(self, record: SandboxRecord) -> Lease:
        """What is left of the record's lease, counted from now by a clock that never jumps."""
        now, expires = self._services.clock.wall(), record.lease_expires_at
        lifetime = record.max_lifetime_s
        return Lease(
            self._services.clock,
            idle_timeout_s=record.idle_timeout_s,
            idle_left_s=None if expires is None else expires - now,
            lifetime_left_s=None if lifetime is None else record.created_at + lifetime - now,
        )

    def _promised(self) -> list[ComputeResources]:
        """What users' sandboxes were given; those of the workshop are short-lived extras."""
        lives = (each for each in self._lives.values() if each.record.owner != WORKSHOP.key)
        return [each.record.resources for each in lives if each.state.live]

    def _add(self, principal: Principal, life: Lifecycle) -> Sandbox:
        sandbox = Sandbox(principal, life, self._services)
        self._lives[life.record.id] = life
        self._sandboxes[life.record.id] = sandbox
        life.when_removed = self._drop
        return sandbox

    def _drop(self, life: Lifecycle) -> None:
        self._lives.pop(life.record.id, None)
        sandbox = self._sandboxes.pop(life.record.id, None)
        for key, default in list(self._defaults.items()):
            if default is sandbox:
                del self._defaults[key]

    async def _missing(self, sandbox_id: str, principal: Principal) -> Exception:
        """Tells an owner why a sandbox is gone, and nobody else that it ever was."""
        record = await self._services.state.get_sandbox(sandbox_id)
        if record is None or record.owner != principal.key or record.state.live:
            return SandboxNotFoundError(f"no sandbox {sandbox_id!r}")
        return Lifecycle(record, self._services, self._lease(record)).gone()
