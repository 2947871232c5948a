"""Reads YAML documents that people write by hand, strictly. The only door of `yaml`.

One document in UTF-8, capped in size, depth and number of values. No tags, anchors, aliases, merge
keys or directives: what is written is what is read. A key is text and stands once. A value without
quotes is

    true, false                also True, TRUE, ...; yes, no, on and off are text
    null                       also ~ and nothing at all
    12, -3                     a whole number
    12.50, 1e3                 a decimal number
    everything else            text: 2024-01-31, 12:30:45, 1.2.3

What looks like a number and is read in different ways by different programs (017, 0x1F, 1_000,
.inf, .nan) is an error: in quotes it is text. Never expands or evaluates anything; `expand` does
that for one value whose owner asks for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from yaml import AliasEvent, MappingNode, MarkedYAMLError, Node, ScalarNode, SequenceNode
from yaml.composer import Composer
from yaml.cyaml import CBaseLoader

from tool_plugins.errors import ConfigurationError

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_DIGITS = 400
MAX_EXPONENT = 308

_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_UNCLEAR = re.compile(
    r"[-+]?(0[0-9_]+(\.[0-9_]*)?|0[xob][0-9a-fA-F_]+|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?)"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_REFERENCE = re.compile(r"\$?\$\{([^{}]*)\}?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DocumentError(ConfigurationError):
    """A document cannot be read: the message begins with file, line and column, from 1."""

    def __init__(
        self, file: Path, line: int | None, column: int | None, reason: str, *, hint: str = ""
    ) -> None:
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{where}: {reason}", hint=hint)
        self.file = file
        self.line = line
        self.column = column
        self.reason = reason


class Section(dict[str, Any]):
    """A mapping that knows where it is written. `lines`: of the keys; `begins`: of the values,
    for a block of text (after `|`) the line of its first character."""

    __slots__ = ("begins", "line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}
        self.begins: dict[str, int] = {}


class Items(list[Any]):
    """A sequence that knows where it is written. `lines` and `begins` as in `Section`."""

    __slots__ = ("begins", "line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []
        self.begins: list[int] = []


@dataclass(frozen=True, slots=True)
class Document:
    """A read document. `data` consists of Section, Items, str, int, bool, None and numbers."""

    file: Path
    data: Any

    def line_of(self, path: Sequence[str | int]) -> int:
        """The line of what stands at `path`, or of the last part of it that is there."""
        here: Any = self.data
        line = here.line if isinstance(here, Section | Items) else 1
        for step in path:
            if isinstance(here, Section) and step in here:
                line, here = here.lines[str(step)], here[str(step)]
            elif isinstance(here, Items) and isinstance(step, int) and 0 <= step < len(here):
                line, here = here.lines[step], here[step]
            else:
                break
        return line

    def error(self, path: Sequence[str | int], reason: str, *, hint: str = "") -> DocumentError:
        """An error about what stands at `path`."""
        return DocumentError(self.file, self.line_of(path), None, reason, hint=hint)


def load_document(path: Path, *, exact: bool = False, max_bytes: int = MAX_BYTES) -> Document:
    """Reads a file. With `exact`, decimal numbers are Decimal, else float.

    Raises:
        DocumentError: it cannot be read, or breaks a rule of this module.
    """
    try:
        if not path.is_file():
            reason = "is not a regular file" if path.exists() else "there is no such file"
            raise DocumentError(path, None, None, reason)
        with path.open("rb") as file:
            source = file.read(max_bytes + 1)
    except OSError as exc:
        raise DocumentError(path, None, None, f"cannot be read: {exc.strerror}") from exc
    return parse_document(source, path, exact=exact, max_bytes=max_bytes)


def parse_document(
    source: bytes, file: Path, *, exact: bool = False, max_bytes: int = MAX_BYTES
) -> Document:
    """Reads the bytes of a document; `file` is what errors name. See `load_document`."""
    if len(source) > max_bytes:
        raise DocumentError(file, None, None, f"is larger than {max_bytes} bytes")
    loader = _Loader(_decode(source, file), file)
    try:
        root = loader.get_single_node()
    except MarkedYAMLError as exc:
        raise _syntax_error(exc, file) from None
    if root is None:
        raise DocumentError(file, 1, 1, "the document is empty")
    return Document(file, _Builder(file, exact).build(root))


def _syntax_error(error: MarkedYAMLError, file: Path) -> DocumentError:
    """The parser's own words; what is never closed is noticed far from where it begins."""
    mark, start = error.problem_mark or error.context_mark, error.context_mark
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    if mark is None:
        return DocumentError(file, None, None, reason)
    hint = f"it begins in line {start.line + 1}" if start and start.line < mark.line else ""
    return DocumentError(file, mark.line + 1, mark.column + 1, reason, hint=hint)


def _decode(source: bytes, file: Path) -> str:
    """The text without its byte order mark, once it is sure that a YAML reader may see it."""
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        text = source[: exc.start].decode("utf-8", errors="replace")
        line, column = _position(text, len(text))
        raise DocumentError(file, line, column, "is not UTF-8") from None
    if found := _NOT_TEXT.search(text):
        line, column = _position(text, found.start())
        reason = f"the character U+{ord(found[0]):04X} may not stand in a document"
        hint = f'write "\\u{ord(found[0]):04x}" in double quotes'
        raise DocumentError(file, line, column, reason, hint=hint)
    return text


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1


