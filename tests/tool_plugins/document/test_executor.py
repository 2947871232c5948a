"""Reading documents of the workspace, in pieces, and files that are none."""

import asyncio
import os
from pathlib import Path

import openpyxl
import pytest

from tool_plugins.document.executor import MAX_FILE_BYTES, DocumentWorkers
from tool_plugins.errors import ErrorCode, ToolError

from .conftest import Tools

PARAGRAPHS = [f"Paragraph {number} says something of its own: ä€😀." for number in range(400)]


def write_page(path: Path, paragraphs: list[str], title: str = "A title") -> None:
    body = "".join(f"<p>{text}</p>\n" for text in paragraphs)
    page = f"<!doctype html><html><head><meta charset=utf-8><title>{title}</title></head>"
    path.write_text(f"{page}<body><main><h1>Heading</h1>{body}</main></body></html>")


async def test_a_document_is_read_as_markdown(documents: Tools):
    write_page(documents.workspace / "page.html", PARAGRAPHS[:3])

    result = await documents.read("./page.html")

    assert (result.path, result.format, result.title) == ("page.html", "html", "A title")
    assert "# Heading" in result.content
    assert all(text in result.content for text in PARAGRAPHS[:3])
    assert "<p>" not in result.content
    assert result.total_chars == len(result.content)
    assert (result.offset, result.next_offset, result.truncated) == (0, None, False)


async def test_the_pieces_of_a_document_are_the_whole(documents: Tools):
    write_page(documents.workspace / "page.html", PARAGRAPHS)
    whole = await documents.read("page.html", max_chars=100_000)
    pieces, offset = [], 0
    while offset is not None:
        piece = await documents.read("page.html", offset=offset, max_chars=1999)
        assert (piece.offset, piece.total_chars) == (offset, whole.total_chars)
        assert piece.truncated == (piece.next_offset is not None)
        assert len(piece.content) == 1999 or not piece.truncated
        pieces.append(piece.content)
        offset = piece.next_offset

    assert len(pieces) > 5
    assert "".join(pieces) == whole.content


async def test_an_offset_beyond_the_end_is_refused_with_the_end(documents: Tools):
    write_page(documents.workspace / "page.html", PARAGRAPHS[:3])
    total = (await documents.read("page.html")).total_chars

    at_the_end = await documents.read("page.html", offset=total)
    error = await documents.refused("page.html", offset=total + 1)

    assert (at_the_end.content, at_the_end.next_offset) == ("", None)
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.details == {"total_chars": total}


async def test_pages_name_the_sheets_of_a_workbook(documents: Tools):
    book = openpyxl.Workbook()
    for name in ("One", "Two", "Three"):
        book.create_sheet(name).append([f"cell of {name}"])
    del book["Sheet"]
    book.save(documents.workspace / "book.xlsx")

    every = await documents.read("book.xlsx")
    second = await documents.read("book.xlsx", pages="2")

    assert (every.format, every.pages, second.pages) == ("xlsx", 3, 3)
    assert all(f"cell of {name}" in every.content for name in ("One", "Two", "Three"))
    assert "cell of Two" in second.content
    assert "cell of One" not in second.content


async def test_the_next_piece_is_not_converted_again(documents: Tools):
    path = documents.workspace / "page.html"
    write_page(path, PARAGRAPHS)
    workers = documents.host.service(DocumentWorkers)
    read = []
    for offset in (0, 500):
        fd = os.open(path, os.O_RDONLY)
        try:
            args = {"name": "page.html", "pages": None, "offset": offset, "max_chars": 500}
            await workers.call("read", args, timeout_s=30, descriptors=[fd])
            # The worker's descriptor moves with ours.
            read.append(os.lseek(fd, 0, os.SEEK_CUR) > 0)
        finally:
            os.close(fd)

    assert read == [True, False]


async def test_a_document_that_changed_is_read_anew(documents: Tools):
    write_page(documents.workspace / "page.html", ["What it said at first."])
    await documents.read("page.html")
    write_page(documents.workspace / "page.html", ["What it says by now.."])

    assert "by now.." in (await documents.read("page.html")).content


async def test_documents_are_read_one_after_the_other(documents: Tools):
    for number in range(5):
        write_page(documents.workspace / f"{number}.html", [f"This is document {number}."])

    results = await asyncio.gather(*(documents.read(f"{number}.html") for number in range(5)))

    for number, result in enumerate(results):
        assert f"This is document {number}." in result.content


async def test_a_link_that_stays_inside_is_followed(documents: Tools):
    (documents.workspace / "folder").mkdir()
    write_page(documents.workspace / "folder" / "page.html", ["The text of the page."])
    (documents.workspace / "link.html").symlink_to("folder/page.html")

    result = await documents.read("link.html")

    assert result.path == "link.html"
    assert "The text of the page." in result.content


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("missing.pdf", ErrorCode.NOT_FOUND),
        ("folder", ErrorCode.IS_DIRECTORY),
        ("folder/", ErrorCode.IS_DIRECTORY),
        ("fifo", ErrorCode.NOT_REGULAR_FILE),
        ("../outside.html", ErrorCode.PATH_OUTSIDE_ROOT),
        ("/etc/passwd", ErrorCode.PATH_OUTSIDE_ROOT),
        ("link", ErrorCode.PATH_OUTSIDE_ROOT),
        ("loop", ErrorCode.PATH_OUTSIDE_ROOT),
        ("page.html/", ErrorCode.NOT_DIRECTORY),
        ("a\0b", ErrorCode.INVALID_ARGUMENT),
        ("x" * 300, ErrorCode.INVALID_ARGUMENT),
        ("large.pdf", ErrorCode.TOO_LARGE),
    ],
)
async def test_a_path_that_leads_to_no_document_is_refused(
    documents: Tools, path: str, code: ErrorCode
):
    workspace = documents.workspace
    write_page(workspace.parent / "outside.html", ["secret"])
    write_page(workspace / "page.html", ["text"])
    (workspace / "folder").mkdir()
    os.mkfifo(workspace / "fifo")
    (workspace / "link").symlink_to("../outside.html")
    (workspace / "loop").symlink_to("loop")
    (workspace / "large.pdf").touch()
    os.truncate(workspace / "large.pdf", MAX_FILE_BYTES + 1)

    error = await documents.refused(path)

    assert error.code is code
    assert not documents.host.service(DocumentWorkers).running


@pytest.mark.parametrize("size", [0, 1, 1000, 5_000_000])
async def test_a_file_that_is_no_document_is_told(documents: Tools, size: int):
    (documents.workspace / "file.bin").write_bytes(b"\0\x01\xff" * (size // 3) + b"\0" * (size % 3))

    error = await documents.refused("file.bin")

    assert error.code is ErrorCode.UNSUPPORTED_CONTENT
    write_page(documents.workspace / "page.html", PARAGRAPHS[:3])
    assert (await documents.read("page.html")).format == "html"


async def test_time_that_runs_out_is_told_and_the_next_document_read(documents: Tools):
    write_page(documents.workspace / "page.html", PARAGRAPHS)

    error = await documents.refused("page.html", timeout_s=0.01)

    assert error.code is ErrorCode.TIMEOUT
    assert not documents.host.service(DocumentWorkers).running
    assert (await documents.read("page.html")).format == "html"


async def test_a_reading_that_is_given_up_leaves_nothing(documents: Tools):
    write_page(documents.workspace / "page.html", PARAGRAPHS)
    for steps in (0, 1, 2, 5, 20):
        task = asyncio.create_task(documents.read("page.html"))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError | ToolError) or outcome.format == "html"

    assert (await documents.read("page.html")).format == "html"
