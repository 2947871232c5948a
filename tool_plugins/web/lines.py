"""Lines of Markdown, within lists and quotations, up to a limit."""

from dataclasses import dataclass, field

MAX_NESTED = 12
"""Lists and quotations deeper than this are written at this depth."""


@dataclass(slots=True)
class _Container:
    """What stands before the first line within a list item or quotation, and before the others."""

    first: str
    rest: str
    begun: bool = False


@dataclass(slots=True)
class Lines:
    """Blocks of text, each with a blank line before it. `full` is set where `limit` cuts."""

    limit: int
    full: bool = False
    _pieces: list[str] = field(default_factory=list)
    _size: int = 0
    _containers: list[_Container] = field(default_factory=list)
    _tight: bool = False

    def enter(self, first: str, rest: str) -> None:
        """Begins a list item or quotation; `first` comes once, `rest` before each other line."""
        deep = len(self._containers) >= MAX_NESTED
        self._containers.append(_Container("", "") if deep else _Container(first, rest))

    def leave(self) -> None:
        """Ends it."""
        self._containers.pop()

    def tight(self) -> None:
        """Lets the next block follow without a blank line, as items of a list do."""
        self._tight = True

    def text(self) -> str:
        """All of it."""
        return "".join(self._pieces)

    def block(self, lines: list[str]) -> None:
        """Adds a block of at least one line."""
        if not lines or self.full:
            return
        if self._pieces:
            self._add("\n")
            if not self._tight:
                self._add("".join(each.rest for each in self._containers if each.begun).rstrip())
                self._add("\n")
        self._tight = False
        first = "".join(each.rest if each.begun else each.first for each in self._containers)
        rest = "".join(each.rest for each in self._containers)
        for each in self._containers:
            each.begun = True
        self._add(first + lines[0])
        for line in lines[1:]:
            if self.full:
                break
            self._add("\n" + (rest + line if line else rest.rstrip()))

    def _add(self, piece: str) -> None:
        room = self.limit - self._size
        if len(piece) > room:
            self.full = True
            piece = piece[:room]
        self._pieces.append(piece)
        self._size += len(piece)
