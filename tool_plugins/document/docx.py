"""DOCX to Markdown, by mammoth and then as a page. Its door."""

import io
import zipfile
from typing import Any, BinaryIO

from tool_plugins.errors import ToolError

from .convert import MAX_CONTENT_CHARS, Converted, damaged, with_note
from .package import checked, title_of

MAX_XML_BYTES = 12 * 1024 * 1024
"""What mammoth makes of XML in memory is about twenty times its size."""

_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_READ = ("word/", "_rels/", "[Content_Types].xml", "docProps/core.xml")
_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => h2:fresh
"""


def convert_docx(file: BinaryIO) -> Converted:
    """All of it: headings, lists, tables, links and notes; no pictures, no hidden text.

    Raises:
        ToolError: UNSUPPORTED_CONTENT, it is damaged; TOO_LARGE.
    """
    from tool_plugins.web.clean import parse
    from tool_plugins.web.markdown import to_markdown

    harmless = _copied(file)
    tree = parse(_html(harmless), "")
    content, cut = to_markdown(tree.root, MAX_CONTENT_CHARS) if tree else ("", False)
    note = f"Only the first {MAX_CONTENT_CHARS} characters are here." if cut else ""
    if not content:
        note = "The document has no text."
    return Converted("docx", title_of(harmless), None, with_note(content, note))


def _copied(file: BinaryIO) -> BinaryIO:
    """The XML of the document in an archive of its own, once it was found to be harmless."""
    parts: dict[str, bytearray] = {}
    sizes = {}
    for name, piece in checked(file, "DOCX", MAX_XML_BYTES):
        if name.startswith(_READ) and not name.startswith(("word/media/", "word/theme/")):
            part = parts.setdefault(name, bytearray())
            # Pieces overlap.
            part += piece[sizes.get(name, 0) :]
            sizes[name] = min(len(piece), 128)
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, _without_hidden(bytes(part)))
    copy.seek(0)
    return copy


def _without_hidden(part: bytes) -> bytes:
    """A part without the text that Word does not show."""
    if b"anish" not in part:
        return part
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - it has no types

    try:
        root = etree.fromstring(part, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as exc:
        raise damaged("DOCX", str(exc)) from None
    for word in _WORD:
        for mark in list(root.iter(f"{{{word}}}vanish", f"{{{word}}}specVanish")):
            run = mark.getparent() and mark.getparent().getparent()
            shown = mark.get(f"{{{word}}}val") in ("0", "false", "off", "none")
            if run is not None and run.tag == f"{{{word}}}r" and not shown:
                run.getparent().remove(run)
    return etree.tostring(root)


def _html(file: BinaryIO) -> str:
    import mammoth

    try:
        made: Any = mammoth.convert_to_html(
            file,
            style_map=_STYLES,
            convert_image=lambda _: [],
            include_embedded_style_map=False,
            external_file_access=False,
        )
    except (ToolError, MemoryError):
        raise
    except RecursionError:
        raise damaged("DOCX", "its parts are nested too deeply") from None
    except Exception as exc:
        # mammoth raises whatever its way through a broken file ends with.
        raise damaged("DOCX", str(exc) or type(exc).__name__) from None
    return f"<html><body>{made.value}</body></html>"
