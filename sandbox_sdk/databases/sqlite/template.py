"""Makes the files that copies start from, and copies.

A template is a closed file without a journal, published by a rename, so copying its bytes copies
the database; the backup API is for the operator's own file, which others may be writing to.
"""

# ruff: noqa: S608 - names are quoted, and conditions are the operator's

import hashlib
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sandbox_sdk.databases.population.contents import Population, PopulationError
from sandbox_sdk.databases.population.seeding import Report, seed

from . import catalog
from .rules import fold, quoted
from .target import SqliteTarget

FORMAT = 1
"""Raised when templates are made in another way than before."""
HASHED_BYTES = 64 * 1024 * 1024
BACKUP_PAGES = 1000
LOCK_TIMEOUT_S = 30.0
PIECE_BYTES = 1024 * 1024 * 1024


def digest(population: Population | None, path: Path | None) -> str:
    """What a template depends on. The same digest is the same template."""
    parts = [
        str(FORMAT),
        sqlite3.sqlite_version,
        population.digest if population else "",
        _state(path) if path else "",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def fill(file: Path, population: Population | None, path: Path | None, report: Report) -> None:
    """Makes a database file from the operator's file, the population, or both.

    Raises:
        PopulationError: the population is bad.
        sqlite3.Error: the operator's file cannot be read.
    """
    file.touch(0o600)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        if path is not None:
            _back_up(path, connection)
        connection.execute("PRAGMA journal_mode=DELETE").fetchall()
        connection.execute("PRAGMA synchronous=OFF")  # who builds it syncs it, once
        connection.execute("PRAGMA foreign_keys=OFF")
        if population is not None:
            _populate(connection, population, report)


def make_copy(template: Path, target: Path, rows: dict[str, str], *, log: bool) -> None:
    """Copies a template to `target` at once or not at all, without the rows that are withheld.

    `rows` maps tables to the condition of the rows that stay. `log` has writers and readers not
    wait for each other (write-ahead log).
    """
    building = target.with_name(f".{target.name}.building")
    for leftover in target.parent.glob(f".{target.name}.building*"):
        leftover.unlink()
    _copy_bytes(template, building)
    if rows or log:
        with closing(sqlite3.connect(building, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            if rows:
                _withhold(connection, rows)
            if log:
                connection.execute("PRAGMA journal_mode=WAL").fetchall()
    building.rename(target)


def check_expression(connection: sqlite3.Connection, table: str, condition: str) -> None:
    """Looks whether a condition is one expression over a table's columns.

    Raises:
        sqlite3.Error: it is not.
    """
    # Without parentheses and with them, one of the two fails where it closes one it did not open.
    for text in (
        f"EXPLAIN SELECT CASE WHEN {condition}\n THEN 1 END FROM main.{quoted(table)}",
        f"EXPLAIN SELECT 1 FROM main.{quoted(table)} WHERE ({condition}\n)",
    ):
        connection.execute(text).close()


def _populate(connection: sqlite3.Connection, population: Population, report: Report) -> None:
    target = SqliteTarget(connection)
    connection.execute("BEGIN")
    seed(population, target, report)
    if not connection.in_transaction:
        raise PopulationError(population.file, None, "a script ended the transaction")
    target.check(population.file)
    connection.execute("COMMIT")


def _back_up(path: Path, target: sqlite3.Connection) -> None:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT_S)) as source:
        source.backup(target, pages=BACKUP_PAGES, sleep=0.01)


def _withhold(connection: sqlite3.Connection, rows: dict[str, str]) -> None:
    """Deletes rows for good. No trigger of the schema takes notice, and no foreign key."""
    connection.execute("PRAGMA foreign_keys=OFF")
    connection.execute("PRAGMA secure_delete=ON").fetchall()
    connection.execute("BEGIN")
    triggers = connection.execute(
        "SELECT name, sql FROM main.sqlite_master WHERE type = 'trigger'"
    ).fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER main.{quoted(name)}")
    found = {fold(table.name): table for table in catalog.tables(connection)}
    # All are chosen before any is deleted: a condition may look at another table.
    for number, (table, condition) in enumerate(rows.items()):
        connection.execute(
            f"CREATE TEMP TABLE withheld{number} AS SELECT {_key(found[table])} "
            f"FROM main.{quoted(table)} WHERE ({condition}\n) IS NOT TRUE"
        )
    for number, table in enumerate(rows):
        connection.execute(
            f"DELETE FROM main.{quoted(table)} WHERE ({_key(found[table])}) IN withheld{number}"
        )
    for _, sql in triggers:
        connection.execute(sql)
    connection.execute("COMMIT")


def _key(table: catalog.Table) -> str:
    return ", ".join(map(quoted, table.key))


def _copy_bytes(source: Path, target: Path) -> None:
    """Copies inside the kernel; file systems that can share blocks do so."""
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as written, source.open("rb") as read:
        try:
            while os.copy_file_range(read.fileno(), written.fileno(), PIECE_BYTES):
                pass
        except OSError:
            read.seek(0)
            written.seek(0)
            written.truncate()
            shutil.copyfileobj(read, written, 1024 * 1024)


def _state(path: Path) -> str:
    """What a database file holds: the bytes of a small one, marks of change of a large one."""
    parts: list[str] = []
    for file in (path, path.with_name(path.name + "-wal")):
        if file.exists():
            status = file.stat()
            if status.st_size <= HASHED_BYTES:
                with file.open("rb") as stream:
                    parts.append(hashlib.file_digest(stream, "sha256").hexdigest())
            else:
                parts.append(f"{status.st_ino} {status.st_size} {status.st_mtime_ns}")
    return " ".join(parts)
