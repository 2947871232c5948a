"""The instances of one configured database: makes, starts, finds and removes them.

An instance is a service container of the engine. Here is what is common to sandboxes' copies and
to the one that becomes a template: start, wait until it answers, say why it does not.
"""

import asyncio
import secrets
from collections.abc import Callable

from container_runtime.service import ServiceAddress, ServiceContainers, ServiceSpec
from tool_plugins.errors import ConfigurationError, EngineError

from .admin import Admin
from .instance import ADMIN, password_of
from .url import Server

READY_TIMEOUT_S = 180.0
READY_POLL_S = 0.25
RESTART_STOP_S = 5.0
STOP_TIMEOUT_S = 120.0
LAST_LINES = 8
PASSWORD_BYTES = 24


def fresh_password() -> str:
    """A password nobody knows, of characters that need no quoting anywhere."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


class Instances:
    """Service containers that run Neo4j. `containers` is asked for when it is needed."""

    def __init__(self, containers: Callable[[], ServiceContainers]) -> None:
        self._containers = containers

    @property
    def containers(self) -> ServiceContainers:
        """The engine's service containers.

        Raises:
            ConfigurationError: the engine runs none.
        """
        return self._containers()

    async def start(self, name: str) -> Server:
        """Starts an instance, unless it runs, and waits until it answers.

        Raises:
            EngineError: it does not; the message holds the last lines it printed.
        """
        info = await self.containers.get(name)
        if info is None:
            raise EngineError(f"there is no instance {name!r}")
        password = password_of(info.environment, name)
        address = await self.containers.start(name)
        server = server_at(address, password)
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._until_ready(name, server)
        except TimeoutError:
            raise await self._failure(
                name, f"did not answer within {READY_TIMEOUT_S:g} s"
            ) from None
        return server

    async def _until_ready(self, name: str, server: Server) -> None:
        admin = Admin(server)
        while True:
            try:
                await asyncio.to_thread(admin.edition)
            except ConfigurationError as error:
                raise EngineError(f"instance {name!r}: {error.message}") from error
            except EngineError:
                info = await self.containers.get(name)
                if info is None or not info.running:
                    raise await self._failure(name, "ended while it started") from None
                await asyncio.sleep(READY_POLL_S)
            else:
                return

    async def _failure(self, name: str, what: str) -> EngineError:
        try:
            said = await self.containers.last_words(name, lines=LAST_LINES)
        except EngineError:
            said = "nothing of it is left"
        return EngineError(f"the Neo4j instance {name!r} {what}; it said: {said}")

    async def restart(self, name: str) -> Server:
        """Ends whatever an instance is doing, and starts it again. What was committed stays."""
        await self.containers.stop(name, timeout_s=RESTART_STOP_S)
        return await self.start(name)

    async def stop(self, name: str) -> None:
        """Ends an instance so that its files are complete.

        Raises:
            EngineError: it did not end by itself.
        """
        await self.containers.stop(name, timeout_s=STOP_TIMEOUT_S)
        info = await self.containers.get(name)
        # 143 is what a Java machine says that was asked to end.
        if info is None or info.exit_code not in (0, 143):
            raise await self._failure(name, "did not stop cleanly")

    async def create(self, spec: ServiceSpec) -> None:
        """Makes the container; what an earlier attempt left under its name is removed first."""
        await self.containers.remove(spec.name)
        await self.containers.create(spec)


def server_at(address: ServiceAddress, password: str) -> Server:
    """A running instance as its operator reaches it."""
    return Server(f"bolt://{address.host}:{address.port}", ADMIN, password)
