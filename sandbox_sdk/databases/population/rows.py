"""Readers of rows: CSV and JSON lines as a stream, lists of YAML as they are.

CSV is RFC 4180 in UTF-8: commas, quotes doubled within quotes, a line end within quotes. The first
line names the columns. An empty cell is NULL, `""` is the empty text. Blank lines are skipped.
Cells are text unless `types` says otherwise: the database makes of it what the column holds.

JSON lines are one object a line. Numbers keep every digit (Decimal).
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sandbox_sdk.documents import Section

from .contents import PopulationError, Row
from .entries import Entry, nearest
from .files import DataFile, Line
from .values import CELLS, cell, parse_json

_CELL = re.compile(r'("[^"]*(?:""[^"]*)*"|[^,\r\n]*)(?:,|\r?\n?\Z)')


def csv_rows(file: DataFile, types: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a CSV file.

    Raises:
        PopulationError: names the line a bad record begins in.
    """
    records = _records(file)
    first = next(records, None)
    if first is None:
        raise PopulationError(file.path, 1, "has no header that names the columns")
    header = _header(file, *first[:2], types)
    readers = [CELLS[types.get(column, "text")] for column in header]
    for line, cells, end in records:
        if len(cells) != len(header):
            reason = f"has {len(cells)} cells, the header names {len(header)} columns"
            raise PopulationError(file.path, line.number, reason)
        values = dict(zip(header, cells, strict=True))
        if types:
            values = _typed(values, readers, file, line.number)
        yield Row(values, file.path, line.number, end)


def _records(file: DataFile) -> Iterator[tuple[Line, list[str | None], int]]:
    """Each record that is not blank: its first line, its cells, the offset of its end."""
    taken: list[Line] = []

    def lines() -> Iterator[str]:
        for line in file.lines():
            taken.append(line)
            yield line.text

    reader = csv.reader(lines(), strict=True)
    while True:
        taken.clear()
        try:
            cells: list[str] | None = next(reader, None)
        except csv.Error as exc:
            number = taken[0].number if taken else 1
            hint = "keep such a cell in a .jsonl file" if "field limit" in str(exc) else ""
            raise PopulationError(file.path, number, f"is not CSV: {exc}", hint=hint) from None
        if cells is None:
            return
        if cells:
            yield taken[0], _with_nulls(cells, taken), taken[-1].offset


def _with_nulls(cells: list[str], lines: list[Line]) -> list[str | None]:
    """The cells with None for those that are empty and not quoted, which `csv` does not tell."""
    if "" not in cells:
        return list(cells)
    record = "".join(line.text for line in lines)
    if '""' not in record:
        return [text or None for text in cells]
    written = [found[1] for found in _CELL.finditer(record)]
    return [
        None if text == "" and not quoted else text
        for text, quoted in zip(cells, written, strict=False)
    ]


def _header(
    file: DataFile, line: Line, cells: list[str | None], types: Mapping[str, str]
) -> list[str]:
    names = [text or "" for text in cells]
    for at, name in enumerate(names, start=1):
        if not name.strip():
            raise PopulationError(file.path, line.number, f"column {at} has no name")
        if names.count(name) > 1:
            raise PopulationError(file.path, line.number, f"two columns are named {name!r}")
    for column in types:
        if column not in names:
            reason = f"there is no column {column!r} to have a type"
            raise PopulationError(file.path, line.number, reason, hint=nearest(column, names))
    return names


def _typed(
    values: dict[str, str | None],
    readers: list[Callable[[str], Any]],
    file: DataFile,
    line: int,
) -> dict[str, Any]:
    typed: dict[str, Any] = {}
    for (column, text), read in zip(values.items(), readers, strict=True):
        try:
            typed[column] = None if text is None else read(text)
        except ValueError as exc:
            raise PopulationError(file.path, line, f"column {column!r}: {exc}") from None
    return typed


def jsonl_rows(file: DataFile, *, exact: bool = True) -> Iterator[Row]:
    """The rows of a file with one JSON object a line; with `exact` False numbers are float."""
    for line in file.lines():
        if not line.text.strip():
            continue
        try:
            values = parse_json(line.text, exact=exact)
            if not isinstance(values, dict) or not values:
                raise ValueError("must be an object that is not empty")
            values = {column: cell(value) for column, value in values.items()}
        except ValueError as exc:
            raise PopulationError(file.path, line.number, str(exc)) from None
        yield Row(values, file.path, line.number, line.offset)


def listed_rows(entries: Iterable[Entry]) -> Iterator[Row]:
    """The rows of a list in a YAML file."""
    for entry in entries:
        if not isinstance(entry.value, Section) or not entry.value:
            raise entry.error("a row must be a mapping of columns to values")
        try:
            values = {column: cell(value) for column, value in entry.value.items()}
        except ValueError as exc:
            raise entry.error(str(exc)) from None
        yield Row(values, entry.file, entry.line)
