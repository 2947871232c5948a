"""Fills an SQL database with a population: schema, fixtures in order of dependency, the rest.

    schema scripts
    fixtures     up to the next script among them, a table after those it refers to; then that
                 script; and so on
    after scripts

Knows no engine: a `SqlTarget` runs the scripts and takes the rows. What a target does inside one
transaction is all or nothing; where it cannot, it seeds what can be thrown away as a whole.
"""

import difflib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from .contents import Fixture, Mark, Population, PopulationError, Row, Script
from .ordering import dependency_order

PROGRESS_INTERVAL_S = 1.0

Report = Callable[[str], None]


class SqlTarget(ABC):
    """A database that is being filled."""

    @abstractmethod
    def run(self, script: Script) -> None:
        """Runs every statement of a script.

        Raises:
            PopulationError: with the script's file and, where known, the line in it:
                `script.line` plus the lines of `script.text` before the place.
        """

    @abstractmethod
    def dependencies(self) -> dict[str, set[str]]:
        """Every table there is now, by its `canonical` name, with those its foreign keys name."""

    @abstractmethod
    def columns(self, table: str) -> tuple[str, ...]:
        """The columns of a table that rows may give, in its order; `table` is canonical.

        Raises:
            LookupError: there is no such table.
        """

    @abstractmethod
    def insert(self, table: str, columns: tuple[str, ...], rows: Iterator[Row]) -> int:
        """Inserts rows, each with a value for exactly these columns; says how many.

        Columns that are left out get their default. All of `rows` must be taken.

        Raises:
            PopulationError: a row was refused; with its file and, where known, its line.
        """

    def canonical(self, table: str) -> str:
        """One name for each table, however a file writes it ("orders" for "public.orders").

        As it is written, unless a target knows better.
        """
        return table


def seed(
    population: Population,
    target: SqlTarget,
    report: Report,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Fills `target`. `report` gets a line of progress about every second of a long table.

    Rows of one fixture that give different columns are inserted in the order of the file, those
    with the same columns that follow each other at once; a column a row does not give gets its
    default.

    Raises:
        PopulationError: names file and line. What `target` did so far is not undone here.
    """
    for script in population.schema:
        target.run(script)
    for part in _parts(population):
        if isinstance(part, Script):
            target.run(part)
            continue
        for fixture in _ordered(part, target):
            _insert(fixture, target, _Progress(population.database, fixture, report, clock))
    for script in population.after:
        target.run(script)


def _parts(population: Population) -> Iterator[Script | list[Fixture]]:
    """The fixtures, divided by the scripts among them."""
    for is_rows, entries in groupby(
        population.fixtures, key=lambda entry: isinstance(entry, Fixture)
    ):
        if is_rows:
            yield [entry for entry in entries if isinstance(entry, Fixture)]
        else:
            yield from _scripts(entries, population)


def _scripts(entries: Iterable[object], population: Population) -> Iterator[Script]:
    for entry in entries:
        if not isinstance(entry, Script):
            raise PopulationError(population.file, None, "nodes and relationships are neo4j's")
        yield entry


def _ordered(fixtures: list[Fixture], target: SqlTarget) -> list[Fixture]:
    """The fixtures by dependency, after a look whether their tables are there at all."""
    known = target.dependencies()
    by_table: dict[str, list[Fixture]] = {}
    for fixture in fixtures:
        table = target.canonical(fixture.table)
        if table not in known:
            raise _unknown(_mark(fixture), "table", fixture.table, known)
        by_table.setdefault(table, []).append(fixture)
    return [each for table in dependency_order(by_table, known) for each in by_table[table]]


def _insert(fixture: Fixture, target: SqlTarget, progress: "_Progress") -> None:
    table = target.canonical(fixture.table)
    known = target.columns(table)
    chosen: dict[frozenset[str], tuple[str, ...]] = {}

    def columns_of(row: Row) -> tuple[str, ...]:
        given = frozenset(row.values)
        if given not in chosen:
            for column in row.values:
                if column not in known:
                    what = f"column of table {fixture.table!r}"
                    raise _unknown(Mark(row.file, row.line), what, column, known)
            chosen[given] = tuple(column for column in known if column in given)
        return chosen[given]

    for columns, rows in groupby(progress.watch(fixture.rows()), key=columns_of):
        target.insert(table, columns, rows)
    progress.end()


def _mark(fixture: Fixture) -> Mark:
    return fixture.named or Mark(fixture.file, 1)


def _unknown(mark: Mark, what: str, name: str, known: Iterable[str]) -> PopulationError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else ""
    return PopulationError(mark.file, mark.line, f"there is no {what} named {name!r}", hint=hint)


class _Progress:
    """Says how far one fixture is: "shop: orders 120,000 rows, 45 %"."""

    def __init__(
        self, database: str, fixture: Fixture, report: Report, clock: Callable[[], float]
    ) -> None:
        self._what = f"{database}: {fixture.table}"
        self._size = fixture.size
        self._report = report
        self._clock = clock
        self._next = clock() + PROGRESS_INTERVAL_S
        self._rows = 0
        self._reported = False

    def watch(self, rows: Iterator[Row]) -> Iterator[Row]:
        """The same rows, counted."""
        for row in rows:
            self._rows += 1
            if self._clock() >= self._next:
                self._next = self._clock() + PROGRESS_INTERVAL_S
                self._reported = True
                self._report(f"{self._what} {self._rows:,} rows{self._share(row)}")
            yield row

    def end(self) -> None:
        """A last line, if there was one before."""
        if self._reported:
            self._report(f"{self._what} {self._rows:,} rows, done")

    def _share(self, row: Row) -> str:
        return f", {100 * row.offset // self._size} %" if self._size and row.offset else ""
