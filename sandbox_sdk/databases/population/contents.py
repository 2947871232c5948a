"""What one database is filled with, read from files but not yet from the rows in them.

Rows are iterated each time they are needed, so that large files are never held in memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tool_plugins.errors import ConfigurationError


class PopulationError(ConfigurationError):
    """The initial population cannot be used: the message names file, line and reason."""

    def __init__(self, file: Path, line: int | None, reason: str, *, hint: str = "") -> None:
        where = f"{file}:{line}" if line is not None else str(file)
        super().__init__(f"{where}: {reason}", hint=hint)
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class Script:
    """Statements in the database's own language. `line` is where `text` begins in `file`."""

    file: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a fixture: plain values by column, and where it stands."""

    values: dict[str, Any]
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Fixture:
    """Rows for one table (or points for one collection, nodes for one label).

    `rows()` starts anew each time; `size` is the bytes of its file, for progress.
    """

    table: str
    file: Path
    size: int
    rows: Callable[[], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Collection:
    """A Qdrant collection. `vectors`: name ("" for the unnamed one) to size and distance."""

    name: str
    vectors: dict[str, tuple[int, str]]
    indexes: dict[str, str]
    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Population:
    """What one database starts with, in this order: schema, fixtures, after.

    `digest` (64 hexadecimal characters) covers every byte of every file it reads; the same digest
    is the same template. `fixtures` are in the order of the file; who loads them orders them by
    the dependencies the schema declares. A `Script` may also stand among the fixtures (a .sql or
    .cypher file).
    """

    database: str
    file: Path
    digest: str
    schema: tuple[Script, ...] = ()
    fixtures: tuple[Fixture | Script, ...] = ()
    after: tuple[Script, ...] = ()
    collections: tuple[Collection, ...] = ()
