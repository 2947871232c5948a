"""Finds out in which encoding a text is, from what it says of itself, true or not."""

import codecs
import re

SNIFFED_BYTES = 4096
GUESSED_BYTES = 64 * 1024
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# What the web means by a name, where that is more than what the name says.
_MEANT = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "big5": "big5hkscs",
    "utf-16": "utf-16-le",
    "utf-32": "utf-32-le",
}
_ALIASES = {"x-sjis": "cp932", "x-gbk": "gb18030", "unicode": "utf-16-le", "x-x-big5": "big5hkscs"}
# Python knows others that are no encodings of text, or that hide one text in another (UTF-7).
_KNOWN = re.compile(
    r"utf-8|utf-(16|32)(-[bl]e)?|ascii|iso8859-\d+|cp\d+|koi8-[rtu]|mac-[a-z]+|gb2312|gbk|gb18030|hz"
    r"|big5(hkscs)?|shift_jis\w*|euc_\w+|iso2022_\w+|tis-620|johab|ptcp154|kz1048"
)
# Bytes of these are ASCII, so they are valid UTF-8 that means something else.
_SHIFTING = re.compile(r"hz|iso2022_\w+")
_WIDE = re.compile(r"utf-(16|32)(-[bl]e)?")
_META = re.compile(rb"<meta[^>]{0,500}?charset\s*=\s*[\"']?\s*([\w.:+-]{1,40})", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:+-]{1,40})")
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def decode(body: bytes, declared: str = "", *, markup: bool = False) -> str:
    """The text of `body`, without a byte order mark and without lone surrogates.

    `declared` is what the server said; with `markup` the text itself is asked, too. What cannot be
    decoded becomes U+FFFD.
    """
    text = body.decode(find_charset(body, declared, markup=markup), "replace")
    return text.removeprefix("\ufeff")


def find_charset(body: bytes, declared: str = "", *, markup: bool = False) -> str:
    """Python's name of the encoding. A byte order mark counts most, then what fits the bytes."""
    for mark, name in _MARKS:
        if body.startswith(mark):
            return name
    named = codec_of(declared) or (codec_of(_self_declared(body)) if markup else None)
    if named is not None and _SHIFTING.fullmatch(named):
        return named
    zeros = b"\0" in body[:SNIFFED_BYTES]
    if named is not None and _WIDE.fullmatch(named) and zeros:
        return named
    if zeros and (wide := _wide_without_mark(body)) is not None:
        return wide
    # Text in another encoding that happens to be valid UTF-8 hardly exists; wrong labels do.
    if _fits(body, "utf-8"):
        return "utf-8"
    if named is not None and not _WIDE.fullmatch(named) and _mostly_fits(body, named):
        return named
    return "utf-8" if _mostly_fits(body, "utf-8") else _guess(body)


def codec_of(name: str) -> str | None:
    """Python's name of an encoding that the web calls `name`; None if it is none for text."""
    name = name.strip().lower()
    if name in _ALIASES:
        return _ALIASES[name]
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return _MEANT.get(found, found) if _KNOWN.fullmatch(found) else None


def looks_binary(body: bytes) -> bool:
    """Whether these first bytes of a body are no text in any encoding."""
    start = body[:SNIFFED_BYTES]
    if any(start.startswith(mark) for mark, _ in _MARKS) or _wide_without_mark(start) is not None:
        return False
    return len(_CONTROLS.findall(start)) > len(start) // 1000


def _self_declared(body: bytes) -> str:
    start = body[:SNIFFED_BYTES]
    found = _XML.search(start) or _META.search(start)
    name = found[1].decode("ascii", "replace") if found else ""
    # It could not have been read if it were true.
    return "" if name.lower().startswith(("utf-16", "utf-32", "unicode")) else name


def _wide_without_mark(body: bytes) -> str | None:
    """UTF-16 that does not say so: Latin text in it has a zero in every second byte."""
    start = body[: SNIFFED_BYTES // 2 * 2]
    half = len(start) // 2
    if half < 2:
        return None
    if start[1::2].count(0) > half * 0.4 and start[0::2].count(0) < half * 0.1:
        return "utf-16-le"
    if start[0::2].count(0) > half * 0.4 and start[1::2].count(0) < half * 0.1:
        return "utf-16-be"
    return None


def _fits(body: bytes, name: str) -> bool:
    """Whether it can be decoded without a mistake, but for a character cut off at the end."""
    try:
        codecs.getincrementaldecoder(name)("strict").decode(body)
    except (UnicodeError, ValueError):
        return False
    return True


def _mostly_fits(body: bytes, name: str) -> bool:
    start = body[:GUESSED_BYTES]
    high = sum(byte > 0x7F for byte in start)
    return start.decode(name, "replace").count("\ufffd") * 4 <= high


def _guess(body: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError:
        return "cp1252"
    best = from_bytes(body[:GUESSED_BYTES]).best()
    return (codec_of(best.encoding) if best is not None else None) or "cp1252"
