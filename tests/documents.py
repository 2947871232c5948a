"""The documents of the project, taken apart into their code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block. `output` is the text block right after it, which it should print."""

    document: str
    line: int
    language: str
    text: str
    output: str | None = None

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def documents() -> list[Path]:
    """Every document that a reader of the project meets."""
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(*languages: str) -> list[Block]:
    """The code blocks in those languages, of all documents and in order."""
    return [
        block
        for path in documents()
        for block in _parse(path)
        if not languages or block.language in languages
    ]


def links(path: Path) -> list[str]:
    """The targets of the document's links into the project."""
    return LINK.findall(path.read_text("utf-8"))


def _parse(path: Path) -> list[Block]:
    text = path.read_text("utf-8")
    name = str(path.relative_to(ROOT))
    found: list[Block] = []
    previous_end = -1
    for match in FENCE.finditer(text):
        language, content = match.groups()
        follows = found and not text[previous_end : match.start()].strip()
        previous_end = match.end()
        if language == "text" and follows:
            last = found[-1]
            found[-1] = Block(name, last.line, last.language, last.text, content)
            continue
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(name, line, language, content))
    return found
