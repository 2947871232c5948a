"""DOCX to Markdown, by mammoth and then as a page. Its door."""

import io
import zipfile
from typing import Any, BinaryIO

from tool_plugins.errors import ToolError

from .convert import MAX_CONTENT_CHARS, Converted, damaged, with_note
from .package import checked, title_of

MAX_XML_BYTES = 10 * 1024 * 1024
"""What mammoth makes of XML in memory is about twenty times its size."""

_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_READ = (
    *("[Content_Types].xml", "_rels/", "docProps/core.xml", "word/_rels/", "word/document"),
    *("word/styles", "word/numbering", "word/footnotes", "word/endnotes", "word/comments"),
)
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
    """The XML of the document in an archive of its own, harmless and without hidden text."""
    parts: dict[str, bytearray] = {}
    for name, piece in checked(file, "DOCX", MAX_XML_BYTES):
        if name.startswith(_READ):
            parts.setdefault(name, bytearray()).extend(piece)
    hiding = _hiding_styles(bytes(parts.get("word/styles.xml", b"")))
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name in list(parts):
            archive.writestr(name, _without_hidden(bytes(parts.pop(name)), hiding))
    copy.seek(0)
    return copy


def _parsed(part: bytes) -> Any:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - it has no types

    try:
        return etree.fromstring(part, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as exc:
        raise damaged("DOCX", str(exc)) from None


def _written(root: Any) -> bytes:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - it has no types

    return etree.tostring(root)


def _is_on(mark: Any, word: str) -> bool:
    return mark.get(f"{{{word}}}val", "1") not in ("0", "false", "off")


def _hiding_styles(styles: bytes) -> set[str]:
    """Ids of the styles whose text Word does not show."""
    if b"vanish" not in styles:
        return set()
    return {
        style.get(f"{{{word}}}styleId", "")
        for word in _WORD
        for style in _parsed(styles).iter(f"{{{word}}}style")
        if any(_is_on(mark, word) for mark in style.iter(f"{{{word}}}vanish"))
    }


def _without_hidden(part: bytes, hiding: set[str]) -> bytes:
    """A part without the text that Word does not show."""
    if b"vanish" not in part and not hiding:
        return part
    root = _parsed(part)
    for word in _WORD:
        of = f"{{{word}}}".__add__
        for run in list(root.iter(of("r"))):
            marks = [*run.iterfind(f"{of('rPr')}/{of('vanish')}")]
            style = run.find(f"{of('rPr')}/{of('rStyle')}")
            styled = style is not None and style.get(of("val")) in hiding
            shown = any(not _is_on(mark, word) for mark in marks)
            if (marks or styled) and not shown:
                run.getparent().remove(run)
        for style in list(root.iter(of("pStyle"))):
            paragraph = style.getparent().getparent()
            if style.get(of("val")) in hiding and paragraph.tag == of("p"):
                paragraph.getparent().remove(paragraph)
    return _written(root)


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
