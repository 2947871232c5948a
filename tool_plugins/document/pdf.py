"""PDF to Markdown, by pypdf. Its door."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from tool_plugins.errors import ToolError
from tool_plugins.invisible import one_line, visible

from .convert import MAX_CONTENT_CHARS, Converted, damaged, selected, unsupported, with_note

MAX_PAGES = 500
MAX_STREAM_BYTES = 30 * 1024 * 1024
_LIMITS: dict[str, Any] = {
    "maximum_declared_stream_length": 4 * MAX_STREAM_BYTES,
    "array_based_stream_maximum_output_length": MAX_STREAM_BYTES,
    "lzw_maximum_output_length": MAX_STREAM_BYTES,
    "run_length_maximum_output_length": MAX_STREAM_BYTES,
    "zlib_maximum_output_length": MAX_STREAM_BYTES,
    "stream_decoding_work_maximum_length": 4 * MAX_STREAM_BYTES,
    "stream_parsing_work_maximum_count": 1_000_000,
    "jbig2dec_binary": None,
    "disable_legacy_handling": True,
}

# It writes what is odd about a file to the log.
logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def convert_pdf(file: BinaryIO, pages: str | None) -> Converted:
    """Every page, or those of `pages`, under a heading of its own.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is damaged or needs a password; INVALID_ARGUMENT.
    """
    from pypdf import apply_configuration

    with apply_configuration(**_LIMITS), _reading():
        reader = _opened(file)
        count = len(reader.pages)
        title = _title(reader)
        chosen = selected(pages, count, "page")
        content, note = _content(reader.pages, chosen)
    return Converted("pdf", title, count, with_note(content, note))


@contextmanager
def _reading() -> Iterator[None]:
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        yield
    except (ToolError, MemoryError):
        raise
    except (DependencyError, FileNotDecryptedError):
        raise _encrypted() from None
    except Exception as exc:
        # What pypdf raises over a broken file is not only its own errors.
        raise damaged("PDF", _why(exc)) from None


def _opened(file: BinaryIO) -> Any:
    from pypdf import PdfReader

    reader = PdfReader(file, strict=False)
    # Many files are encrypted only to forbid printing; anyone may read those.
    if reader.is_encrypted and not reader.decrypt(""):
        raise _encrypted()
    return reader


def _encrypted() -> ToolError:
    return unsupported(
        "the PDF file is encrypted and needs a password",
        "remove the password first, for instance with qpdf --decrypt --password=…",
    )


def _title(reader: Any) -> str:
    try:
        return one_line(str(reader.metadata.title or ""), 300) if reader.metadata else ""
    except MemoryError:
        raise
    except Exception:
        return ""  # a document without a title is still one


def _content(pages: Any, chosen: Iterable[int]) -> tuple[str, str]:
    """The pages, and what has to be said about those that are not here."""
    numbers = list(chosen)
    blocks: list[str] = []
    size = done = 0
    text_found = False
    for number in numbers[:MAX_PAGES]:
        text, readable = _text(pages, number)
        text_found = text_found or readable
        blocks.append(f"## Page {number}\n\n{text}")
        size += len(text)
        done += 1
        if size > MAX_CONTENT_CHARS:
            break
    if not text_found and blocks:
        raise unsupported(
            "the pages have no text layer: they are probably scanned images",
            "make one by OCR, for instance with ocrmypdf, or look at the pages as images",
        )
    note = ""
    if done < len(numbers):
        rest = f"{numbers[done]}-{numbers[-1]}"
        note = f"Pages {rest} are left out here: read them with pages='{rest}'."
    return "\n\n".join(blocks), note


def _text(pages: Any, number: int) -> tuple[str, bool]:
    """The text of a page, and whether it has any that can be read."""
    try:
        text = visible(pages[number - 1].extract_text() or "")
    except MemoryError:
        raise
    except Exception as exc:
        return f"(This page is damaged: {_why(exc)})", True
    lines = "\n".join(line.rstrip() for line in text.splitlines()).strip()
    return (lines, True) if lines else ("(No text on this page.)", False)


def _why(exc: Exception) -> str:
    return one_line(str(exc), 200) or type(exc).__name__
