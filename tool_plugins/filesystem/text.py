"""What the bytes of a file are: binary or text, in which encoding, with which line ends.

Guesses use the standard library only. Every guess round-trips: decoding and encoding again gives
the same bytes. Lines end at `\\n` alone; form feeds and Unicode separators are ordinary characters.
"""

import codecs
import re

BOM_UTF8 = codecs.BOM_UTF8
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
SNIFF_BYTES = 4096
# Control characters that text files do not have. ESC stays: logs have colours.
_CONTROLS = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_C1 = re.compile(rb"[\x80-\x9f]")
_MAX_CONTROL_SHARE = 0.02


def bom_of(head: bytes) -> bytes:
    """The byte order mark at the start, or nothing."""
    return next((bom for bom, _ in _BOMS if head.startswith(bom)), b"")


def wide_encoding(head: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` if the file begins like one, with or without a mark."""
    for bom, encoding in _BOMS[1:]:
        if head.startswith(bom):
            return encoding
    sample = head[: SNIFF_BYTES - SNIFF_BYTES % 2]
    pairs = len(sample) // 2
    if pairs < 2 or (len(head) % 2 and len(head) <= SNIFF_BYTES):
        return None
    low, high = sample[0 : 2 * pairs : 2].count(0), sample[1 : 2 * pairs : 2].count(0)
    if high > 0.4 * pairs and low == 0:
        return "utf-16-le"
    if low > 0.4 * pairs and high == 0:
        return "utf-16-be"
    return None


def narrow_encoding(sample: bytes) -> str | None:
    """The eight-bit encoding of bytes that are not UTF-8; None if they do not look like text."""
    head = sample[:65536]
    if b"\0" in sample or len(_CONTROLS.findall(head)) > _MAX_CONTROL_SHARE * len(head):
        return None
    if _C1.search(sample):
        try:
            sample.decode("cp1252")
        except UnicodeDecodeError:
            return "latin-1"
        return "cp1252"
    return "latin-1"


def encoding_of(data: bytes) -> str | None:
    """The encoding of a whole file, or None if it is binary.

    One of `utf-8`, `utf-8-sig` (with a mark), `utf-16-le`, `utf-16-be`, `cp1252`, `latin-1`.
    """
    wide = wide_encoding(data[:SNIFF_BYTES])
    if wide is not None:
        try:
            data.decode(wide)
        except UnicodeDecodeError:
            return None
        return wide
    if b"\0" in data:
        return None
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return narrow_encoding(data)
    return "utf-8-sig" if data.startswith(BOM_UTF8) else "utf-8"


def codec(encoding: str) -> str:
    """The codec for text inside the file, where no mark is added or taken away."""
    return "utf-8" if encoding == "utf-8-sig" else encoding


def newline_of(crlf: int, lf: int) -> str:
    """`lf`, `crlf`, `mixed` or `none`, from the counts of CRLF and of all line ends."""
    if not lf:
        return "none"
    if not crlf:
        return "lf"
    return "crlf" if crlf == lf else "mixed"


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def media_type(head: bytes) -> str | None:
    """The type of an image or a PDF a model can look at, by its first bytes."""
    for magic, mime_type in _MAGIC:
        if head.startswith(magic):
            return mime_type
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None
