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

    def __init__(
        self,
        file: Path,
        line: int | None,
        reason: str,
        *,
        column: int | None = None,
        hint: str = "",
    ) -> None:
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{where}: {reason}", hint=hint)
        self.file = file
        self.line = line


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file. Lines count from 1."""

    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Script:
    """Statements in the database's own language. `line` is where `text` begins in `file`."""

    file: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a fixture: plain values by column, and where it stands.

    Values are str, int, Decimal (float in points of Qdrant), bool, None, bytes, and lists and
    dicts of these. `offset` is how many bytes of the file are read once this row is; 0 if the
    rows do not come from a file of their own.
    """

    values: dict[str, Any]
    file: Path
    line: int
    offset: int = 0


Rows = Callable[[], Iterator[Row]]
"""Starts anew each time it is called. Raises PopulationError for a bad line."""


@dataclass(frozen=True, slots=True)
class Fixture:
    """Rows for one table, or points for one collection (values `id`, `vector`, `payload`).

    `size` is the bytes of its file, for progress; 0 for rows written in the population file.
    `named` is where the table is named.
    """

    table: str
    file: Path
    size: int
    rows: Rows
    named: Mark | None = None


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes of a graph. Every node gets all of `labels`; a row's values are its properties."""

    labels: tuple[str, ...]
    file: Path
    size: int
    rows: Rows
    named: Mark | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a relationship finds a node: by a label and the value of a property."""

    label: str
    property: str


@dataclass(frozen=True, slots=True)
class Relationships:
    """Relationships of a graph. Of a row, `from` and `to` hold the values that find the two
    nodes (see `start` and `end`); the others are properties."""

    type: str
    start: Endpoint
    end: Endpoint
    file: Path
    size: int
    rows: Rows
    named: Mark | None = None


@dataclass(frozen=True, slots=True)
class Collection:
    """A Qdrant collection. `vectors`: name ("" for the unnamed one) to size and distance.

    Distances are "cosine", "dot", "euclid" and "manhattan"; `indexes` map a field of the payload
    to its type, as Qdrant names it ("keyword", "integer", ...).
    """

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
    .cypher file). `Nodes` and `Relationships` are of neo4j alone, `collections` of qdrant, whose
    fixtures are their points.
    """

    database: str
    file: Path
    digest: str
    schema: tuple[Script, ...] = ()
    fixtures: tuple[Fixture | Nodes | Relationships | Script, ...] = ()
    after: tuple[Script, ...] = ()
    collections: tuple[Collection, ...] = ()
