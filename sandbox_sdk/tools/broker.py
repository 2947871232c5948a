"""The custom tools of one started group: its own files, and a session for each sandbox."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from container_runtime.connection import Connection, ConnectionLost
from container_runtime.engine import Engine
from tool_plugins.contract import ToolFailure
from tool_plugins.errors import ErrorCode, SandboxError, ToolError
from tool_plugins.invisible import one_line
from tool_plugins.registry import ToolRegistry

from .models import Source
from .names import MAX_SHOWN_CHARS
from .packages import Packages
from .registrar import Registrar
from .session import ToolSession
from .shelf import Shelf
from .sources import origin_of, read_source
from .storage import Storage
from .watching import Watched
from .workshop import Workshop

if TYPE_CHECKING:
    from sandbox_sdk.egress.broker import EgressBroker

    from .environments import Environments

logger = logging.getLogger(__name__)

DEFINE_TIMEOUT_S = 300.0
"""For one file of the group, its packages included."""
RETRY_S = 30.0


class ToolBroker:
    """Keeps the group's shelf current, and makes the sessions above it.

    A group without files has one too: its sandboxes may get tools of their own.
    """

    def __init__(
        self,
        files: Sequence[Path],
        state_dir: Path,
        registry: ToolRegistry,
        engine: Engine,
        egress: "EgressBroker",
        *,
        package_index: str | None,
    ) -> None:
        self.shelf = Shelf("group")
        self._watched = Watched(files)
        self._storage = Storage(state_dir / "tools")
        self._registry = registry
        self._engine = engine
        self._egress = egress
        self._folder = state_dir / "environments"
        self._package_index = package_index
        self._listeners: list[Callable[[], None]] = []
        self._workshop: Workshop | None = None
        self._environments: Environments | None = None
        self._first: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def start(self, workshop: Workshop) -> None:
        """Begins to register the group's files, now and whenever they change.

        A file that does not work is logged and listed with its error; the others work.
        """
        self._workshop = workshop
        if not self._watched.empty:
            self._first = asyncio.create_task(self._register_all(), name="register custom tools")
            self._watching = asyncio.create_task(self._watch(), name="watch custom tools")

    async def ready(self) -> None:
        """Waits until every file of the group was asked once what it is.

        Raises:
            SandboxError: there was no sandbox to ask them in.
        """
        if self._first is not None:
            await asyncio.shield(self._first)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener()` is called whenever a list of tools has changed."""
        self._listeners.append(listener)

    def session(self, sandbox_id: str) -> ToolSession:
        """Makes the session of a sandbox."""
        return ToolSession(
            sandbox_id,
            Shelf("sandbox", below=self.shelf),
            self._storage,
            self._registry,
            self._packages(sandbox_id),
            self._packages(),
            self._notify,
        )

    async def drop(self, sandbox_id: str) -> None:
        """Forgets a sandbox that is gone. Idempotent."""
        await asyncio.to_thread(self._storage.drop, sandbox_id)

    async def aclose(self) -> None:
        """Reads and follows no file any more. Idempotent."""
        tasks = {each for each in (self._first, self._watching) if each is not None}
        self._first = self._watching = None
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _register_all(self) -> None:
        try:
            await self._register(await asyncio.to_thread(self._watched.present))
        except SandboxError as exc:
            # Whoever waits for it is told; where nobody does, this line is all there is.
            logger.error("custom tools were not registered: %s", exc)
            self._watched.forget()
            raise

    async def _watch(self) -> None:
        if self._first is not None:
            await asyncio.wait({self._first})
        async for paths in self._watched.changes():
            try:
                await self._follow(paths)
            except Exception:
                # Whatever it was, files that change later are followed, too.
                logger.exception("custom tools were not registered again")
                self._watched.forget()
                await asyncio.sleep(RETRY_S)

    async def _follow(self, paths: Collection[Path]) -> None:
        there = await asyncio.to_thread(self._watched.there)
        origins = {origin_of(path) for path in there}
        gone = [each.namespace for each in self.shelf.own if each.origin not in origins]
        for namespace in gone:
            self.shelf.remove(namespace)
            self._notify()
        # Their names are free now: another folder may have a file that was refused for one.
        await self._register([path for path in there if path in paths or path.stem in gone])

    async def _register(self, paths: Sequence[Path]) -> None:
        """Asks each file what it is, in a sandbox that is thrown away afterwards."""
        sources: deque[Source] = deque()
        for path in paths:
            try:
                sources.append(await asyncio.to_thread(read_source, path))
            except ToolError as exc:
                name = one_line(path.stem, MAX_SHOWN_CHARS) or "?"
                self._fail(Source(namespace=name, text="", origin=origin_of(path)), exc)
        assert self._workshop is not None, "start gives it"
        while sources:
            async with self._workshop(None) as sandbox, sandbox.connected() as connection:
                while sources and await self._admit(connection, sources.popleft()):
                    pass
        self._notify()

    async def _admit(self, connection: Connection, source: Source) -> bool:
        """Puts a file on the shelf, or notes why not. False: it took the sandbox along."""
        registrar = Registrar(self.shelf, self._registry, self._packages())
        try:
            self.shelf.put(await registrar.admit(connection, source, DEFINE_TIMEOUT_S))
        except ToolError as exc:
            self._fail(source, exc)
        except (ConnectionLost, TimeoutError):
            error = ToolError(ErrorCode.SCHEMA_ERROR, "its sandbox ended while it was imported")
            self._fail(source, error)
            return False
        return True

    def _fail(self, source: Source, error: ToolError) -> None:
        logger.error("%s: %s: %s", source.origin, error.code, error.message)
        self.shelf.fail(source, ToolFailure.model_validate(error.as_dict()))

    def _packages(self, sandbox_id: str | None = None) -> Packages:
        """Under the policy of a sandbox, or of the group."""
        return Packages(self._made_environments, partial(self._egress.policy, sandbox_id))

    def _made_environments(self) -> "Environments":
        assert self._workshop is not None, "start gives it"
        if self._environments is None:
            from .environments import Environments

            self._environments = Environments(
                self._engine, self._folder, self._workshop, index=self._package_index
            )
        return self._environments

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()
