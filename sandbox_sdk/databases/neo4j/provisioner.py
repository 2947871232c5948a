"""Neo4j for sandboxes: an instance for each of them, or a user on a shared server.

Community has one database and no roles, so a copy is a container of its own: made on first use
from the image and the template, with a user "sandbox" beside the operator's. What that user may do
is held by the access mode of its transactions (see `rules`); in a copy that may only be read, by
the database as well. A container has no way out, no capability, and limits of memory, processors,
processes and disk.

On a shared server each sandbox gets a user too, whose transactions can be told from others'. All
users of Community have full rights, so sandboxes there see and can end each other's transactions:
`enforcement="required"` refuses that.
"""

import asyncio
import hashlib
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from sandbox_sdk.databases.access import NEO4J_IMAGE, Access, Database
from sandbox_sdk.databases.provisioner import Copy, Provisioner
from sandbox_sdk.services import SANDBOX_LABEL
from tool_plugins.errors import ConfigurationError, EngineError

from . import rules
from .admin import BLOCKED_ADDRESSES, CLOSED_TO_FILES, EVERYWHERE, Admin
from .instance import DATA, DATABASE_LABEL, PRINCIPAL, copy_spec, instance_name
from .instances import Instances, fresh_password
from .template import Template
from .url import Server, parse_url

DRIVER = "sandbox_sdk.databases.neo4j.driver:Neo4jDriver"


