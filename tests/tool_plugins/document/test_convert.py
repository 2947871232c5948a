"""Real documents become Markdown; what is broken, hostile or something else is told."""

import io
import zipfile
from datetime import date
from typing import Any

import openpyxl
import pytest
from pypdf import PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from tool_plugins.document import package
from tool_plugins.document.convert import Converted, convert
from tool_plugins.errors import ErrorCode, ToolError

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="word/document.xml" Type="http://schemas.openxmlformats.org/'
    'officeDocument/2006/relationships/officeDocument"/></Relationships>'
)
CORE = (
    '<p:coreProperties xmlns:p="http://schemas.openxmlformats.org/package/2006/metadata/'
    'core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A report</dc:title>'
    "</p:coreProperties>"
)


def pdf(*texts: str, title: str = "", password: str = "") -> bytes:
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    for text in texts:
        page = writer.add_blank_page(300, 300)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode() if text else b"")
        page[NameObject("/Contents")] = stream
    if title:
        writer.add_metadata({"/Title": title})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def docx(body: str, **parts: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        archive.writestr("_rels/.rels", RELATIONS)
        archive.writestr("docProps/core.xml", CORE)
        archive.writestr(
            "word/document.xml", f"<w:document {WORD}><w:body>{body}</w:body></w:document>"
        )
        for name, text in parts.items():
            archive.writestr(name, text)
    return file.getvalue()


def paragraph(text: str, style: str = "") -> str:
    chosen = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{chosen}<w:r><w:t>{text}</w:t></w:r></w:p>"


def workbook(**sheets: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    book.properties.title = "Figures"
    del book["Sheet"]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def converted(data: bytes, pages: str | None = None, **given: str) -> Converted:
    return convert(io.BytesIO(data), pages=pages, **given)


def refused(data: bytes, pages: str | None = None, **given: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        converted(data, pages, **given)
    return caught.value


def outcome(data: bytes) -> ToolError | None:
    """The error, where there is one: a torn file may still be readable."""
    try:
        converted(data)
    except ToolError as exc:
        return exc
    return None


def test_a_pdf_is_its_pages_in_order() -> None:
    result = converted(pdf("First words", "Second words", title="A  title"))

    assert (result.format, result.title, result.pages) == ("pdf", "A title", 2)
    assert result.content == "## Page 1\n\nFirst words\n\n## Page 2\n\nSecond words"


def test_pages_are_chosen_by_number() -> None:
    result = converted(pdf("one", "two", "three"), "2-9")

    assert result.content == "## Page 2\n\ntwo\n\n## Page 3\n\nthree"
    assert result.pages == 3


@pytest.mark.parametrize("pages", ["4", "4-5", "3-2"])
def test_a_page_that_is_not_there_is_told_with_their_number(pages: str) -> None:
    error = refused(pdf("one", "two", "three"), pages)

    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.details == {"pages": 3}


def test_a_scanned_pdf_says_that_it_has_no_text() -> None:
    error = refused(pdf("", ""))

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert "no text layer" in error.message


def test_an_encrypted_pdf_is_told() -> None:
    assert "encrypted" in refused(pdf("secret", password="x")).message


@pytest.mark.parametrize("length", [20, 200, 400])
def test_a_torn_pdf_never_breaks_the_worker(length: int) -> None:
    error = outcome(pdf("First words")[:length])

    assert error is None or error.code is ErrorCode.UNSUPPORTED_CONTENT


def test_a_docx_keeps_headings_tables_and_its_title() -> None:
    row = "<w:tr>{}</w:tr>"
    cell = "<w:tc>{}</w:tc>"
    table = "".join(
        row.format("".join(cell.format(paragraph(text)) for text in texts))
        for texts in (("Name", "Age"), ("Ada", "36"))
    )
    body = paragraph("Results", "Heading1") + paragraph("All went well.")
    result = converted(docx(f"{body}<w:tbl>{table}</w:tbl>"))

    assert (result.format, result.title, result.pages) == ("docx", "A report", None)
    assert "All went well." in result.content
    assert "| Ada | 36 |" in result.content


def test_pages_of_a_docx_cannot_be_chosen() -> None:
    assert refused(docx(paragraph("x")), "1").code is ErrorCode.INVALID_ARGUMENT


def test_entities_of_a_docx_are_refused_unread() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]><x>&a;</x>'

    assert "entities" in refused(docx(paragraph("x"), **{"word/styles.xml": bomb})).message


def test_a_bomb_is_counted_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "MAX_MEMBER_BYTES", 1_000_000)
    large = {"word/large.xml": "<x>" + " " * 2_000_000 + "</x>"}

    assert refused(docx(paragraph("x"), **large)).code is ErrorCode.TOO_LARGE
    assert converted(docx(paragraph("x"), **{"word/small.xml": "<x/>"})).content == "x"


def test_sheets_are_tables_with_values_in_one_form() -> None:
    rows = [["Day", "Share", "Note"], [date(2026, 1, 31), 12.0, "a|b\nc"], [], [None, True, None]]
    result = converted(workbook(Sales=rows, Empty=[]))

    assert (result.format, result.title, result.pages) == ("xlsx", "Figures", 2)
    assert result.content == (
        "## Sales\n\n| Day | Share | Note |\n| --- | --- | --- |\n"
        "| 2026-01-31 | 12 | a\\|b<br>c |\n|  |  |  |\n|  | TRUE |  |\n\n"
        "## Empty\n\n(empty)"
    )


def test_a_sheet_that_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tool_plugins.document.xlsx.MAX_CELLS", 10)
    result = converted(workbook(Long=[[number] for number in range(50)]))

    assert "| 9 |" in result.content
    assert "| 10 |" not in result.content
    assert result.content.endswith("(The rest of this sheet does not fit.)")


def test_what_nobody_sees_is_taken_out() -> None:
    hidden = workbook(Sheet1=[["be\u200bfore", "\U000e0041after"]])

    assert "| before | after |" in converted(hidden).content


def test_a_page_is_read_whole() -> None:
    result = converted(b"<html><title>T</title><nav>menu</nav><p>text</html>")

    assert (result.format, result.title) == ("html", "T")
    assert "menu" in result.content
    assert "text" in result.content


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "neither"),
        (b"plain text", "neither"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100, "old format"),
        (b"PK\x03\x04" + b"\0" * 100, "broken"),
        (b"\x89PNG\r\n\x1a\n", "neither"),
    ],
    ids=["empty", "text", "doc", "torn zip", "picture"],
)
def test_what_is_no_document_is_told(data: bytes, words: str) -> None:
    error = refused(data)

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert words in error.message


def test_other_packages_are_named() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("ppt/presentation.xml", "<x/>")

    assert "PowerPoint" in refused(file.getvalue()).message


@pytest.mark.parametrize("length", range(100, 3000, 450))
def test_a_torn_workbook_or_document_is_told(length: int) -> None:
    for data in (workbook(One=[[1]]), docx(paragraph("x"))):
        error = outcome(data[:length] + data[length + 20 :])

        assert error is None or error.code is ErrorCode.UNSUPPORTED_CONTENT
