"""Fills an empty Neo4j database with a population. Blocking.

Scripts are Cypher: statements that end with a semicolon, each a transaction of its own. Nodes are
created with their labels, relationships between nodes that a label and a property find; each batch
is a transaction. Decimal numbers become floating point numbers, of which alone Neo4j has some, and
whole numbers where they are whole.
"""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any, cast

import neo4j

from sandbox_sdk.databases.population.contents import (
    Fixture,
    Nodes,
    Population,
    PopulationError,
    Relationships,
    Row,
    Script,
)

from .connect import Neo4jError
from .cypher import quoted, statements
from .errors import position

BATCH_ROWS = 1000
PROGRESS_INTERVAL_S = 1.0
INDEX_TIMEOUT_S = 600

Report = Callable[[str], None]


class Seeding:
    """One database that is being filled through `session`."""

    def __init__(self, session: neo4j.Session, database: str, report: Report) -> None:
        self._session = session
        self._database = database
        self._report = report
        self._next = time.monotonic() + PROGRESS_INTERVAL_S

    def run(self, population: Population) -> None:
        """Everything, in the order of the file.

        Raises:
            PopulationError: names file and line. The database is then half filled.
        """
        for script in population.schema:
            self._script(script)
        self._wait_for_indexes()
        for part in population.fixtures:
            if isinstance(part, Script):
                self._script(part)
                self._wait_for_indexes()
            elif isinstance(part, Fixture):
                reason = "a graph has no tables: give nodes or relationships"
                raise PopulationError(part.file, None, reason)
            else:
                self._rows(part)
        for script in population.after:
            self._script(script)
        self._wait_for_indexes()

    def _script(self, script: Script) -> None:
        for part in statements(script.text):
            try:
                self._session.run(cast("Any", part.text)).consume()
            except Neo4jError as error:
                line = script.line + part.line + (position(error) or (1, 1))[0] - 1
                raise PopulationError(script.file, line, _words(error)) from error

    def _wait_for_indexes(self) -> None:
        self._session.run("CALL db.awaitIndexes($seconds)", seconds=INDEX_TIMEOUT_S).consume()

    def _rows(self, fixture: Nodes | Relationships) -> None:
        what = fixture.type if isinstance(fixture, Relationships) else ":".join(fixture.labels)
        query = _linking(fixture) if isinstance(fixture, Relationships) else _creating(fixture)
        done = 0
        for batch in _batches(fixture.rows()):
            parameters = [_parameters(fixture, row, index) for index, row in enumerate(batch)]
            self._batch(query, batch, parameters)
            done += len(batch)
            if time.monotonic() >= self._next:
                self._next = time.monotonic() + PROGRESS_INTERVAL_S
                share = f", {100 * batch[-1].offset // fixture.size} %" if fixture.size else ""
                self._report(f"{self._database}: {what} {done:,} rows{share}")

    def _batch(self, query: str, batch: list[Row], parameters: list[dict[str, Any]]) -> None:
        try:
            made = self._create(query, parameters)
        except Neo4jError as error:
            self._blame(query, batch, parameters)
            raise PopulationError(batch[0].file, batch[0].line, _words(error)) from error
        for index, row in enumerate(batch):
            if made.get(index) != 1:
                raise _unmatched(row, made.get(index, 0))

    def _create(self, query: str, parameters: list[dict[str, Any]]) -> dict[int, int]:
        """Runs one batch; how many were made for each row. Commits only if it was one each."""
        with self._session.begin_transaction() as transaction:
            records = transaction.run(cast("Any", query), rows=parameters)
            made = {record["index"]: record["made"] for record in records}
            if all(made.get(index) == 1 for index in range(len(parameters))):
                transaction.commit()
            else:
                transaction.rollback()
        return made

    def _blame(self, query: str, batch: list[Row], parameters: list[dict[str, Any]]) -> None:
        """Finds the first row of a refused batch that the server refuses by itself."""
        for row, values in zip(batch, parameters, strict=True):
            try:
                self._create(query, [values | {"index": 0}])
            except Neo4jError as error:
                raise PopulationError(row.file, row.line, _words(error)) from error


def _creating(nodes: Nodes) -> str:
    labels = "".join(f":{quoted(label)}" for label in nodes.labels)
    return (
        f"UNWIND $rows AS row CREATE (n{labels}) SET n = row.properties "
        "RETURN row.index AS index, count(n) AS made"
    )


def _linking(links: Relationships) -> str:
    start = f"(a:{quoted(links.start.label)} {{{quoted(links.start.property)}: row.start}})"
    end = f"(b:{quoted(links.end.label)} {{{quoted(links.end.property)}: row.end}})"
    return (
        f"UNWIND $rows AS row MATCH {start} MATCH {end} "
        f"CREATE (a)-[r:{quoted(links.type)}]->(b) SET r = row.properties "
        "RETURN row.index AS index, count(r) AS made"
    )


def _parameters(fixture: Nodes | Relationships, row: Row, index: int) -> dict[str, Any]:
    values = {name: _value(value) for name, value in row.values.items()}
    if isinstance(fixture, Nodes):
        return {"index": index, "properties": values}
    start, end = values.pop("from", None), values.pop("to", None)
    return {"index": index, "start": start, "end": end, "properties": values}


def _value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list):
        return [_value(each) for each in value]
    if isinstance(value, dict):
        return {name: _value(each) for name, each in value.items()}
    return value


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(islice(rows, BATCH_ROWS)):
        yield batch


def _unmatched(row: Row, made: int) -> PopulationError:
    ends = f"from {row.values.get('from')!r} to {row.values.get('to')!r}"
    if made:
        return PopulationError(row.file, row.line, f"{ends} fits {made} pairs of nodes, not one")
    return PopulationError(row.file, row.line, f"{ends}: there are no such nodes")


def _words(error: Neo4jError) -> str:
    return (error.message or str(error)).splitlines()[0]
