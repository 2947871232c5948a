"""Takes out of text what a reader cannot see: invisible, control and malformed characters.

Text of the web, and of whoever writes a tool, may hold instructions in characters that nothing
shows (tag characters, runs of variation selectors, zero-width characters). Nothing of the kind is
left in what these functions return. Standard library only: used on the host and in the container.

The constants are parts of a character class of `re`, for those who take out a little more.
"""

import re

CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
"""Control characters but tab and the ends of lines: newline, carriage return, U+0085."""

IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""What Unicode lets a program ignore, signs that change the order of text, interlinear marks."""

SELECTORS = "\ufe00-\ufe0f"
"""Variation selectors. One after a visible character asks for an emoji; more hide data."""

SURROGATES = "\ud800-\udfff"
"""Halves of characters, which no UTF-8 can hold."""

_INVISIBLE = re.compile(f"[{CONTROLS}{IGNORABLE}{SURROGATES}]+")
_SELECTED = re.compile(rf"(?<![^\s{SELECTORS}])[{SELECTORS}]|[{SELECTORS}]{{2,}}|[\ufe00-\ufe0d]")
_LINE_ENDS = re.compile("\r\n?|[\u0085\u2028\u2029]")
_BROKEN = re.compile(f"[\x00{SURROGATES}]+")


def visible(text: str) -> str:
    """The text with what can be seen, and newlines (as `\\n`) and tabs.

    Joiners (U+200C, U+200D) go too: some scripts and emoji are then spelled a little plainer.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", text)
    return _SELECTED.sub("", _INVISIBLE.sub("", text))


def well_formed(text: str) -> str:
    """The text as it is, but without NUL and lone surrogates, which no JSON carries well."""
    return _BROKEN.sub("", text)


def one_line(text: str, limit: int) -> str:
    """The visible text in one line of at most `limit` characters; a cut is marked by `…`."""
    # The slice keeps a title of megabytes from costing more than its beginning.
    line = " ".join(visible(text[: limit * 20]).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
