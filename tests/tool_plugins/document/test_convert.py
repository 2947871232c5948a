"""Real documents become Markdown; what is broken, hostile or something else is told."""

import io
import zipfile
from datetime import date, datetime, time
from typing import Any

import openpyxl
import pytest
from pypdf import PdfReader, PdfWriter

from tests.tool_plugins.document.files import (
    docx,
    item,
    package,
    paragraph,
    pdf,
    pdf_of,
    run,
    styled,
    table,
)
from tool_plugins.document import convert as converting
from tool_plugins.document.convert import Converted, convert
from tool_plugins.document.results import Format
from tool_plugins.errors import ErrorCode, ToolError


def workbook(**sheets: list[list[Any]]) -> io.BytesIO:
    book = openpyxl.Workbook()
    book.properties.title = "Figures"
    del book["Sheet"]
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    return saved(book)


def saved(book: openpyxl.Workbook) -> io.BytesIO:
    file = io.BytesIO()
    book.save(file)
    return file


def encrypted(file: io.BytesIO, password: str, algorithm: str) -> io.BytesIO:
    writer = PdfWriter(clone_from=PdfReader(file))
    writer.encrypt(user_password=password, owner_password="owner", algorithm=algorithm)
    made = io.BytesIO()
    writer.write(made)
    return made


def converted(file: io.BytesIO | bytes, pages: str | None = None, **given: str) -> Converted:
    return convert(io.BytesIO(file) if isinstance(file, bytes) else file, pages=pages, **given)


def refused(file: io.BytesIO | bytes, pages: str | None = None, **given: str) -> ToolError:
    with pytest.raises(ToolError) as caught:
        converted(file, pages, **given)
    return caught.value


def outcome(data: bytes) -> ToolError | None:
    """The error, where there is one: a torn file may still be readable."""
    try:
        converted(data)
    except ToolError as exc:
        return exc
    return None


def test_the_formats_are_those_of_the_result() -> None:
    assert converting.Format == Format


def test_a_pdf_is_its_pages_in_order() -> None:
    result = converted(pdf("First words", "Second words", title="A  title"))

    assert result == Converted(
        "pdf", "A title", 2, "## Page 1\n\nFirst words\n\n## Page 2\n\nSecond words"
    )


@pytest.mark.parametrize("pages", ["2-3", "2-9"])
def test_pages_are_chosen_by_number(pages: str) -> None:
    result = converted(pdf("one", "two", "three"), pages)

    assert result.content == "## Page 2\n\ntwo\n\n## Page 3\n\nthree"
    assert result.pages == 3


@pytest.mark.parametrize("pages", ["4", "4-5", "999999", "3-2", "0", "x", "-1"])
def test_a_page_that_is_not_there_is_told_with_their_number(pages: str) -> None:
    error = refused(pdf("one", "two", "three"), pages)

    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.details == {"pages": 3}
    assert "1-3" in error.hint


def test_a_page_without_text_says_so() -> None:
    result = converted(pdf("one", ""))

    assert result.content == "## Page 1\n\none\n\n## Page 2\n\n(No text on this page.)"


def test_a_scanned_pdf_says_that_it_has_no_text_layer() -> None:
    error = refused(pdf("", ""))

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert "no text layer" in error.message
    assert "OCR" in error.hint


def test_a_damaged_page_does_not_take_the_others_with_it() -> None:
    broken = {8: "<</Length 9/Filter/NoSuchFilter>>stream\nnonsense\nendstream"}
    result = converted(pdf("one", "two", more=broken))

    assert result.content.startswith("## Page 1\n\none\n\n## Page 2\n\n(This page is damaged: ")


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_an_encrypted_pdf_is_told_unless_anyone_may_read_it(algorithm: str) -> None:
    error = refused(encrypted(pdf("secret"), "password", algorithm))

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert "password" in error.message
    anyone = converted(encrypted(pdf("public"), "", algorithm))
    assert anyone.content == "## Page 1\n\npublic"


