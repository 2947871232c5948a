"""Databases as programs in a sandbox see them: an address in the environment, and what is there.

`SHOP_DATABASE_URL` holds the address of the database `shop`, as libpq and SQLAlchemy understand
it; `DATABASE_URL` too, where only one is exposed. No address holds a credential.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from container_runtime.spec import Layout
from tool_plugins.errors import ConfigurationError

from .access import Database

if TYPE_CHECKING:
    from .postgres.gateway import Gateway, Settings

FOLDER = "databases"
EXPOSABLE = ("postgres",)


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


def addresses(databases: Iterable[Database], layout: Layout) -> dict[str, str]:
    """The variables of a sandbox that name its exposed databases.

    Raises:
        ConfigurationError: the engine shares no folder with its containers.
    """
    exposed = [each for each in databases if each.expose]
    if exposed and layout.shared is None:
        raise ConfigurationError(
            f"database {exposed[0].name!r} cannot be exposed: this engine shares no folder with "
            "its containers, so no socket can reach them",
            hint="leave expose out, or use an engine on this machine",
        )
    found = {
        f"{each.name.upper()}_DATABASE_URL": (
            f"postgresql:///{each.name}?host={layout.run}/{FOLDER}/{each.name}"
        )
        for each in exposed
    }
    if len(exposed) == 1:
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

        for database in databases:
            if database.expose:
                gateway = Gateway(settings(database.name))
                self._gateways.append(gateway)
                await gateway.listen(shared / FOLDER / database.name)

    async def aclose(self) -> None:
        """Ends every connection. Idempotent."""
        while self._gateways:
            await self._gateways.pop().aclose()
