"""Loads a population file: what each database holds when a sandbox first sees it.

databases:
  shop:                                    # sqlite, postgres
    schema: schema.sql                     # a file, a list of files, or the SQL itself
    fixtures:
      - {table: users, rows: [{id: 1, name: Ada}]}
      - {table: orders, file: data/orders.csv}
      - {file: extra.sql}
    after: post.sql
  docs:                                    # qdrant
    collections:
      articles: {size: 4, distance: cosine, indexes: {city: keyword}, points: articles.jsonl}
  graph:                                   # neo4j
    schema: constraints.cypher
    fixtures:
      - {nodes: Person, file: people.csv, types: {id: integer}}
      - {relationships: KNOWS, from: {Person: id}, to: {Person: id}, file: knows.csv}

Reads and hashes every file, and looks at all but the rows of CSV and JSON lines: those are read
when a database is filled. docs/reference/population.md says the rest.
"""

import hashlib
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from sandbox_sdk.documents import DocumentError, load_document

from .contents import Population, PopulationError, Script
from .entries import Entry, nearest
from .files import DataFile, Files
from .fixtures import load_collections, load_fixtures, load_scripts

FORMAT = "1"
"""Part of every digest: raised when the same files come to mean something else."""

KEYS: dict[str, tuple[str, ...]] = {
    "sqlite": ("schema", "fixtures", "after"),
    "postgres": ("schema", "fixtures", "after"),
    "neo4j": ("schema", "fixtures", "after"),
    "qdrant": ("collections",),
}


def load_population(source: Path | str, engines: Mapping[str, str]) -> dict[str, Population]:
    """Loads the file at `source`. `engines` maps the configured databases to their engines.

    A configured database that the file does not name starts empty and is not in the result.
    Blocking: every file is read once, to hash it.

    Raises:
        PopulationError: names file, line and reason.
    """
    path = Path(source).absolute()  # rows are read later, perhaps from another folder
    try:
        document = load_document(path, exact=True)
    except DocumentError as exc:
        raise PopulationError(
            exc.file, exc.line, exc.reason, column=exc.column, hint=exc.hint
        ) from None
    databases = Entry.root(document).fields("databases").get("databases")
    if databases is None:
        raise Entry.root(document).error("must have the key 'databases'")
    loaded: dict[str, Population] = {}
    for name, entry in databases.section().items():
        if name not in engines:
            reason = f"there is no database {name!r} among those configured"
            raise PopulationError(path, entry.line, reason, hint=nearest(name, engines))
        loaded[name] = _database(name, engines[name], entry)
    return loaded


def _database(name: str, engine: str, entry: Entry) -> Population:
    files = Files(entry.file)
    fields = entry.section()
    if misplaced := [key for key in fields if key not in KEYS[engine]]:
        key = misplaced[0]
        raise PopulationError(
            entry.file,
            fields[key].line,
            f"unknown key {key!r} of a {engine} database",
            hint=nearest(key, KEYS[engine]),
        )
    schema = _scripts(fields, "schema", files)
    collections, points = load_collections(fields.get("collections"), files)
    fixtures = load_fixtures(fields.get("fixtures"), engine, files)
    after = _scripts(fields, "after", files)
    return Population(
        database=name,
        file=entry.file,
        digest=_digest(engine, entry.value, files.found),
        schema=schema,
        fixtures=(*fixtures, *points),
        after=after,
        collections=collections,
    )


def _scripts(fields: dict[str, Entry], key: str, files: Files) -> tuple[Script, ...]:
    return load_scripts(fields[key], files) if key in fields else ()


def _digest(engine: str, structure: Any, files: list[DataFile]) -> str:
    """Of what is written for the database, comments aside, and of the bytes of its files."""
    described = {
        "format": FORMAT,
        "engine": engine,
        "structure": structure,
        "files": [file.sha256 for file in files],
    }
    text = json.dumps(described, default=_tagged, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _tagged(value: Any) -> dict[str, str]:
    """A decimal number, told from a text and with the zeros it is written with."""
    if not isinstance(value, Decimal):
        raise TypeError(f"a document has no {type(value).__name__}")
    return {"\0decimal": str(value)}