def test_a_pdf_with_a_wrong_table_of_objects_is_still_read() -> None:
    data = pdf("words").getvalue()
    start = data.index(b"startxref\n") + 10

    assert converted(data[:start] + b"99999\n%%EOF").content == "## Page 1\n\nwords"


@pytest.mark.parametrize(
    "objects",
    [
        {1: "<</Type/Catalog/Pages 2 0 R>>", 2: "<</Type/Pages/Count 1/Kids[2 0 R]>>"},
        {
            1: "<</Type/Catalog/Pages 2 0 R>>",
            2: "<</Type/Pages/Count 9/Kids[3 0 R]>>",
            3: "<</Type/Pages/Count 9/Kids[2 0 R]>>",
        },
        {1: "1 0 R"},
        {1: "<</Type/Catalog/Pages 2 0 R>>", 2: "3 0 R", 3: "2 0 R"},
        {1: "<</Type/Catalog/Pages " + "[" * 5000},
        {1: "<</Type/Catalog>>"},
        {
            1: "<</Type/Catalog/Pages 2 0 R>>",
            2: f"<</Type/Pages/Count 99999999/Kids[{'3 0 R ' * 99_999}]>>",
            3: f"<</Type/Pages/Count 99999999/Kids[{'4 0 R ' * 99_999}]>>",
            4: "<</Type/Page/MediaBox[0 0 9 9]>>",
        },
    ],
    ids=["own child", "circle", "own object", "references", "nested", "none", "many pages"],
)
def test_a_pdf_that_leads_nowhere_ends_with_an_error(objects: dict[int, str]) -> None:
    assert refused(pdf_of(objects)).code is ErrorCode.UNSUPPORTED_CONTENT


def test_more_pages_than_are_read_at_once_are_named() -> None:
    result = converted(pdf(*["x"] * 510))

    assert result.pages == 510
    assert "## Page 500\n" in result.content
    assert "## Page 501\n" not in result.content
    assert result.content.endswith(
        "(Pages 501-510 are left out here: read them with pages='501-510'.)"
    )
    assert converted(pdf(*["x"] * 510), "501-510").content.startswith("## Page 501\n\nx")


@pytest.mark.parametrize("length", [20, 200, 400])
def test_a_torn_pdf_never_breaks_the_worker(length: int) -> None:
    error = outcome(pdf("First words").getvalue()[:length])

    assert error is None or error.code is ErrorCode.UNSUPPORTED_CONTENT


def test_a_docx_keeps_headings_lists_tables_links_and_its_title() -> None:
    link = '<w:hyperlink r:id="l1">' + run("a link") + "</w:hyperlink>"
    script = '<w:hyperlink r:id="l2">' + run("a script") + "</w:hyperlink>"
    result = converted(
        docx(
            styled("Heading1", "Results"),
            paragraph(run("All went "), run("very", "<w:b/>"), run(" well: "), link, script),
            styled("Heading2", "Steps"),
            item("one"),
            item("first", 1),
            item("second", 1),
            item("two"),
            table(["Name", "Age|years"], ["Ada", "36"]),
            title="A <report>",
        )
    )

    assert (result.format, result.title, result.pages) == ("docx", "A <report>", None)
    assert result.content == (
        "# Results\n\n"
        "All went **very** well: [a link](https://site.test/a)a script\n\n"
        "## Steps\n\n"
        "- one\n  1. first\n  2. second\n- two\n\n"
        "|  |  |\n| --- | --- |\n| Name | Age\\|years |\n| Ada | 36 |"
    )


def test_hidden_text_of_a_docx_is_left_out() -> None:
    shown = run(" shown", '<w:vanish w:val="0"/>')
    hidden = [run("HIDDEN", "<w:vanish/>"), run("HIDDEN", '<w:rStyle w:val="Ghost"/>')]

    assert converted(docx(paragraph(run("text"), *hidden, shown))).content == "text shown"


def test_a_docx_without_text_says_so() -> None:
    assert converted(docx()).content == "(The document has no text.)"