class Neo4jProvisioner(Provisioner):
    """See the module. One for each configured database; which kind follows from its isolation."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        kind = _Copies if self.database.isolation == "copy" else _Users
        self._kind: _Copies | _Users = kind(self)

    @classmethod
    def check(cls, database: Database) -> None:
        rules.check(database)

    async def open(self) -> None:
        await self._kind.open()

    async def create(self, sandbox_id: str, access: Access) -> Copy:
        server = await self._kind.create(sandbox_id, access)
        pool, limits = self.database.pool, self.database.limits
        settings = asdict(server) | {
            "access": access.default,
            "pool_size": pool.pool_size + pool.max_overflow,
            "pool_timeout": pool.pool_timeout,
            "pool_recycle": pool.pool_recycle,
            "connection_timeout": pool.connection_timeout,
            "transaction_s": limits.transaction_s,
        }
        return Copy(DRIVER, settings)

    async def drop(self, sandbox_id: str) -> None:
        await self._kind.drop(sandbox_id)

    async def terminate(self, sandbox_id: str) -> None:
        await self._kind.terminate(sandbox_id)

    async def copies(self) -> set[str]:
        return await self._kind.copies()

    async def aclose(self) -> None:
        """Nothing is kept open."""


class _Copies:
    """An instance for each sandbox."""

    def __init__(self, owner: Neo4jProvisioner) -> None:
        self._owner = owner
        self._instances = Instances(owner.place.engine.services)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._image = ""
        self._template: Template | None = None

    async def open(self) -> None:
        database, place, population = (
            self._owner.database,
            self._owner.place,
            self._owner.population,
        )
        self._image = await self._instances.containers.image_id(database.image or NEO4J_IMAGE)
        if population is not None:
            self._template = Template(
                population,
                image=self._image,
                folder=place.folder / "templates",
                instances=self._instances,
                report=place.report,
            )
            await self._template.ensure()

    async def create(self, sandbox_id: str, access: Access) -> Server:
        name = self._name(sandbox_id)
        async with self._locks[sandbox_id]:
            if await self._instances.containers.get(name) is not None:
                return await self._admit(name)
            spec = copy_spec(
                sandbox_id,
                self._owner.database,
                access,
                image=self._image,
                password=fresh_password(),
            )
            try:
                await self._instances.create(spec)
                if self._template is not None:
                    await self._instances.containers.put(name, DATA, self._template.path)
                return await self._admit(name)
            except BaseException:
                await asyncio.shield(self._instances.containers.remove(name))
                raise

    async def _admit(self, name: str) -> Server:
        """Starts the instance where it does not run; gives its user a fresh password."""
        server = await self._instances.start(name)
        password = fresh_password()
        await asyncio.to_thread(Admin(server).prepare_user, PRINCIPAL, password)
        return server.restricted(PRINCIPAL, password)

    async def drop(self, sandbox_id: str) -> None:
        async with self._locks[sandbox_id]:
            await self._instances.containers.remove(self._name(sandbox_id))
        self._locks.pop(sandbox_id, None)

    async def terminate(self, sandbox_id: str) -> None:
        """Asks the server; one that cannot end a statement is started again."""
        name = self._name(sandbox_id)
        async with self._locks[sandbox_id]:
            info = await self._instances.containers.get(name)
            if info is None or not info.running:
                return
            try:
                server = await self._instances.start(name)
                ended = await asyncio.to_thread(Admin(server).end, PRINCIPAL)
            except EngineError:
                ended = False
            if not ended:
                await self._instances.restart(name)

    async def copies(self) -> set[str]:
        labels = {DATABASE_LABEL: self._owner.database.name}
        found = await self._instances.containers.list(labels)
        return {info.labels[SANDBOX_LABEL] for info in found if SANDBOX_LABEL in info.labels}

    def _name(self, sandbox_id: str) -> str:
        return instance_name(sandbox_id, self._owner.database.name)


class _Users:
    """A user for each sandbox on one server."""

    def __init__(self, owner: Neo4jProvisioner) -> None:
        self._owner = owner
        database = owner.database
        assert database.url is not None
        self._server = parse_url(
            database.url.get_secret_value(),
            require_tls=database.require_tls,
            ca_file=database.ca_file,
        )
        self._admin = Admin(self._server, connect_timeout_s=database.pool.connection_timeout)
        # Other installations may use the same server.
        where = str(owner.place.folder.resolve()).encode()
        self._prefix = f"sandbox_{hashlib.sha256(where).hexdigest()[:8]}_{database.name}__"

    async def open(self) -> None:
        database = self._owner.database
        if self._owner.population is not None:
            raise ConfigurationError(
                f"database {database.name!r}: a shared Neo4j database is not filled, because "
                "nothing on the server could tell whether it was filled before",
                hint="leave its population out and fill it yourself, or use isolation='copy'",
            )
        edition = await asyncio.to_thread(self._admin.edition)
        if edition != "community":
            raise ConfigurationError(
                f"database {database.name!r}: the server is Neo4j {edition}, in which a new user "
                "has no rights; only Community is supported"
            )
        problems = await asyncio.to_thread(_open_doors, self._admin)
        for problem in problems:
            if database.enforcement == "required":
                raise ConfigurationError(
                    f"database {database.name!r}: {problem}",
                    hint="use isolation='copy', or accept it with enforcement='best_effort'",
                )
            self._owner.place.report(f"{database.name}: {problem}")

    async def create(self, sandbox_id: str, access: Access) -> Server:
        password = fresh_password()
        user = self._user(sandbox_id)
        await asyncio.to_thread(self._admin.prepare_user, user, password)
        return self._server.restricted(user, password)

    async def drop(self, sandbox_id: str) -> None:
        user = self._user(sandbox_id)
        await asyncio.to_thread(self._admin.drop_user, user)
        await asyncio.to_thread(self._admin.end, user)

    async def terminate(self, sandbox_id: str) -> None:
        if not await asyncio.to_thread(self._admin.end, self._user(sandbox_id)):
            raise EngineError(
                f"the Neo4j server at {self._server.uri} cannot end a statement of {sandbox_id}",
                hint="restart the server",
            )

    async def copies(self) -> set[str]:
        users = await asyncio.to_thread(self._admin.users)
        return {
            user.removeprefix(self._prefix).replace("_", "-")
            for user in users
            if user.startswith(self._prefix)
        }

    def _user(self, sandbox_id: str) -> str:
        return self._prefix + sandbox_id.replace("-", "_")


def _open_doors(admin: Admin) -> list[str]:
    """What sandboxes on a shared server can do beyond their rights."""
    found = [
        "all users of Neo4j Community have full rights, so that sandboxes on a shared server see "
        "and can end each other's transactions"
    ]
    if admin.settings(CLOSED_TO_FILES).get(CLOSED_TO_FILES) != "false":
        found.append(f"LOAD CSV reads files of the server: {CLOSED_TO_FILES} is not false")
    if admin.reaches_addresses():
        found.append(
            f"LOAD CSV reads from the server's network: {BLOCKED_ADDRESSES} is not {EVERYWHERE}"
        )
    return found
