"""The custom tools of one sandbox: registers, lists, removes, keeps what runs inside current."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from container_runtime.connection import Connection, ConnectionLost
from sandbox_sdk.tasks import finish
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
    """One per sandbox. `notify` is called when what can be seen here has changed.

    `packages` installs under the sandbox's policy, `group_packages` under that of its group, whose
    files were read under it.
    """

    def __init__(
        self,
        sandbox_id: str,
        shelf: Shelf,
        storage: Storage,
        registry: ToolRegistry,
        packages: Packages,
        group_packages: Packages,
        notify: Callable[[], None],
    ) -> None:
        self.shelf = shelf
        self.sandbox_id = sandbox_id
        self._storage = storage
        self._packages = packages
        self._group_packages = group_packages
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
            try:
                self._registrar.check(version)
            except ToolError as exc:
                logger.error("tools of sandbox %s are lost: %s", self.sandbox_id, exc.message)
            else:
                self.shelf.put(version)

    def ended(self) -> None:
        """Its sandbox is gone, and with it what only this one had."""
        if self.shelf.own:
            self._notify()

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
                self._installed.add(version.build)
                before = self.shelf.get(source.namespace)
                await self._keep(source.namespace, version)
                if version.settings.process == "call":
                    # It was described before that was known: the first call installs it anew.
                    self._installed.discard(version.build)
                    await self._drop(connection, version.build)
            except ToolError as exc:
                if self.shelf.get(source.namespace) is not None:
                    self.shelf.fail(source, ToolFailure.model_validate(exc.as_dict()))
                raise
            finally:
                await self._tidy(connection)
        return registered(version, changes(before.version if before else None, version))

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
            await self._keep(namespace, None)
            await self._tidy(connection)
        tools = entry.version.tools if entry.version else ()
        return RemoveResult(namespace=namespace, removed=[each.mcp_name for each in tools])

    async def ensure(
        self, connection: Connection, version: Version, *, again: bool = False
    ) -> None:
        """Sees to it that a build is inside, and that those nobody can see any more go."""
        # Also of a build that is there: its next process imports them anew.
        below = self.shelf.is_below(version)
        await (self._group_packages if below else self._packages).keep(version)
        if version.build in self._installed and not again:
            return
        await inside.install(connection, version.source, version.environment, version.settings)
        self._installed.add(version.build)
        if not self._changing.locked():  # whoever holds it tidies
            async with self._changing:
                await self._tidy(connection, but=version.build)

    async def _tidy(self, connection: Connection, but: str = "") -> None:
        """Drops what nobody can see any more; `but` is for a call that found it before."""
        for build in self._installed - self.shelf.builds() - {but}:
            self._installed.discard(build)
            await self._drop(connection, build)

    async def _drop(self, connection: Connection, build: str) -> None:
        # What is left over costs memory and nothing else.
        with suppress(ToolError, TimeoutError, ConnectionLost):
            await inside.drop(connection, build)

    async def _keep(self, namespace: str, version: Version | None) -> None:
        """Writes down and shows what a namespace has now: both or neither, though cancelled."""
        await finish(asyncio.create_task(self._change(namespace, version)))

    async def _change(self, namespace: str, version: Version | None) -> None:
        kept = {each.namespace: each.version for each in self.shelf.own} | {namespace: version}
        versions = [each for each in kept.values() if each is not None]
        await asyncio.to_thread(self._storage.save, self.sandbox_id, versions)
        if version is None:
            self.shelf.remove(namespace)
        else:
            self.shelf.put(version)
        self._notify()

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