def test_pages_of_a_docx_cannot_be_chosen() -> None:
    assert refused(docx(paragraph(run("x"))), "1").code is ErrorCode.INVALID_ARGUMENT


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY f SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_unread(encoding: str) -> None:
    bomb = f"{ENTITIES}<x>&a;&f;</x>".encode(encoding)
    for part in ("word/styles.xml", "word/document.xml"):
        assert "entities" in refused(docx(paragraph(run("x")), parts={part: bomb})).message
    sheet = package({"xl/workbook.xml": bomb})
    assert "entities" in refused(sheet).message


def test_what_is_larger_than_it_may_be_is_not_unpacked() -> None:
    large = {"word/large.xml": b"<x>" + b" " * 10 * 1024 * 1024 + b"</x>"}
    error = refused(docx(paragraph(run("x")), parts=large))

    assert error.code is ErrorCode.TOO_LARGE
    picture = {"word/media/large.png": b"\0" * 10 * 1024 * 1024}
    assert converted(docx(paragraph(run("x")), parts=picture)).content == "x"


def test_a_part_that_lies_about_its_size_is_not_unpacked() -> None:
    large = b"<x>" + b" " * 10 * 1024 * 1024 + b"</x>"
    data = docx(paragraph(run("x")), parts={"word/large.xml": large}).getvalue()
    size = len(large).to_bytes(4, "little")
    assert data.count(size) == 2

    error = refused(data.replace(size, (100).to_bytes(4, "little")))

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert "damaged" in error.message


def test_more_parts_than_any_document_has_are_refused() -> None:
    parts = {f"word/{number}.xml": "" for number in range(10_001)}

    assert refused(docx(parts=parts)).code is ErrorCode.TOO_LARGE


def test_elements_nested_beyond_reason_are_told() -> None:
    deep = "<w:sdt><w:sdtContent>" * 5000 + "</w:sdtContent></w:sdt>" * 5000

    assert "nested" in refused(docx(deep, parts={"word/styles.xml": "<x/>"})).message
    assert refused(docx(deep)).code is ErrorCode.UNSUPPORTED_CONTENT


def test_sheets_are_tables_with_values_in_one_form() -> None:
    result = converted(
        workbook(
            Sales=[
                ["Day", "Share", "Note", None],
                [date(2026, 1, 31), 0.1 + 0.2, "a|b\nc"],
                [],
                [datetime(2026, 1, 31, 8, 30), 12.0, True],
                [time(8, 30), None, "\\"],
                [None, None],
            ],
            Empty=[],
        )
    )

    assert (result.format, result.title, result.pages) == ("xlsx", "Figures", 2)
    assert result.content == (
        "## Sales\n\n| Day | Share | Note |\n| --- | --- | --- |\n"
        "| 2026-01-31 | 0.3 | a\\|b<br>c |\n|  |\n| 2026-01-31T08:30:00 | 12 | TRUE |\n"
        "| 08:30:00 |  | \\\\ |\n\n"
        "## Empty\n\n(This sheet is empty.)"
    )


def test_sheets_are_chosen_by_number_and_hidden_ones_are_marked() -> None:
    book = openpyxl.Workbook()
    book.create_sheet("Second").append(["x"])
    book["Second"].sheet_state = "hidden"

    result = converted(saved(book), "2")

    assert (result.pages, result.content) == (2, "## Second (hidden)\n\n| x |\n| --- |")
    assert "2 sheets" in refused(saved(book), "3").message


def test_formulas_without_a_result_are_not_passed_over_in_silence() -> None:
    result = converted(workbook(One=[[1, "=A1+1"]]))

    assert result.content.startswith("## One\n\n| 1 |\n| --- |\n\n(Some formulas have no stored")


def test_a_sheet_that_does_not_fit_says_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tool_plugins.document.xlsx.MAX_CELLS", 2000)
    rows = [[number] * 100 for number in range(30)]
    result = converted(workbook(Long=rows, Short=[["a"]]))

    assert "\n| 19 | 19 |" in result.content
    assert "\n| 20 | 20 |" not in result.content
    assert "(Left out, since no more than 2000 cells" in result.content
    assert "'Long' after row 20, all of 'Short'" in result.content
    assert converted(workbook(Long=rows, Short=[["a"]]), "2").content == (
        "## Short\n\n| a |\n| --- |"
    )


