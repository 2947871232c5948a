"""Reads a CSV file into SQLite and asks it. Runs in the sandbox as the agent's user, so a query can
reach nothing that a command of the agent could not."""

import csv
import math
import sqlite3
import time
from collections.abc import Iterable
from typing import Any

from tool_plugins.errors import ErrorCode, ToolError
from tool_plugins.worker.child import Call

DELIMITERS = ",;\t|"
STEPS = 10_000
"""How many steps of SQLite to take before the time is looked at."""


def describe(args: dict[str, Any], call: Call) -> dict[str, Any]:
    """Says what is in the file."""
    data, names = load(call.descriptors[0])
    (rows,) = data.execute("SELECT count(*) FROM data").fetchone()
    columns = [{"name": name, **_column(data, name)} for name in names]
    return {"rows": rows, "columns": columns}


def query(args: dict[str, Any], call: Call) -> dict[str, Any]:
    """Answers one SELECT."""
    data, names = load(call.descriptors[0])
    data.set_progress_handler(lambda: time.monotonic() > call.deadline, STEPS)
    try:
        found = data.execute(args["query"])
        rows = found.fetchmany(args["max_rows"] + 1)
    except sqlite3.Error as error:
        raise ToolError(
            ErrorCode.QUERY_ERROR, str(error), hint=f"the columns of data are {', '.join(names)}"
        ) from error
    return {
        "columns": [each[0] for each in found.description or ()],
        "rows": [[_plain(value) for value in row] for row in rows[: args["max_rows"]]],
        "truncated": len(rows) > args["max_rows"],
    }


def load(fd: int) -> tuple[sqlite3.Connection, list[str]]:
    """The table `data` in memory, and the names of its columns.

    Raises:
        ToolError: it is not text in UTF-8, or not a table.
    """
    data = sqlite3.connect(":memory:")
    try:
        with open(fd, encoding="utf-8-sig", newline="", closefd=False) as file:
            first = file.readline()
            file.seek(0)
            lines = csv.reader(file, delimiter=max(DELIMITERS, key=first.count))
            names = _names(next(lines, []))
            data.execute(f"CREATE TABLE data ({', '.join(map(_quoted, names))})")
            marks = ", ".join("?" * len(names))
            data.executemany(f"INSERT INTO data VALUES ({marks})", _rows(lines, len(names)))
    except (csv.Error, UnicodeDecodeError, sqlite3.Error) as error:
        raise ToolError(
            ErrorCode.UNSUPPORTED_CONTENT, f"it cannot be read as CSV in UTF-8: {error}"
        ) from error
    return data, names


def _names(header: list[str]) -> list[str]:
    """Names for all columns, also for those that have none or that of another."""
    if not header:
        raise ToolError(ErrorCode.UNSUPPORTED_CONTENT, "the first line has no names of columns")
    names: list[str] = []
    taken: set[str] = set()
    for number, given in enumerate(header, 1):
        name = given.strip() or f"column_{number}"
        if name.casefold() in taken:
            name = f"{name}_{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _rows(lines: Iterable[list[str]], width: int) -> Iterable[list[str | int | float | None]]:
    for line in lines:
        if len(line) > width:
            raise csv.Error(f"a row has {len(line)} values, the first line {width} names")
        if line:
            yield [_value(text) for text in line] + [None] * (width - len(line))


def _value(text: str) -> str | int | float | None:
    if not text.strip():
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # What SQLite has no number for stays text, as do words such as "nan".
        return number if math.isfinite(number) and abs(number) < 2**63 else text
    return text


def _column(data: sqlite3.Connection, name: str) -> dict[str, Any]:
    column = _quoted(name)
    kinds = {kind for (kind,) in data.execute(f"SELECT DISTINCT typeof({column}) FROM data")}
    (empty,) = data.execute(f"SELECT count(*) FROM data WHERE {column} IS NULL").fetchone()
    found = data.execute(f"SELECT {column} FROM data WHERE {column} IS NOT NULL").fetchone()
    kind = "text" if "text" in kinds else "number" if "real" in kinds else "integer"
    return {"type": kind, "empty": empty, "example": str(found[0])[:100] if found else ""}


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _plain(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


HANDLERS = {"describe": describe, "query": query}
