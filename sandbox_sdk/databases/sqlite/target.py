"""Fills an SQLite file with an initial population. All of it runs in the caller's transaction."""

import json
import re
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from sandbox_sdk.databases.population.contents import PopulationError, Row, Script
from sandbox_sdk.databases.population.seeding import SqlTarget

from . import catalog
from .rules import fold, quoted

BATCH_ROWS = 1000
_LEAD = re.compile(r"(?:\s|\ufeff|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")


class SqliteTarget(SqlTarget):
    """Rows go in by batches; a batch that fails is gone through again to find the row."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def run(self, script: Script) -> None:
        """See `SqlTarget.run`. BEGIN and COMMIT, which dumps contain, are left out."""
        for line, statement in _statements(script):
            word = _first_word(statement)
            if word in ("BEGIN", "COMMIT", "END"):
                continue
            if word in ("ROLLBACK", "SAVEPOINT", "RELEASE", "ATTACH", "DETACH", "VACUUM"):
                raise PopulationError(script.file, line, f"{word} has no place in a population")
            try:
                self._connection.execute(statement).fetchall()
            except (sqlite3.Error, sqlite3.Warning) as exc:
                raise PopulationError(script.file, line, str(exc)) from exc

    def dependencies(self) -> dict[str, set[str]]:
        """See `SqlTarget.dependencies`."""
        names = {fold(name): name for name in self._names()}
        return {
            name: {
                names[fold(row[2])]
                for row in self._connection.execute(f"PRAGMA foreign_key_list({quoted(name)})")
                if fold(row[2]) in names
            }
            for name in names.values()
        }

    def columns(self, table: str) -> tuple[str, ...]:
        """See `SqlTarget.columns`."""
        for found in catalog.tables(self._connection):
            if found.name == table:
                return tuple(column.name for column in found.columns if not column.generated)
        raise LookupError(table)

    def canonical(self, table: str) -> str:
        """See `SqlTarget.canonical`: "main." may stand in front, and case does not matter."""
        wanted = fold(table).removeprefix("main.")
        return next((name for name in self._names() if fold(name) == wanted), table)

    def insert(self, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> int:
        """See `SqlTarget.insert`."""
        names = ", ".join(map(quoted, columns))
        marks = ", ".join("?" * len(columns))
        into = f"INSERT INTO {quoted(table)}"
        sql = f"{into} ({names}) VALUES ({marks})" if columns else f"{into} DEFAULT VALUES"
        plain = self._plain_columns(table)
        count = 0
        while batch := list(islice(rows, BATCH_ROWS)):
            self._insert_batch(sql, batch, [_values(row, columns, plain) for row in batch])
            count += len(batch)
        return count

    def check(self, population_file: Path) -> None:
        """Looks whether every foreign key finds its row, after everything is there.

        Raises:
            PopulationError: names table, row and the table referred to.
        """
        row = self._connection.execute("PRAGMA foreign_key_check").fetchone()
        if row is not None:
            table, number, refers_to, _ = row
            where = f"row {number} of {table}" if number is not None else f"a row of {table}"
            raise PopulationError(
                population_file, None, f"{where} refers to a row of {refers_to} that is not there"
            )

    def _insert_batch(self, sql: str, batch: list[Row], values: list[tuple[Any, ...]]) -> None:
        self._connection.execute("SAVEPOINT batch")
        try:
            self._connection.executemany(sql, values)
        except (sqlite3.Error, OverflowError):
            self._connection.execute("ROLLBACK TO batch")
            self._insert_singly(sql, batch, values)
        self._connection.execute("RELEASE batch")

    def _insert_singly(self, sql: str, batch: list[Row], values: list[tuple[Any, ...]]) -> None:
        for row, given in zip(batch, values, strict=True):
            try:
                self._connection.execute(sql, given)
            except (sqlite3.Error, OverflowError) as exc:
                raise PopulationError(row.file, row.line, str(exc)) from exc

    def _plain_columns(self, table: str) -> set[str]:
        found = next(each for each in catalog.tables(self._connection) if each.name == table)
        return {column.name for column in found.columns if _plain(column.type)}

    def _names(self) -> list[str]:
        return [
            table.name
            for table in catalog.tables(self._connection)
            if table.kind in ("table", "virtual")
        ]


def _values(row: Row, columns: tuple[str, ...], plain: set[str]) -> tuple[Any, ...]:
    return tuple(_stored(row.values[column], plain=column in plain) for column in columns)


def _stored(value: Any, *, plain: bool) -> Any:
    """A plain value as SQLite stores it; it has neither decimals nor documents."""
    if isinstance(value, Decimal):
        # Exact if the column keeps text; a column of numbers makes of it the number it can.
        return float(value) if plain else str(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value


def _statements(script: Script) -> Iterator[tuple[int, str]]:
    """Each statement and the line of its first word. SQLite itself says where one ends."""
    pending, begins = "", 0
    for piece in (*_pieces(script.text), ""):
        pending += piece
        if piece and not (piece.endswith(";") and sqlite3.complete_statement(pending)):
            continue
        lead = _lead(pending)
        if pending[lead:].strip("; \t\r\n"):
            yield script.line + script.text.count("\n", 0, begins + lead), pending
        begins += len(pending)
        pending = ""


def _pieces(text: str) -> Iterator[str]:
    """The text cut after every semicolon."""
    start = 0
    while (end := text.find(";", start)) >= 0:
        yield text[start : end + 1]
        start = end + 1
    yield text[start:]


def _lead(text: str) -> int:
    """How long the spaces and comments in front of the first word are."""
    match = _LEAD.match(text)
    return match.end() if match else 0


def _first_word(statement: str) -> str:
    match = _WORD.match(statement, _lead(statement))
    return match[0].upper() if match else ""


def _plain(kind: str) -> bool:
    """Whether a column of this declared type keeps a value as it is given (affinity BLOB)."""
    kind = kind.upper()
    return not kind or ("BLOB" in kind and "INT" not in kind and "CHAR" not in kind)
