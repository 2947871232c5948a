"""Tables of a page as tables of Markdown."""

from dataclasses import dataclass, field
from typing import Any

MAX_SPAN = 20
MAX_FILLED = 20_000
"""Empty cells that spans of one table may add: a span costs the page a few bytes only."""


def is_data(table: Any) -> bool:
    """Whether it holds data, and does not merely lay out the page."""
    if table.get("role") in ("presentation", "none"):
        return False
    cells = widest = 0
    for each in table.iterdescendants("table", "pre", "tr", "td", "th"):
        if each.tag in ("table", "pre"):
            return False
        cells = 0 if each.tag == "tr" else cells + 1
        widest = max(widest, cells)
    return widest > 1


@dataclass(slots=True)
class Table:
    """The rows of a table while it is read. `cell` holds the blocks of the cell that is open."""

    cell: list[str] | None = None
    _rows: list[list[str]] = field(default_factory=list)
    _heads: int = 0
    _carried: dict[int, int] = field(default_factory=dict)
    _filled: int = 0
    _spans: tuple[int, int] = (1, 1)

    def start(self, element: Any) -> None:
        """Begins a row or a cell; a cell that was never closed ends here."""
        self.end("td")
        if element.tag == "tr":
            self._rows.append([])
            return
        if not self._rows:
            self._rows.append([])
        self._carry()
        if element.tag == "th" and len(self._rows) == 1:
            self._heads += 1
        self._spans = _span(element.get("colspan")), _span(element.get("rowspan"))
        self.cell = []

    def write(self, text: str) -> None:
        """Adds a block to the cell that is open."""
        if self.cell is not None:
            self.cell.append(text)

    def end(self, tag: str) -> None:
        """Ends a row or a cell."""
        if tag == "tr" or self.cell is None:
            return
        row = self._rows[-1]
        columns, rows = self._spans
        for number in range(columns):
            if rows > 1:
                self._carried[len(row)] = rows - 1
            row.append("<br>".join(self.cell).replace("|", "\\|") if number == 0 else "")
            self._filled += number > 0
        self.cell = None

    def _carry(self) -> None:
        """Leaves room for the cells that reach down from rows above."""
        row = self._rows[-1]
        while (left := self._carried.get(len(row), 0)) and self._filled < MAX_FILLED:
            self._carried[len(row)] = left - 1
            row.append("")
            self._filled += 1

    def lines(self) -> list[str]:
        """The table, under an empty head where its first row is none."""
        rows = [row for row in self._rows if any(row)]
        if not rows:
            return []
        width = max(map(len, rows))
        headed = rows[0] is self._rows[0] and self._heads == sum(map(bool, rows[0]))
        head = rows.pop(0) if headed else []
        head += [""] * (width - len(head))
        return [_line(head), _line(["---"] * width), *map(_line, rows)]


def _span(value: str | None) -> int:
    # A span of 0 reaches to the end; both it and nonsense count as none.
    digits = (value or "").strip()[:9]
    return min(int(digits), MAX_SPAN) or 1 if digits.isdecimal() else 1


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
