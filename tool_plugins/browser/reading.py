"""The text of a snapshot: made safe, cut to a part of the page, cut to a size. Pure.

A snapshot is playwright's: one line for each element, indented below what it is in.

    - list [ref=e4]:
      - listitem [ref=e5]:
        - link "Home" [ref=e6] [cursor=pointer]:
          - /url: /
"""

import re
from dataclasses import dataclass

MAX_CHARS = 4_000_000
"""Of a whole snapshot; more is left away, and the answer says so."""

MAX_URL_CHARS = 500
AROUND_LINES = 2
GAP = "..."

# Format characters with which text can be hidden from a reader or shown in another order, halves
# of characters, and control characters other than tab and newline.
_UNSEEN = re.compile(
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff\ud800-\udfff"
    "\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
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
    return _URL.sub(r"\1…", _UNSEEN.sub("", text[:MAX_CHARS]))


def clean_line(text: str, limit: int) -> str:
    """A text of the page in one line, for a message."""
    line = " ".join(_UNSEEN.sub("", text[: limit * 4]).split())
    return line if len(line) <= limit else f"{line[:limit]}…"


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
