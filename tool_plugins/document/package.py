"""Looks into Office files, which are ZIP archives of XML, before a library does.

Nothing is unpacked that is larger than it may be, and no part may declare entities.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Literal

from tool_plugins.errors import ErrorCode, ToolError

from .convert import CONVERT_HINT, damaged, unsupported

MAX_PARTS = 10_000
PIECE_BYTES = 256 * 1024

_KINDS = {
    "xl/workbook.bin": "a binary Excel file (.xlsb)",
    "ppt/presentation.xml": "a PowerPoint file (.pptx)",
    "Index/Document.iwa": "a file of Apple iWork",
}
# Some programs number the main part.
_MAIN = re.compile(r"(word/document\d*\.xml)|xl/workbook\d*\.xml")
_XML = (".xml", ".rels", ".vml")
_DECLARATIONS = re.compile(
    b"<!(?:DOCTYPE|ENTITY)|"
    + b"|".join(re.escape("<!DOCTYPE".encode(f"utf-16-{e}")) for e in ("le", "be")),
    re.IGNORECASE,
)
_OVERLAP_BYTES = 32


def find_package(file: BinaryIO) -> Literal["docx", "xlsx"]:
    """Which of both an archive is, by what it holds.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, neither.
    """
    with opened(file, "ZIP") as archive:
        names = set(archive.namelist())
        for name in names:
            if found := _MAIN.fullmatch(name):
                return "docx" if found[1] else "xlsx"
        kind = next((what for name, what in _KINDS.items() if name in names), "")
        if not kind and "mimetype" in names:
            kind = _by_mimetype(archive)
    if kind:
        raise unsupported(f"this is {kind}", CONVERT_HINT)
    raise unsupported("this is a ZIP archive", "unpack it with the terminal")


def _by_mimetype(archive: zipfile.ZipFile) -> str:
    with archive.open("mimetype") as part:
        kind = part.read(100)
    if b"opendocument" in kind:
        return "an OpenDocument file (.odt, .ods, .odp)"
    return "an e-book (.epub)" if b"epub" in kind else ""


@contextmanager
def opened(file: BinaryIO, what: str) -> Iterator[zipfile.ZipFile]:
    """The archive in `file`.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is damaged; TOO_LARGE, it has too many parts.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            if len(archive.infolist()) > MAX_PARTS:
                raise too_large(what, f"has more than {MAX_PARTS} parts")
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, ValueError) as exc:
        raise damaged(what, str(exc)) from None


def checked(file: BinaryIO, what: str, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Every XML part in pieces, each with the part's name, while it is found to be harmless.

    Raises:
        ToolError: TOO_LARGE, the parts are more than `max_bytes` unpacked, by what they say or by
            what they are; UNSUPPORTED_CONTENT, one is encrypted, damaged or declares entities.
    """
    too_much = f"holds more than {max_bytes} bytes of XML"
    with opened(file, what) as archive:
        parts = [part for part in archive.infolist() if part.filename.lower().endswith(_XML)]
        if sum(part.file_size for part in parts) > max_bytes:
            raise too_large(what, too_much)
        total = 0
        for part in parts:
            if part.flag_bits & 1:
                raise unsupported(f"the {what} file is encrypted", "save it without a password")
            if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise damaged(what, "it is compressed in a way such files never are")
            for piece in _pieces(archive, part, what):
                total += len(piece)
                if total > max_bytes:
                    raise too_large(what, too_much)
                yield part.filename, piece


def _pieces(archive: zipfile.ZipFile, part: zipfile.ZipInfo, what: str) -> Iterator[bytes]:
    before = b""
    try:
        with archive.open(part) as stream:
            while piece := stream.read(PIECE_BYTES):
                if _DECLARATIONS.search(before + piece):
                    raise unsupported(
                        f"the {what} file declares entities, which such files never do",
                        "save it anew from its program",
                    )
                yield piece
                before = piece[-_OVERLAP_BYTES:]
    except (zlib.error, RuntimeError) as exc:
        raise damaged(what, str(exc)) from None


def too_large(what: str, why: str) -> ToolError:
    """A TOO_LARGE error about a file."""
    return ToolError(
        ErrorCode.TOO_LARGE,
        f"the {what} file {why}",
        hint="take a part of it, for instance with a program of your own",
    )


def title_of(file: BinaryIO) -> str:
    """The title in the properties of a file that was checked."""
    from xml.etree import ElementTree

    from tool_plugins.invisible import one_line

    try:
        with zipfile.ZipFile(file) as archive:
            core = ElementTree.parse(io.BytesIO(archive.read("docProps/core.xml")))  # noqa: S314
    except (KeyError, ElementTree.ParseError, zipfile.BadZipFile):
        return ""
    return one_line(core.findtext("{http://purl.org/dc/elements/1.1/}title") or "", 300)
