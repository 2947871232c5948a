"""Databases as programs in a sandbox see them: an address in the environment, and what is there.

`SHOP_DATABASE_URL` holds the address of the database `shop`, as libpq and SQLAlchemy understand
it; `DATABASE_URL` too, where only one is exposed. No address holds a credential.

PostgreSQL is reached through a socket. An SQLite database becomes a file of the workspace: it is
the sandbox's own from then on, and the host never opens it again, because whoever can write such
a file can attack whatever opens it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from container_runtime.spec import Layout
from tool_plugins.errors import ConfigurationError

from .access import Database
from .provisioner import Provisioner

if TYPE_CHECKING:
    from container_runtime.connection import UploadResult

    from .postgres.gateway import Gateway, Settings

Upload = Callable[[str, AsyncIterator[bytes]], "Awaitable[UploadResult]"]

PIECE_BYTES = 1 << 20
FOLDER = "databases"
FILES = ".databases"
EXPOSABLE = ("postgres", "sqlite")


def check_exposed(database: Database) -> None:
    """Refuses to expose what programs in a sandbox could not be given with the same rights.

    Raises:
        ConfigurationError: the engine has no way for them.
    """
    if database.expose and database.engine not in EXPOSABLE:
        raise ConfigurationError(
            f"database {database.name!r}: programs in a sandbox cannot be given {database.engine}",
            hint=f"leave expose out; it works for: {', '.join(EXPOSABLE)}",
        )
    if _is_file(database) and database.access.default != "owner":
        raise ConfigurationError(
            f"database {database.name!r}: a file knows no permissions, so programs that are given "
            "an SQLite file own it",
            hint="use access='owner', or leave expose out",
        )


def file_of(database: Database, layout: Layout) -> str | None:
    """Where in the sandbox an exposed SQLite database lies; None for others."""
    return f"{layout.workspace}/{FILES}/{database.name}.db" if _is_file(database) else None


async def place_file(
    database: Database, provisioner: Provisioner, sandbox_id: str, upload: Upload
) -> None:
    """Moves the sandbox's copy of an SQLite database into its workspace."""
    copy = await provisioner.create(sandbox_id, database.access)
    try:
        await upload(f"{FILES}/{database.name}.db", _pieces(Path(copy.settings["path"])))
    finally:
        await provisioner.drop(sandbox_id)


def addresses(databases: Iterable[Database], layout: Layout) -> dict[str, str]:
    """The variables of a sandbox that name its exposed databases.

    Raises:
        ConfigurationError: the engine shares no folder with its containers.
    """
    found = {
        f"{each.name.upper()}_DATABASE_URL": _address(each, layout)
        for each in databases
        if each.expose
    }
    if len(found) == 1:
        found["DATABASE_URL"] = next(iter(found.values()))
    return found


class Exposure:
    """The sockets of one sandbox."""

    def __init__(self) -> None:
        self._gateways: list[Gateway] = []

    async def open(
        self,
        databases: Iterable[Database],
        shared: Path,
        settings: "Callable[[str], Settings]",
    ) -> None:
        """Listens for each exposed database in the folder the sandbox shares.

        `settings(name)` gives what is awaited when the first program connects.
        """
        from .postgres.gateway import Gateway

        await asyncio.to_thread(_enterable, shared / FOLDER)
        for database in databases:
            if database.expose and not _is_file(database):
                gateway = Gateway(settings(database.name))
                self._gateways.append(gateway)
                await gateway.listen(shared / FOLDER / database.name)

    async def aclose(self) -> None:
        """Ends every connection. Idempotent."""
        while self._gateways:
            await self._gateways.pop().aclose()


def _is_file(database: Database) -> bool:
    return database.expose and database.engine == "sqlite"


def _address(database: Database, layout: Layout) -> str:
    if file := file_of(database, layout):
        return f"sqlite:///{file}"
    if layout.shared is None:
        raise ConfigurationError(
            f"database {database.name!r} cannot be exposed: this engine shares no folder with "
            "its containers, so no socket can reach them",
            hint="leave expose out, or use an engine on this machine",
        )
    return f"postgresql:///{database.name}?host={layout.run}/{FOLDER}/{database.name}"


def _enterable(folder: Path) -> None:
    """Makes the folder so that the agent's user can pass through it, whatever the umask is."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    with file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
