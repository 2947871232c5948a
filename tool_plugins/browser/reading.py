"""The text of a snapshot: made safe, cut to a part of the page, cut to a size. Pure.

A snapshot is playwright's: one line for each element, indented below what it is in.

    - list [ref=e4]:
      - listitem [ref=e5]:
        - link "Home" [ref=e6] [cursor=pointer]:
          - /url: /
"""

import re
from dataclasses import dataclass

from tool_plugins.invisible import CONTROLS, IGNORABLE, SELECTORS, SURROGATES

MAX_CHARS = 4_000_000
"""Of a whole snapshot; more is left away, and the answer says so."""

MAX_URL_CHARS = 500
AROUND_LINES = 2
GAP = "..."

# A snapshot has a line for each element: no text of the page may make another.
_LINE_SEPARATORS = re.compile("[\u2028\u2029]")
_UNSEEN = re.compile(f"[{CONTROLS}\r\x85{IGNORABLE}{SELECTORS}{SURROGATES}]")
_URL = re.compile(rf"^( *- /url: .{{{MAX_URL_CHARS}}}).+$", re.MULTILINE)
# Role, name, then the attributes: a name may hold what looks like a reference.
_ATTRIBUTES = re.compile(r"^ *- '?[\w-]+(?: \"(?:[^\"\\]|\\.)*\")?((?: \[[^\]]*\])+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text, and where it lies in it."""

    text: str
    offset: int
    total: int

    @property
    def next_offset(self) -> int | None:
        """Where to go on; None at the end."""
        end = self.offset + len(self.text)
        return end if end < self.total else None


def clean(text: str) -> str:
    """Without what cannot be seen, and with URLs of a bearable length."""
    return _URL.sub(r"\1…", _visible(text[:MAX_CHARS]))


def clean_line(text: str, limit: int) -> str:
    """A text of the page in one line, for a message."""
    line = " ".join(_visible(text[: limit * 4]).split())
    return line if len(line) <= limit else f"{line[:limit]}…"


def _visible(text: str) -> str:
    return _UNSEEN.sub("", _LINE_SEPARATORS.sub(" ", text))


def below(text: str, ref: str) -> str | None:
    """The lines of one element and of what is in it; None if it is not there."""
    lines = text.splitlines()
    for start, line in enumerate(lines):
        found = _ATTRIBUTES.match(line)
        if found is not None and f"[ref={ref}]" in found[1].split():
            depth = _depth(line)
            end = start + 1
            while end < len(lines) and _depth(lines[end]) > depth:
                end += 1
            return "\n".join(each[depth:] for each in lines[start:end])
    return None


def matching(text: str, query: str) -> str:
    """The lines that hold `query`, some around each, and what they are in; case does not matter."""
    lines = text.splitlines()
    wanted = query.casefold()
    kept: set[int] = set()
    above: list[int] = []
    for number, line in enumerate(lines):
        while above and _depth(lines[above[-1]]) >= _depth(line):
            above.pop()
        if wanted in line.casefold():
            kept.update(range(max(0, number - AROUND_LINES), number + AROUND_LINES + 1))
            kept.update(above)
        above.append(number)
    return "\n".join(_joined(lines, sorted(kept)))


def _joined(lines: list[str], numbers: list[int]) -> list[str]:
    joined: list[str] = []
    last = -1
    for number in numbers:
        if number >= len(lines):
            break
        if number > last + 1:
            joined.append(f"{' ' * _depth(lines[number])}{GAP}")
        joined.append(lines[number])
        last = number
    if numbers and last < len(lines) - 1:
        joined.append(GAP)
    return joined


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def part(text: str, offset: int, max_chars: int) -> Part:
    """At most `max_chars` from `offset`, whole lines where that leaves at least half of it."""
    piece = text[offset : offset + max_chars]
    if offset + max_chars < len(text):
        end = piece.rfind("\n") + 1
        if end >= max_chars // 2:
            piece = piece[:end]
    return Part(piece, min(offset, len(text)), len(text))
