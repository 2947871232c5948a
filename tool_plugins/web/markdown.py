"""Writes a cleaned tree as Markdown, in one pass and without recursion.

markdownify, which does the same, needs seventy times the page in memory and follows every level of
nesting with a call of its own; a page decides both.
"""

import re
from collections.abc import Callable
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - it has no types

from tool_plugins.invisible import one_line, visible

from .lines import Lines
from .tables import Table, is_data

MAX_ALT_CHARS = 300
MAX_PIECES = 20_000
"""Pieces of one paragraph that are kept apart; small strings take much more than their text."""

BREAK = "\x01"
"""A line break within a paragraph, until the paragraph is written."""

_BLOCK_NAMES = (
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li "
    "main menu nav ol p pre search section summary table tbody td tfoot th thead tr ul"
)
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_MARKS = {
    **dict.fromkeys(("b", "strong"), "**"),
    **dict.fromkeys(("i", "em", "cite", "dfn", "var"), "*"),
    **dict.fromkeys(("del", "s", "strike"), "~~"),
    **dict.fromkeys(("code", "kbd", "samp", "tt"), "`"),
    "a": "a",
    "sup": "sup",
    "sub": "sub",
}
_SPACED = frozenset({"button", "input", "label", "option", "optgroup", "select", "textarea"})
_PART_CHARS = 65_536
_LISTS = frozenset({"ul", "ol", "menu", "dir", "dl"})

_SPACES = re.compile(r"[ \t\r\n\f\xa0]+")
_SPECIAL = re.compile(
    r"[*`]|\\(?=[!-/:-@\[-`{-~])|(?<![^\W_])_|_(?![^\W_])|<(?=[a-zA-Z/!?])|\](?=[(\[:])|~(?=~)"
)
_BLOCK_START = re.compile(r"^(#{1,6}(?=\s|$)|>|[-+](?=\s|$)|-{3,}$|={3,}$|\d{1,9}(?=[.)](?:\s|$)))")


def to_markdown(root: Any, limit: int) -> tuple[str, bool]:
    """The tree's text as Markdown, and whether it was cut because it passed `limit` characters."""
    writer = _Writer(limit)
    walker = etree.iterwalk(root, events=("start", "end"))
    for event, element in walker:
        if event == "start":
            if writer.start(element):
                writer.text(element.text)
            else:
                walker.skip_subtree()
        else:
            writer.end(element)
            if element is not root:
                writer.text(element.tail)
        if writer.cut or writer.lines.full:
            break
    writer.flush()
    return writer.lines.text(), writer.cut or writer.lines.full