def sheet_of(xml: str) -> bytes:
    """A workbook whose only sheet is this XML."""
    made = io.BytesIO()
    with zipfile.ZipFile(workbook(One=[[1]])) as source, zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            part = source.read(name)
            target.writestr(name, xml if name.startswith("xl/worksheets/sheet") else part)
    return made.getvalue()


MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


@pytest.mark.parametrize(
    ("rows", "last"),
    [
        ('<row r="1"><c r="A1"><v>7</v></c></row>', "| 7 |\n| --- |"),
        ('<row r="9999999999"><c r="A1"><v>7</v></c></row>', "after row 0"),
        ('<row><c r="ZZZ1"/></row>' * 500, "after row 0"),
    ],
    ids=["small", "far down", "far right"],
)
def test_a_sheet_that_claims_to_be_endless_ends(rows: str, last: str) -> None:
    claimed = '<dimension ref="A1:XFD1048576"/>'
    xml = f"<worksheet {MAIN}>{claimed}<sheetData>{rows}</sheetData></worksheet>"

    content = converted(sheet_of(xml)).content
    assert last in content
    assert ("Left out" in content) == ("after row" in last)


def test_a_sheet_that_claims_to_be_small_is_read_whole() -> None:
    rows = '<row r="1"><c r="A1"><v>1</v></c></row><row r="2"><c r="B2"><v>2</v></c></row>'
    xml = f'<worksheet {MAIN}><dimension ref="A1"/><sheetData>{rows}</sheetData></worksheet>'

    assert converted(sheet_of(xml)).content == "## One\n\n| 1 |  |\n| --- | --- |\n|  | 2 |"


def test_what_nobody_sees_is_taken_out() -> None:
    hidden = workbook(Sheet1=[["be\u200bfore", "\U000e0041after"]])

    assert "| before | after |" in converted(hidden).content


def test_a_page_is_read_whole() -> None:
    result = converted(b"<html><title>T</title><nav>menu</nav><p>text</html>")

    assert result == Converted("html", "T", None, "menu\n\ntext")


@pytest.mark.parametrize("given", [{"name": "x.HTM"}, {"content_type": "text/html; charset=x"}])
def test_text_is_a_page_if_its_name_or_type_says_so(given: dict[str, str]) -> None:
    assert converted(b"just <b>text</b>", **given).content == "just **text**"
    assert converted(pdf("words"), **given).format == "pdf"


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 100


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"plain text", "plain text"),
        (OLE, "old Office file"),
        (OLE + "WordDocument".encode("utf-16-le"), ".doc"),
        (OLE + "Workbook".encode("utf-16-le"), ".xls"),
        (OLE + "PowerPoint Document".encode("utf-16-le"), ".ppt"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "password"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"{\\rtf1 text}", "RTF"),
        (bytes(range(256)), "no PDF"),
        (package({"ppt/presentation.xml": "<x/>"}).getvalue(), ".pptx"),
        (package({"xl/workbook.bin": "x"}).getvalue(), ".xlsb"),
        (package({"mimetype": "application/vnd.oasis.opendocument.text"}).getvalue(), ".odt"),
        (package({"mimetype": "application/epub+zip"}).getvalue(), ".epub"),
        (package({"a.txt": "x"}).getvalue(), "ZIP archive"),
    ],
)
def test_what_is_no_such_document_is_named(data: bytes, words: str) -> None:
    error = refused(data, name="report.pdf")

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    assert words in error.message


@pytest.mark.parametrize("length", range(100, 3000, 450))
def test_a_torn_workbook_or_document_is_told(length: int) -> None:
    for file in (workbook(One=[[1]]), docx(paragraph(run("x")))):
        data = file.getvalue()
        error = outcome(data[:length] + data[length + 20 :])

        assert error is None or error.code is ErrorCode.UNSUPPORTED_CONTENT
