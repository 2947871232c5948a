"""The databases a worker has open."""

import threading
from importlib import import_module
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError

from .driver import Driver, VectorDriver

AnyDriver = Driver | VectorDriver


class Opened:
    """Drivers by the database's name. Safe for many threads."""

    def __init__(self) -> None:
        self._drivers: dict[str, AnyDriver] = {}
        self._lock = threading.Lock()

    def open(self, database: str, driver: str, settings: dict[str, Any]) -> None:
        """Makes the driver `module:Class`; one that is open under that name is closed first."""
        module_name, _, class_name = driver.partition(":")
        made: AnyDriver = getattr(import_module(module_name), class_name)(settings)
        with self._lock:
            old = self._drivers.get(database)
            self._drivers[database] = made
        if old is not None:
            old.close()

    def close(self, database: str) -> None:
        """Closes it, if it is open."""
        with self._lock:
            driver = self._drivers.pop(database, None)
        if driver is not None:
            driver.close()

    def close_all(self) -> None:
        """Closes every one, as far as they let themselves be closed."""
        for database in list(self._drivers):
            try:
                self.close(database)
            except Exception:  # noqa: S112 - the process ends anyway, and others wait
                continue

    def sql(self, database: str) -> Driver:
        """A database that takes statements.

        Raises:
            ToolError: UNSUPPORTED, it is a vector database; see `get`.
        """
        driver = self.get(database)
        if not isinstance(driver, Driver):
            raise ToolError(ErrorCode.UNSUPPORTED, f"{database} does not take statements")
        return driver

    def vector(self, database: str) -> VectorDriver:
        """A vector database.

        Raises:
            ToolError: UNSUPPORTED, it is none; see `get`.
        """
        driver = self.get(database)
        if not isinstance(driver, VectorDriver):
            raise ToolError(ErrorCode.UNSUPPORTED, f"{database} is no vector database")
        return driver

    def settle(self, database: str) -> None:
        """Lets a driver clean up, if it is still open."""
        driver = self._drivers.get(database)
        if isinstance(driver, Driver):
            driver.settle()

    def get(self, database: str) -> AnyDriver:
        """Any database.

        Raises:
            ToolError: DATABASE_UNAVAILABLE, it was closed meanwhile.
        """
        driver = self._drivers.get(database)
        if driver is None:
            raise ToolError(
                ErrorCode.DATABASE_UNAVAILABLE, f"{database} was closed", hint="call again"
            )
        return driver