class _Writer:
    def __init__(self, limit: int) -> None:
        self.lines = Lines(limit)
        self._limit = limit
        self.cut = False
        self._room = 2 * limit  # spaces of the source are in this
        self._inline: list[str] = []
        self._marks: list[tuple[Any, str, int]] = []
        self._lists: list[list[Any]] = []
        self._tables: list[Table | None] = []
        self._heading = 0

    @property
    def _table(self) -> Table | None:
        return self._tables[-1] if self._tables else None

    @property
    def _in_cell(self) -> bool:
        return self._table is not None and self._table.cell is not None

    def start(self, element: Any) -> bool:
        """Begins an element. False where it has been written with all it holds."""
        tag = element.tag
        if tag in _BLOCKS:
            self.flush()
            return self._start_block(element, tag)
        if tag in _MARKS:
            self._open(element, _MARKS[tag])
        elif tag == "br":
            self._inline.append(BREAK)
        elif tag == "img":
            self._image(element)
        elif tag == "q":
            self._inline.append("“")
        elif tag in _SPACED:
            self._inline.append(" ")
        elif tag == "frame" and (target := element.get("src")):
            self._inline.append(f" frame: {escaped(target)} ")
        return True

    def _start_block(self, element: Any, tag: str) -> bool:
        if tag == "pre":
            self._verbatim(element)
            return False
        if tag == "table":
            self._tables.append(Table() if not self._in_cell and is_data(element) else None)
        elif self._table is not None and tag in ("tr", "td", "th"):
            self._table.start(element)
        elif tag in _LISTS:
            start = element.get("start", "")
            self._lists.append([tag, int(start) if re.fullmatch(r"\d{1,8}", start) else 1, False])
        elif tag in ("li", "dd"):
            self._start_item(tag)
        elif tag == "blockquote":
            self._enter("> ", "> ")
        elif tag == "hr" and not self._in_cell:
            self.lines.block(["---"])
        elif tag[0] == "h" and tag[1:].isdigit():
            self._heading = int(tag[1:])
        return True

    def _start_item(self, tag: str) -> None:
        around = self._lists[-1] if self._lists else ["ul", 1, False]
        mark = f"{around[1]}. " if around[0] == "ol" else ": " if tag == "dd" else "- "
        if not self._in_cell and (around[2] or len(self._lists) > 1 or tag == "dd"):
            self.lines.tight()
        around[1:] = around[1] + 1, True
        self._enter(mark, " " * len(mark))

    def _enter(self, first: str, rest: str) -> None:
        if self._in_cell:
            self._inline.append(first if first != "> " else "")
        else:
            self.lines.enter(first, rest)

    def _leave(self) -> None:
        if not self._in_cell:
            self.lines.leave()

    def end(self, element: Any) -> None:
        """Ends an element that was begun."""
        tag = element.tag
        if tag in _BLOCKS:
            self.flush()
            self._end_block(tag)
        elif tag in _MARKS:
            self._close(element)
        elif tag == "q":
            self._inline.append("”")
        elif tag in _SPACED:
            self._inline.append(" ")

    def _end_block(self, tag: str) -> None:
        if tag == "table":
            table = self._tables.pop()
            if table is not None:
                self.lines.block(table.lines())
        elif self._table is not None and tag in ("tr", "td", "th"):
            self._table.end(tag)
        elif tag in _LISTS:
            self._lists.pop()
        elif tag in ("li", "dd", "blockquote"):
            self._leave()
        elif tag[0] == "h" and tag[1:].isdigit():
            self._heading = 0

    def text(self, text: str | None) -> None:
        """Takes text of the page."""
        if not text:
            return
        if text.isspace():
            self._inline.append(" ")
            return
        self.cut = len(text) > self._room
        text = text[: self._room].replace(BREAK, "")
        self._room -= len(text)
        code = any(mark == "`" for _, mark, _ in self._marks)
        self._inline.append(text if code else escaped(text))

    def _open(self, element: Any, mark: str) -> None:
        if mark == "a" and not element.get("href"):
            return
        if (mark == "**" and self._heading) or any(mark == other for _, other, _ in self._marks):
            return
        self._marks.append((element, mark, len(self._inline)))

    def _close(self, element: Any) -> None:
        if self._marks and self._marks[-1][0] is element:
            self._wrap(*self._marks.pop())
        if len(self._inline) > MAX_PIECES and not self._marks:
            self._inline = ["".join(self._inline)]
            self.cut = len(self._inline[0]) > self._limit * 2

    def _wrap(self, element: Any, mark: str, start: int) -> None:
        inner = "".join(self._inline[start:])
        core = inner.strip(f" \t\r\n\f\xa0{BREAK}")
        if core:
            at = inner.index(core)
            wrapped = _WRAPS[mark](element, core) if mark in _WRAPS else f"{mark}{core}{mark}"
            self._inline[start:] = [inner[:at], wrapped, inner[at + len(core) :]]

    def _image(self, element: Any) -> None:
        alt = one_line(element.get("alt", ""), MAX_ALT_CHARS)
        source = element.get("src")
        if not alt:
            return
        plain = not source or self._in_cell or any(mark == "a" for _, mark, _ in self._marks)
        self._inline.append(escaped(alt) if plain else f"![{_bracketed(escaped(alt))}]({source})")

    def _verbatim(self, element: Any) -> None:
        text = visible("".join(element.itertext())).strip("\n").rstrip()
        if not text:
            return
        if self._in_cell:
            self._inline.append(_code(None, " ".join(text.split())))
            return
        fence = "`" * max(3, _longest_run(text) + 1)
        self.lines.block(
            [fence + element.get("class", "").removeprefix("language-"), *text.split("\n"), fence]
        )

    def flush(self) -> None:
        """Ends the paragraph, heading or cell text that is being collected."""
        for element, mark, start in reversed(self._marks):
            self._wrap(element, mark, start)
        self._marks = [(element, mark, 0) for element, mark, _ in self._marks]
        lines = _paragraph("".join(self._inline))
        self._inline.clear()
        if not lines:
            return
        if self._in_cell and self._table is not None:
            self._table.write("<br>".join(filter(None, lines)))
        elif self._heading:
            self.lines.block(["#" * self._heading + " " + " ".join(filter(None, lines))])
        else:
            lines = [_BLOCK_START.sub(_told_apart, each) for each in lines]
            self.lines.block([*(f"{each}  " if each else "" for each in lines[:-1]), lines[-1]])


def _paragraph(text: str) -> list[str]:
    """Its lines without needless spaces; two breaks or more leave one empty line."""
    lines: list[str] = []
    for each in text.split(BREAK):
        line = _SPACES.sub(" ", visible(each)).strip()
        if line or (lines and lines[-1]):
            lines.append(line)
    return lines[:-1] if lines and not lines[-1] else lines


def escaped(text: str) -> str:
    """Text of a page, so that Markdown shows it as it is."""
    # In parts, for each character that is found takes seventy times its size meanwhile.
    parts = range(0, len(text), _PART_CHARS)
    return "".join(_SPECIAL.sub(r"\\\g<0>", text[at : at + _PART_CHARS]) for at in parts)


def _told_apart(found: re.Match[str]) -> str:
    """The beginning of a line that would otherwise begin a heading, a list or a quotation."""
    return f"{found[1]}\\" if found[1].isdecimal() else f"\\{found[1]}"


def _bracketed(text: str) -> str:
    return re.sub(r"(?<!\\)[\[\]]", r"\\\g<0>", text)


def _link(element: Any, core: str) -> str:
    target = element.get("href")
    if core.replace("\\", "") == target:
        return f"<{target}>"
    return f"[{core if '![' in core else _bracketed(core)}]({target})"


def _code(_: Any, core: str) -> str:
    fence = "`" * (_longest_run(core) + 1)
    return f"{fence} {core} {fence}" if len(fence) > 1 else f"`{core}`"


def _raised(tag: str) -> Callable[[Any, str], str]:
    return lambda _, core: core if core.lstrip("\\")[0] == "[" else f"<{tag}>{core}</{tag}>"


_WRAPS = {"a": _link, "`": _code, "sup": _raised("sup"), "sub": _raised("sub")}


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
