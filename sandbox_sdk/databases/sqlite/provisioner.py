"""Makes and drops the SQLite files of sandboxes. There is no server and no credential.

templates/DIGEST.db                made once, then only read
copies/SANDBOX_ID/NAME/data.db     one sandbox's, mode 0600
copies/SANDBOX_ID/NAME/rows.json   which rows were withheld when it was made
"""

import asyncio
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sandbox_sdk.databases.access import Access, Database
from sandbox_sdk.databases.population.building import build_once
from sandbox_sdk.databases.provisioner import Copy, Provisioner
from tool_plugins.errors import ConfigurationError, EngineError

from .checking import check_database, check_rules, compile_rules
from .rules import Rules
from .template import digest, fill, make_copy

DRIVER = "sandbox_sdk.databases.sqlite.driver:SqliteDriver"
MB = 1024 * 1024
DATA = "data.db"
ROWS = "rows.json"


class SqliteProvisioner(Provisioner):
    """See `Provisioner`."""

    _template: Path | None = None

    @classmethod
    def check(cls, database: Database) -> None:
        """See `Provisioner.check`."""
        check_database(database)

    async def open(self) -> None:
        """See `Provisioner.open`."""
        await asyncio.to_thread(self._open)

    async def create(self, sandbox_id: str, access: Access) -> Copy:
        """See `Provisioner.create`."""
        return await asyncio.to_thread(self._create, sandbox_id, access)

    async def drop(self, sandbox_id: str) -> None:
        """See `Provisioner.drop`. A worker that still has the file open keeps only its own view."""
        if self.database.isolation == "copy":
            folder = self.place.copy_folder(sandbox_id, self.database.name)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if folder.exists():
                raise EngineError(f"{folder} cannot be removed")

    async def terminate(self, sandbox_id: str) -> None:
        """Does nothing: statements run in the sandbox's worker alone, and end with it."""

    async def copies(self) -> set[str]:
        """See `Provisioner.copies`."""
        if self.database.isolation == "shared":
            return set()
        found = (self.place.folder / "copies").glob(f"*/{self.database.name}")
        return {folder.parent.name for folder in found}

    async def aclose(self) -> None:
        """Does nothing: no connection is kept."""

    def _open(self) -> None:
        try:
            if self.database.isolation == "shared":
                file = self._open_shared()
            else:
                file = self._template = self._build_template()
        except (sqlite3.Error, OSError) as exc:
            raise EngineError(f"database {self.database.name!r} cannot be opened: {exc}") from exc
        most = self.database.limits.size_mb
        if self.database.isolation == "copy" and file.stat().st_size > most * MB:
            raise ConfigurationError(
                f"database {self.database.name!r} starts with more than its limit of {most} MB",
                hint="raise limits.size_mb",
            )
        self._check_rules(file, Rules.of(compile_rules(self.database.access)))

    def _build_template(self) -> Path:
        path = self.database.path
        if path is not None and not path.is_file():
            raise ConfigurationError(f"database {self.database.name!r}: there is no file {path}")
        name = f"{digest(self.population, path)}.db"
        return build_once(
            self.place.folder / "templates" / name,
            lambda file: fill(file, self.population, path, self.place.report),
        )

    def _open_shared(self) -> Path:
        path = self._shared_path()
        if not path.exists():
            if self.population is None:
                raise ConfigurationError(
                    f"database {self.database.name!r}: there is no file {path}",
                    hint="create it, or give the database an initial population",
                )
            with _locked(path.parent):
                if not path.exists():
                    self._publish(path)
        return path

    def _publish(self, path: Path) -> None:
        """Fills a file beside its place, and moves it there when it is complete."""
        building = path.with_name(f".{path.name}.building")
        filled = path.with_name(f".{path.name}.filled")
        try:
            for leftover in (*path.parent.glob(f"{building.name}*"), filled):
                leftover.unlink(missing_ok=True)
            fill(building, self.population, None, self.place.report)
            make_copy(building, filled, {}, log=True)
            filled.rename(path)
        finally:
            building.unlink(missing_ok=True)
            filled.unlink(missing_ok=True)

    def _create(self, sandbox_id: str, access: Access) -> Copy:
        compiled = compile_rules(access)
        rules = Rules.of(compiled)
        shared = self.database.isolation == "shared"
        try:
            file = self._shared_path() if shared else self._make_copy(sandbox_id, rules)
        except (sqlite3.Error, OSError) as exc:
            raise EngineError(f"database {self.database.name!r} cannot be copied: {exc}") from exc
        if shared:
            self._check_rules(file, rules)
        pool = self.database.pool
        settings = {
            "path": str(file.absolute()),
            "shared": shared,
            "rules": compiled,
            "max_bytes": 0 if shared else self.database.limits.size_mb * MB,
            "pool": {
                "size": pool.pool_size,
                "overflow": pool.max_overflow,
                "timeout_s": pool.pool_timeout,
                "recycle_s": pool.pool_recycle,
            },
        }
        return Copy(DRIVER, settings)

    def _make_copy(self, sandbox_id: str, rules: Rules) -> Path:
        if self._template is None:
            raise EngineError(f"database {self.database.name!r} is not open")
        folder = self.place.copy_folder(sandbox_id, self.database.name)
        file, note = folder / DATA, folder / ROWS
        self._check_rules(self._template, rules)
        rows = {name: rule.rows for name, rule in rules.tables.items() if rule.rows is not None}
        if file.exists():
            if json.loads(note.read_text()) != rows:
                raise ConfigurationError(
                    f"the copy of {self.database.name!r} was made for other rows",
                    hint="reset the database of this sandbox",
                )
            return file
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            note.write_text(json.dumps(rows))
            make_copy(self._template, file, rows, log=rules.writable)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return file

    def _check_rules(self, file: Path, rules: Rules) -> None:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            check_rules(connection, self.database.name, rules)

    def _shared_path(self) -> Path:
        path = self.database.path
        if path is None:
            raise ConfigurationError(f"database {self.database.name!r} needs a path")
        return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder; two groups may share a database without sharing anything else."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
