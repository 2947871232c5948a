"""XLSX to Markdown, by openpyxl. Its door."""

import re
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import Any, BinaryIO

from tool_plugins.errors import ToolError
from tool_plugins.invisible import one_line, visible

from .convert import MAX_CONTENT_CHARS, Converted, damaged, selected, with_note
from .package import checked, title_of, too_large

MAX_XML_BYTES = 200 * 1024 * 1024
MAX_STRINGS_BYTES = 32 * 1024 * 1024
MAX_CELLS = 200_000
MAX_LOOKED_AT = 2_000_000
MAX_CELL_CHARS = 32_767

_UNKNOWN_RESULT = re.compile(
    rb"(?:</f>|<f(?:\s[^<>]{0,80})?/>)\s{0,8}(?:<v\s{0,8}/>|<v>\s{0,8}</v>)?\s{0,8}</c>"
)


def convert_xlsx(file: BinaryIO, pages: str | None) -> Converted:
    """Every sheet, or those of `pages`, as a table under its name; values, not formulas.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is damaged; TOO_LARGE; INVALID_ARGUMENT.
    """
    import openpyxl

    uncalculated = _check(file)
    with _reading():
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        names = book.sheetnames
        chosen = selected(pages, len(names), "sheet")
        content, notes = _content(book, [names[number - 1] for number in chosen])
        title = title_of(file)
    if uncalculated:
        notes.append(
            "Some formulas have no stored result and are empty here: open and save the file in a "
            "spreadsheet program to have them calculated."
        )
    return Converted("xlsx", title, len(names), with_note(content, " ".join(notes)))


def _check(file: BinaryIO) -> bool:
    """Whether a formula has no result that was stored with it. Raises where the file is hostile."""
    found = False
    strings = 0
    before = b""
    for name, piece in checked(file, "XLSX", MAX_XML_BYTES):
        if name.startswith("xl/worksheets/"):
            found = found or bool(_UNKNOWN_RESULT.search(before + piece))
            before = piece[-200:]
        elif name == "xl/sharedStrings.xml":
            strings += len(piece)
            if strings > MAX_STRINGS_BYTES:
                raise too_large("XLSX", f"has more than {MAX_STRINGS_BYTES} bytes of text")
    file.seek(0)
    return found


@contextmanager
def _reading() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ToolError, MemoryError):
        raise
    except Exception as exc:
        # openpyxl raises whatever its way through a broken file ends with.
        raise damaged("XLSX", str(exc) or type(exc).__name__) from None


def _content(book: Any, names: list[str]) -> tuple[str, list[str]]:
    blocks: list[str] = []
    left_out: list[str] = []
    room, size = MAX_CELLS, 0
    for name in names:
        sheet = book[name]
        hidden = " (hidden)" if getattr(sheet, "sheet_state", "visible") != "visible" else ""
        title = one_line(name, 100) or "-"
        if room <= 0 or size > MAX_CONTENT_CHARS:
            left_out.append(f"all of {title!r}")
            continue
        rows, whole = _rows(sheet, room)
        room -= sum(map(len, rows))
        blocks.append(f"## {title}{hidden}\n\n{_table(rows)}")
        size += len(blocks[-1])
        if not whole:
            left_out.append(f"{title!r} after row {len(rows)}")
    notes = []
    if left_out:
        notes.append(
            f"Left out, since no more than {MAX_CELLS} cells are read at once: "
            f"{', '.join(left_out[:20])}. Read other sheets with pages, and large ones with a "
            "program of your own."
        )
    return "\n\n".join(blocks), notes


def _rows(sheet: Any, room: int) -> tuple[list[list[str]], bool]:
    """The rows up to the last that is not empty, and whether these are all."""
    rows: list[list[str]] = []
    cells = looked_at = 0
    if not hasattr(sheet, "iter_rows"):
        return [], True  # a sheet that is a chart
    # What the file says about its size may be wrong.
    sheet.reset_dimensions()
    empty = 0
    for values in sheet.iter_rows(values_only=True):
        looked_at += 1 + len(values)
        row = _row(values)
        if row:
            cells += len(row) + empty
            if cells > room:
                return rows, False
            rows += [[]] * empty
            rows.append(row)
            empty = 0
        else:
            empty += 1
        if looked_at > MAX_LOOKED_AT:
            return rows, False
    return rows, True


def _row(values: Iterable[Any]) -> list[str]:
    row = [_cell(value) for value in values]
    while row and not row[-1]:
        row.pop()
    return row


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return format(value, ".15g")  # as many digits as the program shows
    if isinstance(value, datetime):
        return (value.date() if value.time() == time() else value).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    text = visible(str(value)[:MAX_CELL_CHARS]).strip()
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")


def _table(rows: list[list[str]]) -> str:
    if not rows:
        return "(This sheet is empty.)"
    width = max(map(len, rows))
    head, *others = rows
    lines = [_line(head + [""] * (width - len(head))), _line(["---"] * width)]
    return "\n".join([*lines, *map(_line, others)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |" if cells else "|  |"
