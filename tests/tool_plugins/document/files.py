"""Makes documents for tests, as their programs write them, without those programs."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from html import escape

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_TYPES = f"""<?xml version="1.0"?><Types xmlns="{_PACKAGE}/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/></Types>"""
_ROOT = f"""<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="r1" Type="{RELATIONS}/officeDocument" Target="word/document.xml"/>
</Relationships>"""
_LINKS = f"""<?xml version="1.0"?><Relationships xmlns="{_PACKAGE}/relationships">
<Relationship Id="l1" Type="{RELATIONS}/hyperlink" Target="https://site.test/a"
TargetMode="External"/>
<Relationship Id="l2" Type="{RELATIONS}/hyperlink" Target="javascript:alert(1)"
TargetMode="External"/>
</Relationships>"""
_STYLES = f"""<?xml version="1.0"?><w:styles xmlns:w="{WORD}">
<w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>
<w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/></w:style>
<w:style w:type="character" w:styleId="Ghost"><w:name w:val="Ghost"/>
<w:rPr><w:vanish/></w:rPr></w:style></w:styles>"""
_NUMBERING = f"""<?xml version="1.0"?><w:numbering xmlns:w="{WORD}">
<w:abstractNum w:abstractNumId="0">
<w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/></w:lvl>
</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>"""
_CORE = f"""<?xml version="1.0"?><cp:coreProperties xmlns:cp="{_PACKAGE}/metadata/core-properties"
xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>%s</dc:title></cp:coreProperties>"""


def run(text: str, properties: str = "") -> str:
    """A run of text in WordprocessingML."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{escape(text)}</w:t></w:r>'


def paragraph(*runs: str, properties: str = "") -> str:
    """A paragraph of runs."""
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def styled(style: str, text: str) -> str:
    """A paragraph of a style, as headings are."""
    return paragraph(run(text), properties=f'<w:pStyle w:val="{style}"/>')


def item(text: str, level: int = 0) -> str:
    """A list item: of bullets, or numbers at level 1."""
    number = f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>'
    return paragraph(run(text), properties=number)


def table(*rows: Sequence[str]) -> str:
    """A table of text."""
    cells = ("".join(f"<w:tc>{paragraph(run(each))}</w:tc>" for each in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{each}</w:tr>' for each in cells)}</w:tbl>"


def docx(
    *body: str, title: str = "", parts: Mapping[str, str | bytes] | None = None, prolog: str = ""
) -> io.BytesIO:
    """A DOCX file; `parts` replace those it would have."""
    document = (
        f'<?xml version="1.0"?>{prolog}<w:document xmlns:w="{WORD}" xmlns:r="{RELATIONS}">'
        f"<w:body>{''.join(body)}</w:body></w:document>"
    )
    return package(
        {
            "[Content_Types].xml": _TYPES,
            "_rels/.rels": _ROOT,
            "word/document.xml": document,
            "word/_rels/document.xml.rels": _LINKS,
            "word/styles.xml": _STYLES,
            "word/numbering.xml": _NUMBERING,
            "docProps/core.xml": _CORE % escape(title),
            **(parts or {}),
        }
    )


def package(parts: Mapping[str, str | bytes]) -> io.BytesIO:
    """A ZIP archive of these parts."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    file.seek(0)
    return file


def pdf(*pages: str, title: str = "", more: Mapping[int, str] | None = None) -> io.BytesIO:
    """A PDF file of one line of text per page; `more` adds or replaces objects, by number.

    Object 1 is the catalogue, 2 the page tree, 3 the font, 4 the information; then for each page
    the page and its content.
    """
    numbers = [5 + 2 * index for index in range(len(pages))]
    objects = {
        1: "<</Type/Catalog/Pages 2 0 R>>",
        2: f"<</Type/Pages/Count {len(pages)}/Kids[{' '.join(f'{n} 0 R' for n in numbers)}]>>",
        3: "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        4: f"<</Title({title})>>",
    }
    for number, text in zip(numbers, pages, strict=True):
        shown = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET" if text else ""
        objects[number] = (
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]"
            f"/Resources<</Font<</F1 3 0 R>>>>/Contents {number + 1} 0 R>>"
        )
        objects[number + 1] = f"<</Length {len(shown)}>>stream\n{shown}\nendstream"
    return pdf_of({**objects, **(more or {})})


def pdf_of(objects: Mapping[int, str | bytes]) -> io.BytesIO:
    """A PDF file of these objects, with its table of them."""
    file = io.BytesIO(b"%PDF-1.7\n")
    file.seek(0, io.SEEK_END)
    places = {}
    for number, text in objects.items():
        places[number] = file.tell()
        data = text if isinstance(text, bytes) else text.encode("latin-1")
        file.write(b"%d 0 obj\n%b\nendobj\n" % (number, data))
    start = file.tell()
    file.write(b"xref\n0 1\n0000000000 65535 f \n")
    for number, place in places.items():
        file.write(b"%d 1\n%010d 00000 n \n" % (number, place))
    size = max(objects) + 1
    file.write(b"trailer<</Size %d/Root 1 0 R/Info 4 0 R>>\nstartxref\n%d\n%%%%EOF" % (size, start))
    file.seek(0)
    return file
