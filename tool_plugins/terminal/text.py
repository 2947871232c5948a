"""Bytes of a terminal as text for a reader: decoded, without escape codes, progress collapsed."""

import codecs
import re

# CSI, OSC and the other strings, then two-character escapes.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\n\r])")
_UNFINISHED = re.compile(r"\x1b(?:[\[\]PX^_][^\x07\x1b]{0,200})?$")


def clean(text: str) -> str:
    """Drops escape codes and control characters; a line redrawn by `\\r` shows its last state."""
    if text.isprintable():
        return text
    if "\x1b" in text or "\x9b" in text or "\x9d" in text:
        text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = re.sub(r"\r+\n", "\n", text)
        text = _OVERWRITTEN.sub("", text).replace("\r", "")
    return _CONTROLS.sub("", text)


def decode(data: bytes) -> str:
    """UTF-8; what is not becomes U+FFFD."""
    return data.decode("utf-8", "replace")


def first_chars(data: bytes, count: int) -> bytes:
    """The bytes of the first `count` characters; every undecodable byte counts as one."""
    return _bytes(_chars(data)[:count])


def last_chars(data: bytes, count: int) -> bytes:
    """The bytes of the last `count` characters. A character cut at the start is left out."""
    skip = 0
    while skip < min(3, len(data)) and data[skip] & 0xC0 == 0x80:
        skip += 1
    return _bytes(_chars(data[skip:])[-count:]) if count else b""


def without_cut_char(data: bytes) -> bytes:
    """`data` without a multi-byte character that is not complete at its end."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte & 0xC0 != 0x80:
            length = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4
            return data[:-back] if byte >= 0xC0 and back < length else data
    return data


def _chars(data: bytes) -> str:
    # Byte counts survive this and its reverse exactly.
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class LiveText:
    """Turns pieces as they arrive into clean text, whole characters and whole escape codes only."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes, *, last: bool = False) -> str:
        """The text that is complete so far. Carriage returns stay: a viewer may want to redraw."""
        text = self._held + self._decoder.decode(data, last)
        self._held = ""
        if "\x1b" not in text:
            return text
        if not last and (cut := _UNFINISHED.search(text)):
            text, self._held = text[: cut.start()], text[cut.start() :]
        return _ESCAPES.sub("", text)
