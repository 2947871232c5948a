"""Where the rows of a result go: into the answer, within its caps, or into a file, all of them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from tool_plugins.errors import ErrorCode, ToolError

from .driver import Call, Caps, Collected, Sink
from .protocol import dumps
from .values import encode

PIECE_BYTES = 256 * 1024
ROWS_BETWEEN_CHECKS = 256

_PLAIN = (int, float, bool, type(None))
_BINARY = (bytes, bytearray, memoryview)


class Budget:
    """What is left of a call's caps. The statements of one batch share it."""

    def __init__(self, caps: Caps) -> None:
        self.rows = caps.rows
        self.bytes = caps.bytes


class Collecting(Sink):
    """Keeps rows for the answer. Bytes are those of the rows as JSON.

    It takes rows until one is too many, so that `truncated` never says too much: exactly as many
    rows as the cap are not truncated.
    """

    def __init__(self, caps: Caps, budget: Budget | None = None) -> None:
        self._budget = budget or Budget(caps)
        self._cell_chars = caps.cell_chars
        self._collected = Collected()

    def columns(self, columns: Sequence[tuple[str, str]]) -> None:
        """Keeps name and type of each."""
        self._collected.columns = _columns(columns)

    def row(self, row: Sequence[Any]) -> bool:
        """Keeps a row, or notes that there was one too many."""
        if self._budget.rows <= 0:
            return self._full("rows")
        cells = [self._cell(value) for value in row]
        size = len(dumps(cells)) + 1
        if size > self._budget.bytes:
            return self._full("bytes")
        self._budget.rows -= 1
        self._budget.bytes -= size
        self._collected.rows.append(cells)
        return True

    def fields(self) -> dict[str, Any]:
        """The fields of a `QueryResult`."""
        return _fields(self._collected) | {"row_count": len(self._collected.rows)}

    def returned(self) -> dict[str, Any]:
        """Those of a `StatementResult`."""
        found = self._collected
        return {"columns": found.columns, "rows": found.rows, "truncated": found.truncated}

    def _full(self, cap: Literal["rows", "bytes"]) -> bool:
        self._collected.truncated = True
        self._collected.truncated_by = cap
        return False

    def _cell(self, value: Any) -> Any:
        kind = type(value)
        if kind in _PLAIN:
            return encode(value)
        if isinstance(value, _BINARY):
            return self._binary(value)
        encoded = encode(value[: self._cell_chars + 1] if kind is str else value)
        if isinstance(encoded, str):
            if len(encoded) <= self._cell_chars:
                return encoded
            return self._clip(encoded, len(value) if kind is str else len(encoded))
        if isinstance(encoded, dict | list):
            text = json.dumps(encoded, ensure_ascii=False)
            return encoded if len(text) <= self._cell_chars else self._clip(text, len(text))
        return encoded

    def _clip(self, text: str, length: int) -> str:
        self._collected.clipped_cells += 1
        return f"{text[: self._cell_chars]}… ({length} characters)"

    def _binary(self, value: bytes | bytearray | memoryview) -> dict[str, Any]:
        view = memoryview(value).cast("B") if len(value) else memoryview(b"")
        if (view.nbytes + 2) // 3 * 4 <= self._cell_chars:
            return encode(view)
        self._collected.clipped_cells += 1
        return encode(view[: self._cell_chars // 4 * 3]) | {"bytes": view.nbytes}


class FileSink(Sink):
    """Writes every row to a file, in pieces; nothing is clipped and no row is left out.

    A CSV file has a header; NULL is an empty field and empty text is `""`, as in PostgreSQL.
    A JSONL file has one object per row.
    """

    def __init__(
        self, file_format: Literal["csv", "jsonl"], call: Call, write: Callable[[bytes], None]
    ) -> None:
        self._csv = file_format == "csv"
        self._call = call
        self._write = write
        self._columns: list[dict[str, str]] = []
        self._names: list[str] = []
        self._buffer = bytearray()
        self._hash = hashlib.sha256()
        self._bytes = 0
        self._rows = 0

    @property
    def begun(self) -> bool:
        """Whether a piece has left. Then the statement cannot be tried again."""
        return self._bytes > 0

    def columns(self, columns: Sequence[tuple[str, str]]) -> None:
        """Begins the file.

        Raises:
            ToolError: INVALID_ARGUMENT, two columns have one name and the rows would be objects.
        """
        self._columns = _columns(columns)
        self._names = [each["name"] for each in self._columns]
        if self._csv:
            self._buffer += _csv_line(self._names)
        elif twice := {name for name in self._names if self._names.count(name) > 1}:
            raise ToolError(
                ErrorCode.INVALID_ARGUMENT,
                f"two columns are named {min(twice)!r}",
                hint="give one another name with AS, or write a .csv file",
            )

    def row(self, row: Sequence[Any]) -> bool:
        """Writes a row.

        Raises:
            ToolError: TIMEOUT, the call's time is over.
        """
        cells = [encode(value) for value in row]
        if self._csv:
            self._buffer += _csv_line(cells)
        else:
            self._buffer += dumps(dict(zip(self._names, cells, strict=True))) + b"\n"
        self._rows += 1
        if self._rows % ROWS_BETWEEN_CHECKS == 0:
            self._call.check()
        if len(self._buffer) >= PIECE_BYTES:
            self._flush()
        return True

    def fields(self) -> dict[str, Any]:
        """Ends the file. The fields of a `QueryResult`, without the file's name."""
        self._flush()
        return {
            "columns": self._columns,
            "row_count": self._rows,
            "bytes": self._bytes,
            "sha256": self._hash.hexdigest(),
        }

    def _flush(self) -> None:
        for start in range(0, len(self._buffer), PIECE_BYTES):
            piece = bytes(self._buffer[start : start + PIECE_BYTES])
            self._hash.update(piece)
            self._bytes += len(piece)
            self._write(piece)
        self._buffer.clear()


def _fields(collected: Collected) -> dict[str, Any]:
    """The fields of a result, without copying its rows."""
    return {
        "columns": collected.columns,
        "rows": collected.rows,
        "truncated": collected.truncated,
        "truncated_by": collected.truncated_by,
        "clipped_cells": collected.clipped_cells,
    }


def cap_hits(fields: dict[str, Any], limit: int) -> dict[str, Any]:
    """The fields of a `VectorSearchResult` with as many of its hits as fit into `limit` bytes."""
    kept: list[Any] = []
    for hit in fields["hits"]:
        limit -= len(dumps(hit)) + 1
        if limit < 0:
            return fields | {"hits": kept, "truncated": True, "truncated_by": "bytes"}
        kept.append(hit)
    return fields


def _columns(columns: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": encode(name), "type": encode(kind)} for name, kind in columns]


def _csv_line(cells: Sequence[Any]) -> bytes:
    return (",".join(map(_csv_field, cells)) + "\n").encode()


def _csv_field(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, dict) and cell.keys() == {"base64"}:
        text = cell["base64"]
    elif isinstance(cell, str):
        text = cell
    else:
        text = json.dumps(cell, ensure_ascii=False)
    if text and not any(each in text for each in '",\r\n') and text.strip() == text:
        return text
    return '"' + text.replace('"', '""') + '"'
