"""The operator's side of a PostgreSQL database: see `Provisioner`.

Everything blocks in a few threads of this object's own, which also bounds how much the server has
to do at once for sandboxes that begin or end.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from sandbox_sdk.databases.access import VERBS, Access, Database
from sandbox_sdk.databases.population.contents import Population
from sandbox_sdk.databases.provisioner import Copy, Place, Provisioner
from tool_plugins.errors import ConfigurationError, EngineError

from .admin import Stopped
from .copies import Copies
from .home import Home, Setting
from .shared import Shared
from .url import Server, parse_url

DRIVER = "sandbox_sdk.databases.postgres.driver:PostgresDriver"
WORKERS = 4
MAX_IDENTIFIER_BYTES = 63

Answer = TypeVar("Answer")


class PostgresProvisioner(Provisioner):
    """Copies databases, or shares one, and makes a role for each sandbox."""

    def __init__(self, database: Database, population: Population | None, place: Place) -> None:
        super().__init__(database, population, place)
        setting = Setting(database, population, _server(database), place.report)
        self._home: Home = Shared(setting) if database.isolation == "shared" else Copies(setting)
        self._executor = ThreadPoolExecutor(WORKERS, thread_name_prefix="postgres-operator")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._closed = False

    @classmethod
    def check(cls, database: Database) -> None:
        """Reads the url, and looks whether names in the rules can be names at all."""
        server = _server(database)
        if database.isolation == "shared" and not server.dbname:
            raise _problem(database, "the url names no database to share")
        _check_access(database, database.access)

    async def open(self) -> None:
        """See `Provisioner.open`. What was begun is ended when the caller is cancelled."""
        work = asyncio.ensure_future(self._run(self._home.open))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.to_thread(self._home.close)
            await asyncio.gather(work, return_exceptions=True)
            raise

    async def create(self, sandbox_id: str, access: Access) -> Copy:
        """See `Provisioner.create`."""
        _check_access(self.database, access)
        async with self._turn(sandbox_id):
            work = asyncio.ensure_future(self._run(lambda: self._home.create(sandbox_id, access)))
            try:
                conninfo = await asyncio.shield(work)
            except asyncio.CancelledError:
                # A thread cannot be stopped; the next one for this sandbox has to wait for it.
                await asyncio.gather(work, return_exceptions=True)
                raise
        settings = {
            "conninfo": conninfo,
            "pool": self.database.pool.model_dump(),
            "require_tls": self.database.require_tls,
            "writable": access.writable,
            "timeout_s": self.database.limits.timeout_s,
        }
        return Copy(DRIVER, settings)

    async def drop(self, sandbox_id: str) -> None:
        """See `Provisioner.drop`."""
        async with self._turn(sandbox_id):
            await self._run(lambda: self._home.drop(sandbox_id))

    async def terminate(self, sandbox_id: str) -> None:
        """See `Provisioner.terminate`. Does not wait for a `create` or `drop` of the sandbox."""
        await self._run(lambda: self._home.terminate(sandbox_id))

    async def copies(self) -> set[str]:
        """See `Provisioner.copies`."""
        return await self._run(self._home.sandboxes)

    async def aclose(self) -> None:
        """See `Provisioner.aclose`."""
        self._closed = True
        await asyncio.to_thread(self._home.close)
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)

    def _turn(self, sandbox_id: str) -> asyncio.Lock:
        """Held while a sandbox's copy is made or dropped: one after the other."""
        return self._turns.setdefault(sandbox_id, asyncio.Lock())

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        if self._closed:
            raise EngineError(f"database {self.database.name!r} is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except Stopped:
            raise EngineError(f"database {self.database.name!r} is closed") from None


def _server(database: Database) -> Server:
    if database.url is None:
        raise _problem(database, "postgres needs a url")
    try:
        return parse_url(
            database.url.get_secret_value(),
            require_tls=database.require_tls,
            ca_file=database.ca_file,
            connect_timeout_s=database.pool.connection_timeout,
        )
    except ConfigurationError as exc:
        raise _problem(database, exc.message, exc.hint) from None


def _check_access(database: Database, access: Access) -> None:
    if access.default == "owner" and database.isolation != "copy":
        raise _problem(database, "a shared database has no owner among the sandboxes")
    names = [*access.schemas, *access.tables]
    for table in access.tables:
        if table.count(".") > 1:
            raise _problem(database, f"table {table!r} has more than a schema and a name")
        rule = access.rule(table)
        for verb in VERBS:
            columns = rule.columns(verb)
            names += columns if isinstance(columns, tuple) else ()
    for name in names:
        if any(_implausible(part) for part in name.split(".")):
            raise _problem(database, f"{name!r} cannot be a name in PostgreSQL")


def _implausible(name: str) -> bool:
    return not 0 < len(name.encode()) <= MAX_IDENTIFIER_BYTES or not name.isprintable()


def _problem(database: Database, problem: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError(f"database {database.name!r}: {problem}", hint=hint)
