"""The databases of one started group: their provisioners, their workers, who uses what."""

import asyncio
import json
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tool_plugins.errors import ConfigurationError, EngineError, SandboxError

from .access import NOTHING, Access, Database
from .configuration import Configured
from .exposure import Exposure, Upload, addresses, file_of, place_file
from .provisioner import Place, Provisioner, provisioner_of

if TYPE_CHECKING:
    from .session import SandboxDatabases
    from .worker.client import Workers

logger = logging.getLogger(__name__)

ACCESS_FILE = "access.json"


class Broker:
    """Makes databases for sandboxes on their first use and drops them with them.

    A group without databases has one too: it removes what an earlier group left of a sandbox.
    """

    def __init__(self, configured: Configured, place: Place) -> None:
        self._configured = configured
        self._place = place
        self._provisioners: dict[str, Provisioner] = {}
        self._sessions: dict[str, SandboxDatabases] = {}
        self._exposures: dict[str, Exposure] = {}
        self._workers: Workers | None = None
        self._warming: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Reaches every server and prepares the templates.

        Raises:
            ConfigurationError: a server cannot hold what was configured.
            EngineError: a server cannot be reached.
        """
        if not self._configured:
            return
        await asyncio.to_thread(self._place.folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        for database in self._configured.access.databases:
            population = self._configured.populations.get(database.name)
            kind = provisioner_of(database.engine)
            self._provisioners[database.name] = kind(database, population, self._place)
        from .worker.client import Workers

        engines = sorted({database.engine for database in self._configured.access.databases})
        self._workers = Workers(f"{__package__}.{engine}.driver" for engine in engines)
        # Nobody waits for it: what a driver imports may take seconds. The first worker does.
        self._warming = asyncio.create_task(self._workers.start(), name="start database workers")
        self._warming.add_done_callback(_note)
        opening = [each.open() for each in self._provisioners.values()]
        # All are waited for: an error must not leave another half open behind it.
        outcomes = await asyncio.gather(*opening, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                await self.aclose()
                raise outcome

    async def aclose(self) -> None:
        """Ends every worker, and with it every open transaction. Copies stay. Idempotent."""
        await asyncio.gather(*(self.close(each) for each in {*self._sessions, *self._exposures}))
        if self._warming is not None:
            self._warming.cancel()
            await asyncio.wait({self._warming})
        workers, self._workers = self._workers, None
        if workers is not None:
            await workers.aclose()
        await asyncio.gather(*(each.aclose() for each in self._provisioners.values()))

    async def restrict(self, sandbox_id: str, access: Mapping[str, Access]) -> None:
        """Writes down what one sandbox may do, so that a restarted server knows it too."""
        if access:
            text = json.dumps({name: each.model_dump() for name, each in access.items()})
            await asyncio.to_thread(_write, self._folder(sandbox_id) / ACCESS_FILE, text)

    def session(self, sandbox_id: str, upload: Upload) -> "SandboxDatabases":
        """What one sandbox has. `upload` writes a file of its workspace.

        Raises:
            ConfigurationError: the group has no databases.
        """
        session = self._sessions.get(sandbox_id)
        if session is None:
            session = self._sessions[sandbox_id] = self._make(sandbox_id, upload)
        return session

    def environment(self, sandbox_id: str) -> dict[str, str]:
        """The variables that name the databases programs in the sandbox may connect to.

        Raises:
            ConfigurationError: the engine has no way for them.
        """
        return addresses(self._databases(sandbox_id), self._place.engine.layout(sandbox_id))

    async def expose(self, sandbox_id: str, upload: Upload) -> None:
        """Listens for programs in the sandbox, whose container exists. Idempotent."""
        shared = self._place.engine.layout(sandbox_id).shared
        databases = self._databases(sandbox_id)
        if sandbox_id in self._exposures or shared is None:
            return
        if not any(database.expose for database in databases):
            return
        # Of the in-process engine nobody else makes it.
        await asyncio.to_thread(shared.mkdir, parents=True, exist_ok=True)

        def settings(name: str) -> Callable[[], Awaitable[Mapping[str, Any]]]:
            async def made() -> Mapping[str, Any]:
                return await self.session(sandbox_id, upload).settings(name)

            return made

        exposure = self._exposures[sandbox_id] = Exposure()
        await exposure.open(databases, shared, settings)

    async def place_files(self, sandbox_id: str, upload: Upload) -> None:
        """Gives a sandbox that has just started the databases that are files of its workspace."""
        layout = self._place.engine.layout(sandbox_id)
        for database in self._databases(sandbox_id):
            if file_of(database, layout) is not None:
                provisioner = self._provisioners[database.name]
                await place_file(database, provisioner, sandbox_id, upload)

    async def close(self, sandbox_id: str) -> None:
        """Ends a sandbox's worker; its open transactions are rolled back. Idempotent."""
        exposure = self._exposures.pop(sandbox_id, None)
        if exposure is not None:
            await exposure.aclose()
        session = self._sessions.pop(sandbox_id, None)
        if session is not None:
            await session.aclose()

    async def drop(self, sandbox_id: str) -> None:
        """Removes everything a sandbox has. Idempotent.

        Raises:
            EngineError: a server could not be reached; call it again.
        """
        await self.close(sandbox_id)
        dropping = [each.drop(sandbox_id) for each in self._provisioners.values()]
        outcomes = await asyncio.gather(*dropping, return_exceptions=True)
        failed = [each for each in outcomes if isinstance(each, BaseException)]
        for error in failed:
            if not isinstance(error, SandboxError):
                raise error
        if failed:
            raise EngineError(f"databases of {sandbox_id} are left: {failed[0]}")
        await asyncio.to_thread(_delete, self._folder(sandbox_id))

    async def copies(self) -> set[str]:
        """The ids of all sandboxes of which a server or this host still keeps something."""
        found = set(await asyncio.to_thread(_names, self._place.folder / "copies"))
        for name, provisioner in self._provisioners.items():
            try:
                found |= await provisioner.copies()
            except SandboxError as exc:
                logger.warning("the copies of database %s are not known now: %s", name, exc)
        return found

    def _make(self, sandbox_id: str, upload: Upload) -> "SandboxDatabases":
        from .session import Provisioned, SandboxDatabases

        if self._workers is None:
            raise ConfigurationError(
                "this group has no databases", hint="give the group a database_access"
            )
        layout = self._place.engine.layout(sandbox_id)
        databases = {
            database.name: Provisioned(
                database, self._provisioners[database.name], file_of(database, layout)
            )
            for database in self._databases(sandbox_id)
        }
        return SandboxDatabases(sandbox_id, databases, self._workers, upload)

    def _databases(self, sandbox_id: str) -> list[Database]:
        """The databases of one sandbox, each with what this sandbox may do with it."""
        restricted = self._restricted(sandbox_id)
        every = (
            database.with_access(restricted.get(database.name, database.access))
            for database in self._configured.access.databases
        )
        return [database for database in every if database.access != NOTHING]

    def _restricted(self, sandbox_id: str) -> dict[str, Access]:
        try:
            text = (self._folder(sandbox_id) / ACCESS_FILE).read_text()
        except FileNotFoundError:
            return {}
        stored: dict[str, Any] = json.loads(text)
        return {name: Access.model_validate(each) for name, each in stored.items()}

    def _folder(self, sandbox_id: str) -> Path:
        return self._place.folder / "copies" / sandbox_id


def _note(warming: asyncio.Task[None]) -> None:
    """A failure here is told to whoever needs the first worker, which tries again."""
    if not warming.cancelled() and (error := warming.exception()) is not None:
        logger.warning("the database workers did not start ahead: %s", error)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.write_text(text)


def _delete(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()] if folder.exists() else []
