"""Turns documents into Markdown.

Reads the file it is given and nothing else: no macro is run, no link followed, no entity expanded.
"""

import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from tool_plugins.errors import ErrorCode, ToolError

Format = Literal["pdf", "docx", "xlsx", "html"]

MAX_CONTENT_CHARS = 5_000_000
MAX_HTML_BYTES = 20 * 1024 * 1024

_HEAD_BYTES = 4096
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_BYTES = 1024 * 1024
_OLE_KINDS = {
    "EncryptedPackage": "an Office file that is protected by a password",
    "WordDocument": "an old Word file (.doc)",
    "Workbook": "an old Excel file (.xls)",
    "PowerPoint Document": "an old PowerPoint file (.ppt)",
}
_HTML_START = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]{0,200}>\s*|<!--.{0,2000}?-->\s*)*"
    rb"<(?:!doctype\s+html|html|head|body|meta|title|script|style|div|table|h[1-6]|p)\b",
    re.IGNORECASE | re.DOTALL,
)
_BINARY = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x1f\x8b": "compressed by gzip",
    b"\x7fELF": "a program",
    b"{\\rtf": "an RTF file",
}


@dataclass(frozen=True, slots=True)
class Converted:
    """A document as Markdown. `pages` counts all its pages or sheets; None where it has neither."""

    format: Format
    title: str
    pages: int | None
    content: str


def convert(
    file: BinaryIO, *, pages: str | None, content_type: str = "", name: str = ""
) -> Converted:
    """The document in `file`, which can be sought. What it is follows from its bytes.

    `pages` selects pages of a PDF or sheets of an XLSX file, as `selected` says. `content_type`
    and `name` decide only whether text without a beginning of its own is HTML.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is no such document, damaged or encrypted; TOO_LARGE;
            INVALID_ARGUMENT, it has no such pages.
    """
    kind = find_format(file, content_type, name)
    file.seek(0)
    if kind == "pdf":
        from .pdf import convert_pdf

        return convert_pdf(file, pages)
    if kind == "xlsx":
        from .xlsx import convert_xlsx

        return convert_xlsx(file, pages)
    if pages is not None:
        raise ToolError(
            ErrorCode.INVALID_ARGUMENT,
            f"pages selects pages of a PDF or sheets of an XLSX file; this is {kind.upper()}",
            hint="leave pages out, and read on with offset",
        )
    if kind == "docx":
        from .docx import convert_docx

        return convert_docx(file)
    return _convert_html(file)


def find_format(file: BinaryIO, content_type: str = "", name: str = "") -> Format:
    """What a document is, by its bytes.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, none that can be converted; the hint says what to do.
    """
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    if not head.strip():
        raise unsupported("the file is empty", "")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"PK"):
        from .package import find_package

        return find_package(file)
    if head.startswith(_OLE):
        file.seek(0)
        start = file.read(_OLE_BYTES)
        kinds = (what for mark, what in _OLE_KINDS.items() if mark.encode("utf-16-le") in start)
        raise unsupported(f"this is {next(kinds, 'an old Office file')}", CONVERT_HINT)
    for mark, what in _BINARY.items():
        if head.startswith(mark):
            raise unsupported(f"this is {what}", "")
    return _text_format(head, content_type, name)


CONVERT_HINT = "convert it to DOCX, XLSX or PDF first, for instance with LibreOffice"


def _text_format(head: bytes, content_type: str, name: str) -> Format:
    from tool_plugins.web.charset import decode, looks_binary

    if looks_binary(head):
        raise unsupported("this is no PDF, DOCX, XLSX or HTML file", "")
    said = content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    said = said or name.lower().endswith((".html", ".htm", ".xhtml"))
    if said or _HTML_START.match(decode(head).encode()):
        return "html"
    raise unsupported("this is plain text", "read it with filesystem_read")


def _convert_html(file: BinaryIO) -> Converted:
    from tool_plugins.web.convert import convert as convert_page

    body = file.read(MAX_HTML_BYTES + 1)
    if len(body) > MAX_HTML_BYTES:
        raise ToolError(
            ErrorCode.TOO_LARGE,
            f"the HTML file has more than {MAX_HTML_BYTES} bytes",
            hint="split it, or read it with filesystem_read",
        )
    page = convert_page(body, content_type="text/html", charset=None, url="", mode="full")
    return Converted("html", page.title, None, with_note(page.content, page.note))


def selected(pages: str | None, count: int, what: str) -> range:
    """The numbers of pages or sheets, from 1, that `pages` selects among `count`.

    A range may reach beyond the last; it must begin with one that is there.

    Raises:
        ToolError: INVALID_ARGUMENT, there are not so many.
    """
    if pages is None:
        return range(1, count + 1)
    first, _, last = pages.partition("-")
    if not all(each.isascii() and each.isdigit() for each in (first, last or first)):
        raise _no_pages(f"pages is {pages[:40]!r}, which is no number and no range", count, what)
    chosen = range(int(first[:9]), int((last or first)[:9]) + 1)
    if not chosen or chosen[0] < 1:
        raise _no_pages(f"pages is {pages[:40]!r}, which selects nothing", count, what)
    if chosen[0] > count:
        has = f"{count} {what}" + ("s" if count != 1 else "")
        raise _no_pages(f"pages is {pages[:40]!r}, and the document has {has}", count, what)
    return range(chosen[0], min(chosen[-1], count) + 1)


def _no_pages(message: str, count: int, what: str) -> ToolError:
    return ToolError(
        ErrorCode.INVALID_ARGUMENT,
        message,
        hint=f"choose among 1 to {count}, as in '1' or '1-{count}'" if count else f"no {what}s",
        details={"pages": count},
    )


def with_note(content: str, note: str) -> str:
    """The content, and after it what was left out or is missing, in parentheses."""
    return "\n\n".join(filter(None, (content, f"({note})" if note else "")))


def unsupported(message: str, hint: str) -> ToolError:
    """An UNSUPPORTED_CONTENT error."""
    return ToolError(ErrorCode.UNSUPPORTED_CONTENT, message, hint=hint)


def damaged(what: str, why: str) -> ToolError:
    """An UNSUPPORTED_CONTENT error about a file that is not what it should be."""
    return unsupported(
        f"the {what} file is damaged: {why[:200]}", "repair it, or save it anew from its program"
    )
