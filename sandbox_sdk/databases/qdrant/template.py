"""Builds the template of a population: a `Storage` file with its collections and points.

Blocking: the provisioner calls it in a thread. Never loads qdrant's client, so neither embedded
copies nor servers cost the group's process its memory.
"""

import sqlite3
import time
from pathlib import Path

from sandbox_sdk.databases.population.building import build_once
from sandbox_sdk.databases.population.contents import (
    Collection,
    Fixture,
    Population,
    PopulationError,
    Row,
)
from sandbox_sdk.databases.provisioner import Report

from .points import DISTANCES, INDEX_TYPES, MAX_VECTOR, BadPoint, Layout, Point, point
from .storage import FORMAT, Storage

TEMPLATE_FILE = f"qdrant-{FORMAT}.sqlite"
MAX_NAME_BYTES = 180
"""Leaves room for sandbox and database in a server's 255."""
LARGE_POINTS = 20_000
"""From here on Qdrant itself advises a server: the embedded engine looks at every point."""
PROGRESS_INTERVAL_S = 1.0
_FORBIDDEN = set('<>:"/\\|?*\x00\x1f')


def build_template(population: Population, folder: Path, report: Report) -> Path:
    """The template's file below `folder`, made if it is not there yet; safe for many at once.

    Raises:
        PopulationError: names file, line and reason. Nothing is left then.
    """
    layouts = _layouts(population)

    def build(file: Path) -> None:
        storage = Storage.create(file, layouts, digest=population.digest)
        try:
            with storage.transaction():
                _fill(storage, population, report)
        finally:
            storage.close()

    return build_once(folder / population.digest / TEMPLATE_FILE, build)


def _layouts(population: Population) -> dict[str, Layout]:
    for script in (*population.schema, *population.after):
        raise PopulationError(script.file, script.line, "qdrant has no statements; use collections")
    layouts: dict[str, Layout] = {}
    for collection in population.collections:
        if collection.name in layouts:
            raise _wrong(collection, f"collection {collection.name!r} is there twice")
        layouts[collection.name] = _layout(collection)
    return layouts


def _layout(collection: Collection) -> Layout:
    name, vectors = collection.name, collection.vectors
    if (
        not 0 < len(name.encode()) <= MAX_NAME_BYTES
        or name in (".", "..")
        or _FORBIDDEN & set(name)
    ):
        raise _wrong(
            collection,
            f"{name!r} cannot be the name of a collection",
            hint=f'use at most {MAX_NAME_BYTES} bytes, none of < > : " / \\ | ? *',
        )
    if not vectors or ("" in vectors and len(vectors) > 1):
        raise _wrong(
            collection, f"collection {name!r} needs one unnamed vector, or vectors with names"
        )
    for vector, (size, distance) in vectors.items():
        if not 1 <= size <= MAX_VECTOR:
            raise _wrong(collection, f"vector {vector!r} has size {size}, not 1 to {MAX_VECTOR}")
        if distance.lower() not in DISTANCES:
            known = ", ".join(DISTANCES)
            raise _wrong(collection, f"unknown distance {distance!r}", hint=f"use one of {known}")
    for field, kind in collection.indexes.items():
        if kind not in INDEX_TYPES:
            known = ", ".join(INDEX_TYPES)
            raise _wrong(collection, f"index of {field!r}: no type {kind!r}", hint=f"use {known}")
    return Layout(
        {each: (size, distance.lower()) for each, (size, distance) in vectors.items()},
        dict(collection.indexes),
    )


def _fill(storage: Storage, population: Population, report: Report) -> None:
    for fixture in population.fixtures:
        if not isinstance(fixture, Fixture):
            line = getattr(fixture, "line", None)
            raise PopulationError(fixture.file, line, "qdrant is filled with points only")
        if fixture.table not in storage.layouts:
            known = ", ".join(storage.layouts) or "none"
            mark = fixture.named
            raise PopulationError(
                mark.file if mark else fixture.file,
                mark.line if mark else None,
                f"there is no collection {fixture.table!r}",
                hint=f"collections: {known}",
            )
        _load(storage, fixture, population.database, report)
    for name in storage.layouts:
        if (number := storage.count(name)) > LARGE_POINTS:
            report(
                f"{population.database}: {name} has {number:,} points; embedded, a search looks "
                "at all of them: use a server (url)"
            )


def _load(storage: Storage, fixture: Fixture, database: str, report: Report) -> None:
    layout = storage.layouts[fixture.table]
    due = time.monotonic() + PROGRESS_INTERVAL_S
    for number, row in enumerate(fixture.rows(), start=1):
        try:
            storage.insert(fixture.table, _point(row, layout))
        except sqlite3.IntegrityError:
            raise PopulationError(
                row.file,
                row.line,
                f"id {row.values['id']!r} is there twice in collection {fixture.table!r}",
            ) from None
        if time.monotonic() >= due:
            due = time.monotonic() + PROGRESS_INTERVAL_S
            share = f", {100 * row.offset // fixture.size} %" if fixture.size else ""
            report(f"{database}: {fixture.table} {number:,} points{share}")


def _point(row: Row, layout: Layout) -> Point:
    try:
        return point(row.values, layout)
    except BadPoint as exc:
        raise PopulationError(row.file, row.line, str(exc)) from None


def _wrong(collection: Collection, reason: str, *, hint: str = "") -> PopulationError:
    return PopulationError(collection.file, collection.line, reason, hint=hint)
