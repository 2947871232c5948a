"""The custom tools of one sandbox: registers, lists, removes, keeps what runs inside current."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from container_runtime.connection import Connection, ConnectionLost
from tool_plugins.contract import ToolFailure
from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.registry import ToolRegistry
from tool_plugins.tool.results import ListResult, RegisterResult, RemoveResult

from . import inside
from .changes import changes
from .models import Entry, Source, Version
from .packages import Packages
from .registrar import Registrar
from .shelf import Shelf
from .storage import Storage
from .views import registered, summaries

logger = logging.getLogger(__name__)

MAX_FILES = 64


class ToolSession:
    """One per sandbox. `notify` is called when what can be seen here has changed."""

    def __init__(
        self,
        sandbox_id: str,
        shelf: Shelf,
        storage: Storage,
        registry: ToolRegistry,
        packages: Packages,
        notify: Callable[[], None],
    ) -> None:
        self.shelf = shelf
        self.sandbox_id = sandbox_id
        self._storage = storage
        self._packages = packages
        self._registrar = Registrar(shelf, registry, packages)
        self._notify = notify
        self._changing = asyncio.Lock()
        self._installed: set[str] = set()

    async def restore(self) -> None:
        """Knows again what was registered before the server was restarted."""
        try:
            versions = await asyncio.to_thread(self._storage.load, self.sandbox_id)
        except (OSError, ValueError) as exc:
            logger.error("the custom tools of sandbox %s are lost: %s", self.sandbox_id, exc)
            return
        for version in versions:
            self.shelf.put(version)

    async def register(
        self, connection: Connection, source: Source, timeout_s: float
    ) -> RegisterResult:
        """Makes a file the namespace's. With an error everything is as before.

        Raises:
            ToolError: ALREADY_EXISTS, SCHEMA_ERROR, DEPENDENCY_ERROR, TIMEOUT and the like.
        """
        async with self._changing:
            self._check_room(source)
            try:
                version = await self._registrar.admit(connection, source, timeout_s)
                await self._save({source.namespace: version})
            except ToolError as exc:
                if self.shelf.get(source.namespace) is not None:
                    self.shelf.fail(source, ToolFailure.model_validate(exc.as_dict()))
                raise
            before = self.shelf.put(version)
            if version.settings.process == "file":
                self._installed.add(version.build)
            else:
                # It was described before that was known: the first call installs it anew.
                self._installed.discard(version.build)
                await self._drop(connection, version.build)
        self._notify()
        return registered(version, changes(before, version))

    def list(self, namespace: str | None = None) -> ListResult:
        """The files that can be seen here; one of them with the schemas of its tools.

        Raises:
            ToolError: NOT_FOUND, no file has that namespace.
        """
        entries = list(self.shelf.entries())
        if namespace is not None:
            entries = [each for each in entries if each.namespace == namespace]
            if not entries:
                raise self._unknown(namespace)
        return ListResult(files=summaries(entries, schemas=namespace is not None))

    async def remove(self, connection: Connection, namespace: str) -> RemoveResult:
        """Takes a file away that was registered here. Calls that run finish.

        Raises:
            ToolError: NOT_FOUND, or PERMISSION_DENIED for one of the group.
        """
        async with self._changing:
            entry = self._own(namespace)
            await self._save({namespace: None})
            self.shelf.remove(namespace)
        await self._tidy(connection)
        self._notify()
        tools = entry.version.tools if entry.version else ()
        return RemoveResult(namespace=namespace, removed=[each.mcp_name for each in tools])

    async def ensure(
        self, connection: Connection, version: Version, *, again: bool = False
    ) -> None:
        """Sees to it that a build is inside, and that those nobody can see any more go."""
        if version.build in self._installed and not again:
            return
        await self._packages.keep(version)
        await inside.install(connection, version.source, version.environment, version.settings)
        self._installed.add(version.build)
        await self._tidy(connection)

    async def _tidy(self, connection: Connection) -> None:
        for build in self._installed - self.shelf.builds():
            self._installed.discard(build)
            await self._drop(connection, build)

    async def _drop(self, connection: Connection, build: str) -> None:
        # What is left over costs memory and nothing else.
        with suppress(ToolError, TimeoutError, ConnectionLost):
            await inside.drop(connection, build)

    async def _save(self, changed: dict[str, Version | None]) -> None:
        kept = {e.namespace: e.version for e in self.shelf.own} | changed
        versions = [each for each in kept.values() if each is not None]
        await asyncio.to_thread(self._storage.save, self.sandbox_id, versions)

    def _check_room(self, source: Source) -> None:
        if self.shelf.get(source.namespace) is None and len(self.shelf.own) >= MAX_FILES:
            raise ToolError(
                ErrorCode.QUOTA_EXCEEDED,
                f"a sandbox has at most {MAX_FILES} files of custom tools",
                hint="remove one first",
            )

    def _own(self, namespace: str) -> Entry:
        entry = self.shelf.get(namespace)
        if entry is not None:
            return entry
        if any(each.namespace == namespace for each in self.shelf.entries()):
            raise ToolError(
                ErrorCode.PERMISSION_DENIED,
                f"{namespace!r} came with the group and cannot be removed from a sandbox",
            )
        raise self._unknown(namespace)

    def _unknown(self, namespace: str) -> ToolError:
        known = ", ".join(each.namespace for each in self.shelf.entries())
        return ToolError(
            ErrorCode.NOT_FOUND,
            f"no custom tools of the namespace {namespace[:80]!r}",
            hint=f"there are: {known or 'none'}",
        )
