"""What the document tool answers."""

from typing import Literal

from tool_plugins.contract import Result

Format = Literal["pdf", "docx", "xlsx", "html"]


class ReadResult(Result):
    """A document, or a piece of one, as Markdown.

    `pages` counts pages of a PDF and sheets of an XLSX file; None for others.
    """

    path: str
    format: Format
    title: str = ""
    pages: int | None = None
    content: str
    offset: int = 0
    total_chars: int
    next_offset: int | None = None
    truncated: bool = False
