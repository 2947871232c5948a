"""What a server does about the servers that died before it, and about containers nobody owns."""

import logging
import platform
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from container_runtime.connection import Connection, ConnectionLost
from container_runtime.engine import Container
from container_runtime.spec import EffectiveLimit
from tool_plugins.errors import GoneCause, SandboxError

from .liveness import ServerLock
from .models import SandboxState
from .records import SandboxRecord, ServerRecord
from .services import Services

logger = logging.getLogger(__name__)

ADOPT_TIMEOUT_S = 5.0

Adopt = Callable[
    [SandboxRecord, Container, Connection, tuple[EffectiveLimit, ...]], Awaitable[None]
]
"""Takes over a running sandbox whose row already names this server."""


@dataclass(slots=True)
class Recovered:
    """What a recovery did, as sandbox ids. `left` is tried again by the next one."""

    adopted: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Recovery:
    """Adopts or removes. Leaves alone what belongs to a server that lives.

    A sandbox is adopted when it was made to outlive its server, its lease holds, its namespace is
    ours and its action server answers. One of another namespace waits for a group of that name
    until its lease runs out; everything else is removed.
    """

    def __init__(
        self, services: Services, *, state_dir: Path, namespace: str, adopt: Adopt
    ) -> None:
        self._services = services
        self._state_dir = state_dir
        self._namespace = namespace
        self._adopt = adopt

    async def run(self) -> Recovered:
        """One pass over dead servers, then over containers without a row."""
        found = Recovered()
        for server in await self._servers():
            if server.id != self._services.server_id:
                await self._settle(server, found)
        await self._remove_strays(found)
        await self._remove_databases(found)
        if found.adopted or found.removed:
            logger.info("adopted %s, removed %s", found.adopted, found.removed)
        return found

    async def _servers(self) -> list[ServerRecord]:
        home, engine = home_of(self._state_dir), self._services.engine.name
        return await self._services.state.list_servers(home=home, engine=engine)

    async def _settle(self, server: ServerRecord, found: Recovered) -> None:
        """Takes a dead server's lock, so that only one heir divides what it left."""
        lock = ServerLock.take(self._state_dir, server.id)
        if lock is None:
            return
        empty = False
        try:
            for record in await self._services.state.list_unremoved(server.id):
                await self._inherit(record, found)
            empty = not await self._services.state.list_unremoved(server.id)
            if empty:
                await self._services.state.remove_server(server.id)
        finally:
            lock.release(discard=empty)

    async def _inherit(self, record: SandboxRecord, found: Recovered) -> None:
        if self._may_live_on(record):
            if record.namespace != self._namespace:
                return
            if await self._try_adopt(record):
                found.adopted.append(record.id)
                return
        await self._bury(record, found)

    def _may_live_on(self, record: SandboxRecord) -> bool:
        expires = record.lease_expires_at
        holds = expires is None or expires > self._services.clock.wall()
        return record.adoptable and record.state is SandboxState.READY and holds

    async def _try_adopt(self, record: SandboxRecord) -> bool:
        connection: Connection | None = None
        try:
            container = await self._services.engine.get(record.id)
            if container is None or not (await container.status()).running:
                return False
            connection = Connection(container.endpoint)
            await connection.ready(ADOPT_TIMEOUT_S)
            limits = await container.limits()
        except (SandboxError, ConnectionLost, TimeoutError) as exc:
            logger.warning("sandbox %s cannot be adopted: %s", record.id, exc)
            if connection is not None:
                await connection.aclose()
            return False
        ours = self._services.server_id
        if await self._services.state.adopt(record.id, dead=record.server_id, by=ours):
            await self._adopt(replace(record, server_id=ours), container, connection, limits)
            return True
        await connection.aclose()
        return False

    async def _bury(self, record: SandboxRecord, found: Recovered) -> None:
        """Row first: nobody may reach a sandbox that is being removed."""
        state, at = self._services.state, self._services.clock.wall()
        cause = record.end_cause or _cause_of(record, at)
        await state.end(record.id, cause=cause, failed=False, at=at)
        if await self._remove(record.id, found):
            await state.mark_removed(record.id, at=at)

    async def _remove_strays(self, found: Recovered) -> None:
        """Containers of this installation that no row stands for.

        The inventory is read first: whatever it shows had its row written before.
        """
        labels = self._services.installation_labels()
        containers = await self._services.engine.list(labels)
        known = {record.id for record in await self._services.state.list_unremoved()}
        for container in containers:
            if container.name not in known:
                await self._remove(container.name, found)

    async def _remove_databases(self, found: Recovered) -> None:
        """Copies of sandboxes that are gone, on servers that only this group's settings reach.

        A server may be shared with other installations: what no row of ours names is theirs.
        """
        copies = await self._services.databases.copies()
        known = {record.id for record in await self._services.state.list_unremoved()}
        for sandbox_id in copies - known:
            if await self._services.state.get_sandbox(sandbox_id) is not None:
                await self._remove(sandbox_id, found)

    async def _remove(self, name: str, found: Recovered) -> bool:
        try:
            await self._services.engine.remove(name)
            await self._services.databases.drop(name)
            await self._services.egress.drop(name)
            await self._services.tools.drop(name)
        except SandboxError as exc:
            logger.warning("sandbox %s cannot be removed now: %s", name, exc)
            found.left.append(name)
            return False
        found.removed.append(name)
        return True


def home_of(state_dir: Path) -> str:
    """What names this machine and folder among the servers that share a state database."""
    return f"{platform.node()}:{state_dir}"


def _cause_of(record: SandboxRecord, now: float) -> GoneCause:
    expires = record.lease_expires_at
    return GoneCause.IDLE if expires is not None and expires <= now else GoneCause.KILLED
