# /// script
# requires-python = ">=3.11"
# dependencies = ["openpyxl>=3.1"]
# ///
"""Writes and sums up Excel files. (To read one, there is `document.read`.)"""

from collections import defaultdict
from pathlib import Path

from openpyxl import Workbook, load_workbook
from openpyxl.styles import Font

from tool_plugins.authoring import ToolError

Cell = str | int | float | bool | None


def write(path: str, sheets: dict[str, list[list[Cell]]]) -> dict[str, int]:
    """Writes an Excel file, and gives the number of rows of each sheet.

    Args:
        path: Where in the workspace, such as `report.xlsx`. A file that is there is replaced.
        sheets: The rows of each sheet by its name. The first row is shown as a heading.
    """
    if not sheets:
        raise ToolError("there is no sheet to write", hint="name at least one")
    workbook = Workbook()
    workbook.remove(workbook.worksheets[0])
    for name, rows in sheets.items():
        sheet = workbook.create_sheet(name)
        for row in rows:
            sheet.append(row)
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        sheet.freeze_panes = "A2"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    workbook.save(path)
    return {name: len(rows) for name, rows in sheets.items()}


def totals(path: str, sheet: str, by: str, column: str) -> dict[str, float]:
    """Sums one column for each value of another.

    Args:
        path: An Excel file of the workspace.
        sheet: The name of a sheet; its first row names the columns.
        by: The column with the values to sum for.
        column: The column with the numbers; what is no number there is left out.
    """
    if not Path(path).is_file():
        raise ToolError(f"there is no file {path!r}")
    workbook = load_workbook(path, read_only=True, data_only=True)
    if sheet not in workbook.sheetnames:
        raise ToolError(f"no sheet {sheet!r}", hint=f"there are: {', '.join(workbook.sheetnames)}")
    rows = workbook[sheet].iter_rows(values_only=True)
    names = [str(each) for each in next(rows, ())]
    if missing := {by, column}.difference(names):
        raise ToolError(f"no column {min(missing)!r}", hint=f"there are: {', '.join(names)}")
    sums: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        value = row[names.index(column)]
        if isinstance(value, int | float):
            sums[str(row[names.index(by)])] += value
    return dict(sums)
