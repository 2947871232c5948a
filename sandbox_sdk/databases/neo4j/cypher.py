"""Cypher as text: divides a script into statements, and quotes names. Never decides anything."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      //[^\n]*                      # a comment up to the end of the line
    | /\*.*?(?:\*/|\Z)              # a comment in the middle
    | '(?:\\.|[^'\\])*(?:'|\Z)      # text
    | "(?:\\.|[^"\\])*(?:"|\Z)
    | `(?:``|[^`])*(?:`|\Z)         # a name
    | ;
    """,
    re.VERBOSE | re.DOTALL,
)
_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Part:
    """One statement of a script; `line` is where it begins, from 0."""

    line: int
    text: str


def statements(script: str) -> Iterator[Part]:
    """The statements of a script: what stands between semicolons.

    A semicolon in text, in a name in backticks or in a comment divides nothing. Parts with nothing
    but blanks and comments are left out.
    """
    begin = 0
    ends = [found.start() for found in _TOKEN.finditer(script) if found[0] == ";"]
    for end in [*ends, len(script)]:
        blank = _BLANK.match(script, begin, end)
        first = blank.end() if blank else begin
        if first < end:
            yield Part(script.count("\n", 0, first), script[first:end].rstrip())
        begin = end + 1


def quoted(name: str) -> str:
    """A label, type or property key as it is written in Cypher."""
    return "`" + name.replace("`", "``") + "`"
