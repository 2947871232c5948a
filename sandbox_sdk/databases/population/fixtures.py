"""The entries of one database in a population file: scripts, fixtures, collections."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sandbox_sdk.documents import MAX_BYTES, DocumentError, parse_document

from .contents import (
    Collection,
    Endpoint,
    Fixture,
    Nodes,
    PopulationError,
    Relationships,
    Row,
    Rows,
    Script,
)
from .entries import Entry
from .files import DataFile, Files
from .rows import csv_rows, jsonl_rows, listed_rows
from .values import CELLS, inexact

SCRIPT_SUFFIXES = {
    "sqlite": (".sql",),
    "postgres": (".sql",),
    "neo4j": (".cypher", ".cql"),
    "qdrant": (),
}
DISTANCES = ("cosine", "dot", "euclid", "manhattan")
INDEXES = ("keyword", "integer", "float", "bool", "geo", "datetime", "text", "uuid")
MAX_VECTOR_SIZE = 65_536
ROW_SUFFIXES = (".csv", ".jsonl", ".yaml", ".yml")

AnyFixture = Fixture | Nodes | Relationships | Script


def load_scripts(entry: Entry, files: Files) -> tuple[Script, ...]:
    """A file, a list of files, or the statements themselves: with a line end, or a ; at the end."""
    entries = entry.items() if isinstance(entry.value, list) else [entry]
    return tuple(_script(each, files) for each in entries)


def _script(entry: Entry, files: Files) -> Script:
    text = entry.text()
    if "\n" in text or text.rstrip().endswith(";"):
        return Script(entry.file, entry.begin, text)
    file = files.find(entry)
    return Script(file.path, 1, file.text())


def load_fixtures(entry: Entry | None, engine: str, files: Files) -> list[AnyFixture]:
    """The list under `fixtures`."""
    one = _graph_fixture if engine == "neo4j" else _table_fixture
    entries = entry.items() if entry is not None else []
    return [fixture for each in entries for fixture in one(each, engine, files)]


def _table_fixture(entry: Entry, engine: str, files: Files) -> Iterator[AnyFixture]:
    fields = entry.fields("table", "rows", "file", "types")
    if "table" in fields:
        file, size, rows = _rows(entry, fields, files)
        yield Fixture(fields["table"].text(), file, size, rows, fields["table"].mark)
        return
    suffix = _suffix(entry, fields)
    if suffix in (".yaml", ".yml"):
        yield from _tables_of(files.find(fields["file"]))
    else:
        yield _script_fixture(fields["file"], suffix, engine, files, needs="table")


def _graph_fixture(entry: Entry, engine: str, files: Files) -> Iterator[AnyFixture]:
    fields = entry.fields("nodes", "relationships", "from", "to", "rows", "file", "types")
    if "nodes" in fields and "relationships" in fields:
        raise entry.error("is either nodes or relationships")
    for end in ("from", "to"):
        if (end in fields) != ("relationships" in fields):
            raise entry.error(f"relationships need {end!r}, others have none")
    if "nodes" in fields:
        given = fields["nodes"]
        labels = given.items() if isinstance(given.value, list) else [given]
        if not labels:
            raise given.error("must name a label")
        file, size, rows = _rows(entry, fields, files)
        yield Nodes(tuple(each.text() for each in labels), file, size, rows, given.mark)
    elif "relationships" in fields:
        given = fields["relationships"]
        file, size, rows = _rows(entry, fields, files)
        start, end = _endpoint(fields["from"]), _endpoint(fields["to"])
        rows = _with_ends(rows)
        yield Relationships(given.text(), start, end, file, size, rows, given.mark)
    else:
        suffix = _suffix(entry, fields)
        yield _script_fixture(fields["file"], suffix, engine, files, needs="nodes")


def _endpoint(entry: Entry) -> Endpoint:
    found = entry.section()
    if len(found) != 1:
        raise entry.error("must be one label and its property, as in {Person: id}")
    ((label, property_),) = found.items()
    return Endpoint(label, property_.text())


def _with_ends(rows: Rows) -> Rows:
    """Rows of which each says where it starts and ends."""

    def checked() -> Iterator[Row]:
        for row in rows():
            for end in ("from", "to"):
                if row.values.get(end) is None:
                    raise PopulationError(row.file, row.line, f"a relationship needs {end!r}")
            yield row

    return checked


def _suffix(entry: Entry, fields: dict[str, Entry]) -> str:
    """The ending of the file of an entry that has nothing else."""
    if fields.keys() != {"file"}:
        raise entry.error(
            "names no table (neo4j: nodes, relationships), so it may only have 'file'"
        )
    return Path(fields["file"].text()).suffix.lower()


def _script_fixture(entry: Entry, suffix: str, engine: str, files: Files, needs: str) -> Script:
    if suffix in ROW_SUFFIXES:
        raise entry.error(f"{entry.value!r} has rows, but the entry has no {needs!r}")
    if suffix not in SCRIPT_SUFFIXES[engine]:
        known = ", ".join(SCRIPT_SUFFIXES[engine])
        raise entry.error(f"{entry.value!r} does not end in {known}, as {engine} scripts do")
    file = files.find(entry)
    return Script(file.path, 1, file.text())


def _rows(
    entry: Entry, fields: dict[str, Entry], files: Files, *, exact: bool = True
) -> tuple[Path, int, Rows]:
    """File, size and reader of the rows of an entry with either `rows` or `file`."""
    if ("rows" in fields) == ("file" in fields):
        raise entry.error("must have exactly one of 'rows' and 'file'")
    if "rows" in fields:
        if "types" in fields:
            raise fields["types"].error("is for .csv files")
        return _listed(fields["rows"])
    return _from_file(fields["file"], fields.get("types"), files, exact=exact)


def _from_file(
    entry: Entry, types: Entry | None, files: Files, *, exact: bool
) -> tuple[Path, int, Rows]:
    suffix = Path(entry.text()).suffix.lower()
    if suffix not in ROW_SUFFIXES:
        raise entry.error(f"{entry.value!r} does not end in {', '.join(ROW_SUFFIXES)}")
    if types is not None and suffix != ".csv":
        raise types.error("is for .csv files")
    file = files.find(entry)
    if suffix == ".csv":
        cells = types.section() if types is not None else {}
        names = {column: kind.one_of(CELLS) for column, kind in cells.items()}
        return file.path, file.size, lambda: csv_rows(file, names)
    if suffix == ".jsonl":
        return file.path, file.size, lambda: jsonl_rows(file, exact=exact)
    return _listed(_document(file, exact=exact))


def _listed(entry: Entry) -> tuple[Path, int, Rows]:
    """Rows of a list, every one of them looked at now."""
    entries = entry.items()
    for _ in listed_rows(entries):
        pass
    return entry.file, 0, lambda: listed_rows(entries)


def _document(file: DataFile, *, exact: bool = True) -> Entry:
    try:
        return Entry.root(parse_document(file.head(MAX_BYTES + 1), file.path, exact=exact))
    except DocumentError as exc:
        raise PopulationError(
            exc.file, exc.line, exc.reason, column=exc.column, hint=exc.hint
        ) from None


def _tables_of(file: DataFile) -> Iterator[Fixture]:
    """The fixtures of a YAML file that maps tables to lists of rows."""
    for table, entry in _document(file).section().items():
        path, size, rows = _listed(entry)
        yield Fixture(table, path, size, rows, entry.mark)


def load_collections(
    entry: Entry | None, files: Files
) -> tuple[tuple[Collection, ...], list[Fixture]]:
    """The collections of a qdrant database, and their points."""
    collections: list[Collection] = []
    points: list[Fixture] = []
    for name, each in (entry.section() if entry is not None else {}).items():
        fields = each.fields("size", "distance", "vectors", "indexes", "points")
        indexes = fields["indexes"].section() if "indexes" in fields else {}
        kinds = {field: kind.one_of(INDEXES) for field, kind in indexes.items()}
        collections.append(Collection(name, _vectors(each, fields), kinds, each.file, each.line))
        if "points" in fields:
            points.append(_points(name, fields["points"], files))
    return tuple(collections), points


def _vectors(entry: Entry, fields: dict[str, Entry]) -> dict[str, tuple[int, str]]:
    if "vectors" not in fields:
        return {"": _vector(entry, fields)}
    if "size" in fields or "distance" in fields:
        raise entry.error("has either 'size' and 'distance' or 'vectors'")
    return {
        name: _vector(each, each.fields("size", "distance"))
        for name, each in fields["vectors"].section().items()
    }


def _vector(entry: Entry, fields: dict[str, Entry]) -> tuple[int, str]:
    for key in ("size", "distance"):
        if key not in fields:
            raise entry.error(f"needs {key!r} (or 'vectors', if points have several)")
    size = fields["size"].whole(least=1, most=MAX_VECTOR_SIZE)
    return size, fields["distance"].one_of(DISTANCES)


def _points(collection: str, entry: Entry, files: Files) -> Fixture:
    if isinstance(entry.value, list):
        file, size, exact_rows = _listed(entry)
        rows = _inexact(exact_rows)
    elif Path(entry.text()).suffix.lower() == ".csv":
        raise entry.error("points do not fit into .csv", hint="write .jsonl or .yaml")
    else:
        file, size, rows = _from_file(entry, None, files, exact=False)
    return Fixture(collection, file, size, _as_points(rows), entry.mark)


def _inexact(rows: Rows) -> Rows:
    """Points of the population file itself, whose numbers are read as those of tables are."""
    return lambda: (replace(row, values=inexact(row.values)) for row in rows())


def _as_points(rows: Rows) -> Rows:
    """Points with an id, a vector and, if anything else, a payload."""

    def checked() -> Iterator[Row]:
        for row in rows():
            if not {"id", "vector"} <= row.values.keys() <= {"id", "vector", "payload"}:
                reason = "a point has an 'id' and a 'vector' and may have a 'payload'"
                raise PopulationError(row.file, row.line, reason)
            yield row

    return checked
