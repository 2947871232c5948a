"""The `# /// script` block of a file (PEP 723): its packages, its Python, and our own settings.

# /// script
# requires-python = ">=3.12"
# dependencies = ["httpx>=0.27"]
# [tool.sandbox-sdk]
# process = "call"
# timeout_s = 20
# ///
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .problems import Problem, describe_error, shorten

_OPENING = re.compile(r"# /// ([a-zA-Z0-9-]+)")
_CLOSING = "# ///"
_TABLE = "sandbox-sdk"
# What a worker has loaded before it imports a file.
_LOADED = {"annotated-types", "docstring-parser", "pydantic", "pydantic-core", "typing-extensions"}
_NAME = re.compile(r"[\w.-]+", re.ASCII)
_AT_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


@dataclass(slots=True)
class Script:
    """What the block says, or what a file without one means."""

    dependencies: list[str] = field(default_factory=list)
    requires_python: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Block:
    kind: str
    line: int
    """That of its opening; the first of `lines` is the next."""

    lines: list[str]
    closed: bool

    def line_of(self, key: str) -> int:
        """The line that sets a key. For messages: it looks no closer than a reader would."""
        setting = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""")
        found = (n for n, text in enumerate(self.lines, self.line + 1) if setting.match(text))
        return next(found, self.line)


def read_script(source: str) -> Script:
    """Reads the block. It never raises: what is wrong with it is in `problems`."""
    script = Script()
    blocks = [each for each in _blocks(source.split("\n")) if each.kind == "script"]
    if not blocks:
        return script
    block, *others = blocks
    script.problems += [Problem("a second script block", other.line) for other in others]
    if not block.closed:
        message = (
            'the script block has no end: each line of it begins with "# ", the last is "# ///"'
        )
        script.problems.append(Problem(message, block.line))
        return script
    tables = _parsed(block, script)
    if tables is not None:
        _Reading(block, script).read(tables)
    return script


def _blocks(lines: list[str]) -> Iterator[_Block]:
    at = 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at].rstrip())
        at += 1
        if opening is None:
            continue
        end = at
        while end < len(lines) and _is_content(lines[end]):
            end += 1
        # A comment right below belongs to it only as far as the last line that could end it.
        closings = [n for n in range(at, end) if lines[n].rstrip() == _CLOSING]
        last = closings[-1] if closings else at
        content = [line.rstrip()[2:] for line in lines[at:last]]
        yield _Block(opening[1], at, content, bool(closings))
        at = last


def _is_content(line: str) -> bool:
    return line.startswith("# ") or line.rstrip() == "#"


def _parsed(block: _Block, script: Script) -> dict[str, Any] | None:
    import tomllib  # most files have no block

    try:
        return tomllib.loads("\n".join(block.lines))
    except (ValueError, RecursionError) as exc:
        message = describe_error(exc)
        place = _AT_LINE.search(message)
        line = block.line + int(place[1]) if place else block.line
        shown = _AT_LINE.sub("", message)
        script.problems.append(Problem(f"the script block is no TOML: {shown}", line))
        return None


class _Reading:
    """Takes what it knows from the tables of a block, and complains about the rest."""

    def __init__(self, block: _Block, script: Script) -> None:
        self._block = block
        self._script = script

    def read(self, tables: dict[str, Any]) -> None:
        tool = tables.get("tool", {})
        ours = tool.get(_TABLE, {}) if isinstance(tool, dict) else {}
        self._take(
            tables,
            {
                "dependencies": (_is_texts, "a list of strings"),
                "requires-python": (_is_text, "a string"),
                "tool": (_is_table, "a table"),
            },
            "the script block",
        )
        if not isinstance(ours, dict):
            self._complain(_TABLE, f"[tool.{_TABLE}] must be a table")
            ours = {}
        self._take(
            ours,
            {
                "process": (_is_process, '"file" or "call"'),
                "timeout_s": (_is_timeout, "a number of seconds up to 3600"),
            },
            f"[tool.{_TABLE}]",
        )
        if self._script.problems:
            return
        self._script.dependencies = tables.get("dependencies", [])
        self._script.requires_python = tables.get("requires-python")
        self._script.settings = ours
        at = self._block.line_of("dependencies")
        self._script.warnings += [
            f"line {at}: {name} is the sandbox's own, of whatever version that is"
            for name in map(_name_of, self._script.dependencies)
            if name in _LOADED
        ]
        self._script.warnings += [
            f"line {self._block.line}: [tool.{shorten(each, 50)}] of the script block is not used"
            for each in tool
            if each != _TABLE
        ]

    def _take(
        self, table: dict[str, Any], known: dict[str, tuple[Callable[[Any], bool], str]], name: str
    ) -> None:
        for key, value in table.items():
            if key not in known:
                self._complain(
                    key, f"{shorten(key, 50)!r} is no key of {name}; there are: {', '.join(known)}"
                )
            elif not known[key][0](value):
                self._complain(key, f"{key} of {name} must be {known[key][1]}")

    def _complain(self, key: str, message: str) -> None:
        self._script.problems.append(Problem(message, self._block.line_of(key)))


def _name_of(requirement: str) -> str:
    name = _NAME.match(requirement.strip())
    return re.sub(r"[._-]+", "-", name[0]).lower() if name else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_process(value: Any) -> bool:
    return value in ("file", "call")


def _is_timeout(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 < value <= 3600