class _Loader(Composer, CBaseLoader):
    """libyaml's parser below PyYAML's composer, which refuses what is not plain data."""

    def __init__(self, text: str, file: Path) -> None:
        CBaseLoader.__init__(self, text)
        Composer.__init__(self)
        self._file = file
        self._depth = 0
        self._values = 0

    def compose_document(self) -> Node | None:
        event: Any = self.peek_event()
        if event.version or event.tags:
            self._refuse(event, "a document may not begin with directives", "remove the % lines")
        return super().compose_document()

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()
        self._values += 1
        if self._values > MAX_VALUES:
            self._refuse(event, f"there are more than {MAX_VALUES} values in the document")
        if self._depth >= MAX_DEPTH:
            self._refuse(event, f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, AliasEvent):
            self._refuse(event, f"aliases (*{event.anchor}) are not read", "write the value again")
        if event.anchor is not None:
            self._refuse(event, f"anchors (&{event.anchor}) are not read", "remove it")
        if event.tag is not None:
            self._refuse(event, f"tags ({event.tag}) are not read", "write the plain value")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, event: Any, reason: str, hint: str = "") -> NoReturn:
        mark = event.start_mark
        raise DocumentError(self._file, mark.line + 1, mark.column + 1, reason, hint=hint)


class _Builder:
    """Makes plain data of nodes."""

    def __init__(self, file: Path, exact: bool) -> None:
        self._file = file
        self._exact = exact

    def build(self, node: Node) -> Any:
        """The value of a node; `_Loader` bounded how deep this goes."""
        if isinstance(node, MappingNode):
            return self._section(node)
        if isinstance(node, SequenceNode):
            items = Items(node.start_mark.line + 1)
            for each in node.value:
                items.append(self.build(each))
                items.lines.append(each.start_mark.line + 1)
                items.begins.append(_begin(each))
            return items
        return self._scalar(node)

    def _section(self, node: MappingNode) -> Section:
        section = Section(node.start_mark.line + 1)
        for key_node, value_node in node.value:
            key = self.build(key_node) if isinstance(key_node, ScalarNode) else None
            if not isinstance(key, str):
                raise self._error(key_node, "a key must be text", hint="write it in quotes")
            if key == "<<" and not key_node.style:
                raise self._error(key_node, "merge keys (<<) are not read")
            if key in section:
                reason = f"the key {key!r} stands here twice, first in line {section.lines[key]}"
                raise self._error(key_node, reason)
            section[key] = self.build(value_node)
            section.lines[key] = key_node.start_mark.line + 1
            section.begins[key] = _begin(value_node)
        return section

    def _scalar(self, node: Node) -> str | int | float | Decimal | bool | None:
        text: str = node.value
        if getattr(node, "style", None):
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _UNCLEAR.fullmatch(text):
            reason = f"{text!r} is read as different numbers by different programs"
            raise self._error(node, reason, hint="write a decimal number, or quotes for text")
        try:
            if _WHOLE.fullmatch(text):
                return whole_number(text)
            if _DECIMAL.fullmatch(text):
                number = exact_number(text)
                return number if self._exact else float(number)
        except ValueError as exc:
            raise self._error(node, str(exc), hint="write it in quotes if it is text") from None
        return text

    def _error(self, node: Node, reason: str, *, hint: str = "") -> DocumentError:
        mark = node.start_mark
        return DocumentError(self._file, mark.line + 1, mark.column + 1, reason, hint=hint)


def _begin(node: Node) -> int:
    return node.start_mark.line + (2 if getattr(node, "style", None) in ("|", ">") else 1)


def whole_number(text: str) -> int:
    """The number that decimal digits stand for.

    Raises:
        ValueError: they are too many.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def exact_number(text: str) -> Decimal:
    """The decimal number as it is written: 12.50 keeps its zero.

    Raises:
        ValueError: it is too long, too large or too small to be meant as a number.
    """
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    number = Decimal(text)
    if not -MAX_EXPONENT <= number.adjusted() < MAX_EXPONENT:
        raise ValueError(f"{text!r} is too large or too small for a number")
    return number


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replaces each `${NAME}` by the variable of that name. `$${NAME}` stays, without one `$`.

    What a variable holds is not looked at again. Errors never quote the text or a value, which
    may hold a password.

    Raises:
        ConfigurationError: a variable is not set, or a `${` does not continue as `NAME}`.
    """

    def replace(found: re.Match[str]) -> str:
        if found[0].startswith("$$"):
            return found[0][1:]
        name = found[1]
        if not found[0].endswith("}") or not _NAME.fullmatch(name):
            raise ConfigurationError(
                "a value has ${ that does not continue as NAME}", hint="write $${ for the text ${"
            )
        if name not in environment:
            raise ConfigurationError(f"the environment variable {name!r} is not set")
        return environment[name]

    return _REFERENCE.sub(replace, text)
