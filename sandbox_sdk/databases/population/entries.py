"""The parts of a population file, taken out with the line each of them stands in."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox_sdk.documents import Document, Items, Section

from .contents import Mark, PopulationError


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names what was probably meant, or what there is."""
    names = sorted(known)
    if near := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(map(repr, names))}" if names else ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of a document. `begin` is the line of its first character, which differs from
    `line` for a block of text; `name` is the key it stands under."""

    file: Path
    value: Any
    line: int
    begin: int
    name: str

    @classmethod
    def root(cls, document: Document) -> "Entry":
        """The whole document."""
        line = document.line_of(())
        return cls(document.file, document.data, line, line, "the file")

    @property
    def mark(self) -> Mark:
        """Where it stands."""
        return Mark(self.file, self.line)

    def error(self, reason: str, *, hint: str = "") -> PopulationError:
        """An error about this value."""
        return PopulationError(self.file, self.line, f"{self.name}: {reason}", hint=hint)

    def section(self) -> "dict[str, Entry]":
        """The values of a mapping with any keys."""
        if not isinstance(self.value, Section) or not self.value:
            raise self.error("must be a mapping that is not empty")
        return {
            key: Entry(self.file, value, self.value.lines[key], self.value.begins[key], key)
            for key, value in self.value.items()
        }

    def fields(self, *allowed: str) -> "dict[str, Entry]":
        """The values of a mapping with some of these keys."""
        found = self.section()
        for key, entry in found.items():
            if key not in allowed:
                raise PopulationError(
                    self.file, entry.line, f"unknown key {key!r}", hint=nearest(key, allowed)
                )
        return found

    def items(self) -> "list[Entry]":
        """The values of a list."""
        if not isinstance(self.value, Items):
            raise self.error("must be a list")
        return [
            Entry(self.file, value, self.value.lines[at], self.value.begins[at], self.name)
            for at, value in enumerate(self.value)
        ]

    def text(self) -> str:
        """A text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            raise self.error("must be a text that is not empty")
        return self.value

    def one_of(self, names: Iterable[str]) -> str:
        """A text that is one of these."""
        text = self.text()
        if text not in names:
            raise self.error(f"{text!r} is not possible here", hint=nearest(text, names))
        return text

    def whole(self, *, least: int, most: int) -> int:
        """A whole number within bounds."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"must be a whole number from {least} to {most}")
        return value
